"""The levels (P73): which capabilities each one has, and the kind of resource that each capability touches."""

from __future__ import annotations

from typing import Literal, NamedTuple

type Level = Literal["sandbox", "restricted", "standard", "trusted", "unrestricted"]
type Trust = Literal["strict", "unknown", "trusted", "development"]

type Domain = Literal[
    "filesystem",
    "network",
    "storage",
    "environment",
    "process",
    "database",
    "function",
    "session",
    "message",
    "actor",
    "topic",
]


class Resource(NamedTuple):
    """Something that a call touches: `action` on `name` (a path, `host:port`, a namespace, a program)."""

    domain: Domain
    action: str
    name: str

    def shown(self) -> str:
        return f"{self.action} {self.name or _OWN.get(self.domain, 'its own')}"


_OWN: dict[Domain, str] = {"filesystem": "its directory", "storage": "its own namespace", "message": "a message"}
"""The text for a resource without a name."""


QUESTIONS = frozenset({"ask", "choose", "approve", "review"})
"""Forms of `input`: a grant of it is one of all of them, a level names them one by one (P73)."""

_RESTRICTED = {"input", "ask", "choose", "read_file", "list_files", "now", "sleep", "random", "uuid", "env"}
_STANDARD = _RESTRICTED | {"write_file", "delete_file", "fetch", "query", "notify"}
_TRUSTED = _STANDARD | {"websocket", "kv", "approve", "review", "run_function", "spawn_session"}

LEVELS: dict[Level, frozenset[str]] = {
    "sandbox": frozenset(),
    "restricted": frozenset(_RESTRICTED),
    "standard": frozenset(_STANDARD),
    "trusted": frozenset(_TRUSTED),
    "unrestricted": frozenset({"*"}),
}
"""`print` and `display` are the worker's own; nothing has to be granted for them."""

CALLS_PER_S = 1_000.0
NETWORK_BYTES_PER_S = 10_000_000.0
"""A74, where a manifest says nothing of quotas."""

READ_METHODS = ("GET", "HEAD")
"""Methods that fetch may use up to level standard, when a manifest does not say (P75)."""

TOUCHES: dict[str, tuple[Domain, str]] = {
    "read_file": ("filesystem", "read"),
    "list_files": ("filesystem", "list"),
    "write_file": ("filesystem", "write"),
    "delete_file": ("filesystem", "delete"),
    "fetch": ("network", ""),
    "websocket": ("network", "connect"),
    "env": ("environment", "read"),
    "kv": ("storage", ""),
    "process": ("process", "run"),
    "query": ("database", "read"),
    "run_function": ("function", "start"),
    "messaging": ("actor", ""),
}
"""The resources of a grant `name:resource`; an empty action is any of its domain."""
