"""The page of the public names: one entry for each of `durable.__all__`, grouped by where they come from."""

from __future__ import annotations

import durable

GROUPS = {
    "Begin": ("open", "Engine", "Execution"),
    "Durable functions": (
        "function",
        "register",
        "Function",
        "Context",
        "Operation",
        "Retry",
        "call_id",
        "cancelled",
        "raised",
    ),
    "Actors": ("actor", "read", "ActorContext", "Supervise", "component_actor", "ActorInfo", "DeadLetter"),
    "Sessions": ("Session", "Result", "checkpoint", "resumable"),
    "Capabilities and permissions": ("capability", "Capability", "Manifest", "AuditEntry"),
    "People": ("Prompt", "OpenPrompt", "Decision", "Review", "Given", "Webhook"),
    "Sandbox": ("Component", "SandboxLimits", "Ran", "Used", "Ok", "Err", "Some", "Variant"),
}
"""What a reader looks for first; every other name is in one of the last two groups."""

ERRORS = "Errors"
OTHERS = "Other types"

HEAD = """# Python API

Every public name of `durable`, made from the code.
`import durable` is cheap: each name is imported when it is first used.
"""


def groups() -> dict[str, list[str]]:
    """The public names by heading; each stands under one."""
    found = {title: list(names) for title, names in GROUPS.items()}
    named = {name for names in GROUPS.values() for name in names}
    rest = [name for name in durable.__all__ if name not in named]
    found[OTHERS] = [name for name in rest if not is_error(name)]
    found[ERRORS] = [name for name in rest if is_error(name)]
    return found


def is_error(name: str) -> bool:
    """Whether a public name is an exception class."""
    value = getattr(durable, name)
    return isinstance(value, type) and issubclass(value, BaseException)


def page() -> str:
    """The page as Markdown, which mkdocstrings fills."""
    parts = [HEAD]
    for title, names in groups().items():
        parts.append(f"## {title}\n")
        parts += [f"::: durable.{name}\n" for name in names]
    return "\n".join(parts)
