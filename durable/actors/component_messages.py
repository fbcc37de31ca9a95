"""Messages for actors that are components or core modules, taken by the engine's sandbox (specs/actors.md, W1-W9)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capabilities.actors.health import Health
from durable.core.errors import EngineFailed

if TYPE_CHECKING:
    from durable.actors.management import Actors


@dataclass(frozen=True, slots=True)
class ComponentMessage:
    """A message as it is recorded; `memory`: what its actor is made of (`ActorContext.call_component`)."""

    component: str
    actor: str
    config: bytes
    kind: str
    args: list[Any]
    memory: dict[str, Any]


async def take_message(sandbox: Any, actors: Actors, message: ComponentMessage, execution: str) -> dict[str, Any]:
    """Take it: what `ActorContext.call_component` gives. The SandboxError of what stopped it."""
    await sandbox.added(message.component)
    if await sandbox.is_module(message.component):
        return await _module(sandbox, message, execution)
    return await _component(sandbox, actors, message, execution)


async def _module(sandbox: Any, message: ComponentMessage, execution: str) -> dict[str, Any]:
    from capabilities.sandbox.wasm.wit_values import plain
    from durable.sandbox.journal import read_message

    kept = message.memory["kept"]
    before = None if kept is None else (kept["execution"], base64.b64decode(kept["state"]))
    given = read_message(message.kind, message.args)
    value, state, dropped = await sandbox.take_module_message(
        message.component, message.actor, given, execution, before
    )
    written = {"execution": execution, "state": base64.b64encode(state).decode()}
    return {"value": _shown(value, plain), "kept": written, **({"dropped": dropped} if dropped else {})}


async def _component(sandbox: Any, actors: Actors, message: ComponentMessage, execution: str) -> dict[str, Any]:
    from capabilities.sandbox.wasm.wit_values import plain
    from durable.sandbox.component_instances import Base
    from durable.sandbox.journal import JournalEntry, read_entry, read_message

    memory = message.memory
    saved = None if memory["saved"] is None else base64.b64decode(memory["saved"])

    async def journal() -> list[JournalEntry]:
        entries = [read_entry(text) for text in await actors.journal(message.actor)]
        if not entries or entries[-1].execution != memory["last"]:
            raise EngineFailed(f"read the journal of {message.actor}", LookupError(memory["last"]))
        return entries

    base = Base(memory["last"], saved, message.config)
    given = read_message(message.kind, message.args)
    applied = await sandbox.take_message(message.component, message.actor, given, base, execution, journal)
    found: dict[str, Any] = {"value": _shown(applied.value, plain)}
    if applied.error is not None:
        found["err"] = plain(applied.error.value)
    if applied.dropped:
        found["dropped"] = applied.dropped
    if applied.saved is not None:
        return {**found, "saved": base64.b64encode(applied.saved).decode()}
    return {**found, "entry": applied.entry, "execution": execution}


def _shown(value: Any, plain: Any) -> Any:
    if isinstance(value, Health):
        return {"status": str(value.status), "reason": value.reason}
    return plain(value)
