"""Capabilities of the user's own that a session needs, and who knows them (specs/capability.md, C9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from capabilities.registry import STANDARD
from durable.core.definition_id import capability_id
from durable.core.errors import NotServed

if TYPE_CHECKING:  # looking at a store reads this too, and imports no pydantic
    from capabilities.capability import Capabilities
    from durable.store.port import StoreFace


def own_capabilities(options: Mapping[str, Any]) -> dict[str, str]:
    """Capabilities outside the standard set that a session may call, with their place ("" where no record says)."""
    names = (text.partition(":")[0] for text in options.get("grants") or ())
    silent = {name: "" for name in names if name not in STANDARD and name not in ("*", "level")}
    return silent | (options.get("defined") or {})


def know_them(engines: Iterable[Iterable[str]], needed: Iterable[str]) -> bool:
    """Whether one of these engines, each given as what it serves, knows all that is needed."""
    wanted = set(map(capability_id, needed))
    return any(wanted <= set(served) for served in engines)


async def require_known(store: StoreFace, known: Capabilities, session: str, needed: Mapping[str, str]) -> None:
    """Require that they are known here, or to another engine that is alive. NotServed."""
    missing = known.unknown(needed)
    if missing:
        living = [row.functions for row in await store.reads.engines() if store.engine_alive(row.engine)]
        if not know_them(living, needed):
            raise not_known(session, missing)


def not_known(session: str, missing: Mapping[str, str]) -> NotServed:
    """The error where nobody knows them."""
    shown = ", ".join(f"{name!r} (defined in {place})" if place else repr(name) for name, place in missing.items())
    return NotServed(
        f"the code of session {session!r} may call {shown}, which this engine does not know: "
        f"open it with durable.open(…, capabilities=[{', '.join(missing)}]). What is queued stays as it is"
    )
