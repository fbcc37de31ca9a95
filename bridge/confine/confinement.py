"""A worker's confinement as the engine tells it: the one value that both sides read. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.confine.limits import Limits, Profile
from durable.core.errors import BadArguments, Unenforceable
from durable.core.frozen_record import FrozenRecord

PROFILES: tuple[Profile, ...] = ("open", "isolated")


ENVIRONMENT_KEPT = frozenset(
    {"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONHOME", "VIRTUAL_ENV"}
    | {"LD_LIBRARY_PATH", "DURABLE_NOTEBOOK"}
)
"""Variables of the engine's environment that isolated code sees, beside LC_*: the rest may hold secrets."""


def kept_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that an isolated worker may have."""
    return {name: value for name, value in environment.items() if name in ENVIRONMENT_KEPT or name.startswith("LC_")}


class Confinement(FrozenRecord, frozen=True):
    """How a worker is held: its profile, its limits, and (isolated, without a limit of disk) its directory outside."""

    profile: Profile = "open"
    limits: Limits = Limits()
    directory: str = ""

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise BadArguments(f"there is no profile {self.profile!r}; known: {', '.join(PROFILES)}")
        if self.profile == "open" and self.limits.disk is not None:
            raise Unenforceable(["disk: code in an open session may write anywhere; ask for the profile 'isolated'"])

    def __bool__(self) -> bool:
        return self.profile != "open" or bool(self.limits)

    def to_json(self) -> dict[str, Any]:
        """The confinement as it travels in the engine's hello; empty for a worker that is not confined."""
        if not self:
            return {}
        return {"profile": self.profile, "limits": self.limits.to_json(), "directory": self.directory}

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Confinement:
        """Read what `to_json` made."""
        return cls(found["profile"], Limits.read(found["limits"]), found["directory"])
