"""WebAssembly as an actor: a core module whose instance lives on from message to message (specs/actors.md, W1-W4)."""

from __future__ import annotations

from typing import Any

from capabilities.actors.mailbox import CAPACITY_MAX_DEFAULT
from durable.actors.actor import actor
from durable.actors.actor_context import ActorContext
from durable.actors.supervise import Supervise


def component_actor(
    component: str,
    *,
    name: str | None = None,
    supervise: Supervise | None = None,
    mailbox: int | None = CAPACITY_MAX_DEFAULT,
) -> type:
    """A class of actors that are instances of a component that engines know (`durable.open(components=…)`).

    `await engine.actor(Counter, "a").invoke("add", 1)` calls an export; what it keeps in its memory and globals is
    saved with the reply, signed. Limits and permissions are those of the component's manifest, for each message. A trap
    ends the instance: `supervise` says whether the message is tried again on the state before it. name: the class's
    name in records, the component's by default. What the module asks of its host is recorded call by call.
    """

    class ComponentActor:
        kept: dict[str, str] | None = None

        async def invoke(self, ctx: ActorContext, function: str, *args: Any) -> Any:
            value, self.kept = await ctx.call_instance(component, function, args, self.kept)
            return value

    ComponentActor.__doc__ = f"Instances of the component {component!r}."
    return actor(name=name or component, supervise=supervise, mailbox=mailbox)(ComponentActor)
