"""WebAssembly as an actor: a component or a core module that lives on between messages (specs/actors.md, W1-W12)."""

from __future__ import annotations

import base64
import logging
from typing import Any

from capabilities.actors.errors import JournalFull
from capabilities.actors.mailbox import CAPACITY_MAX_DEFAULT
from capabilities.actors.multicodec import decode_value, encode_value
from capabilities.sandbox.wasm.wit_values import Err
from durable.actors.actor import actor
from durable.actors.actor_context import ActorContext
from durable.actors.supervise import Supervise
from durable.actors.turn import ErrorReply
from durable.core.errors import BadArguments

JOURNAL_MAX = 10_000
"""Messages that an instance is made of again. One that has more of them has to save its state."""

log = logging.getLogger("durable.actors")


class _ComponentActor:
    """The common part of all such classes."""

    kept: dict[str, str] | None = None
    """A core module's state, signed."""
    saved: str | None = None
    """What a component saved last, as base64."""
    last: str = ""
    """The execution of a component's last message since then."""
    journaled: int = 0
    """How many there are since then."""

    async def invoke(self, ctx: ActorContext, function: str, *args: Any) -> Any:
        """Call an export, `name` or `interface#name`."""
        return await self._take(ctx, "invoke", [function, list(args)])

    async def invoke_encoded(self, ctx: ActorContext, function: str, args: bytes) -> bytes:
        """The same with arguments in a frame of a codec: a list of them, or the only one. The reply has the codec, too.

        CodecError.
        """
        codec, given = decode_value(args)
        reply = await self._take(ctx, "invoke", [function, given if isinstance(given, list) else [given]])
        return encode_value(codec, reply)

    async def handle_message(self, ctx: ActorContext, sender: str, message: bytes) -> bytes | None:
        """Give it a message of another actor, `class/key`, or of nobody: its reply, or None."""
        return _data(await self._take(ctx, "message", [sender, base64.b64encode(message).decode()]))

    async def handle_callback(self, ctx: ActorContext, request: str, answer: dict[str, Any]) -> None:
        """Give it the answer to a request of its own: {"ok": base64} or {"err": {"kind", "message"}}."""
        await self._take(ctx, "callback", [request, answer])

    async def health(self, ctx: ActorContext) -> dict[str, str]:
        """Its `status` and the `reason`, by what it says itself, or else by its being there."""
        found: dict[str, str] = await self._take(ctx, "health", [])
        return found

    async def _take(self, ctx: ActorContext, kind: str, args: list[Any]) -> Any:
        if self.journaled >= JOURNAL_MAX:
            raise JournalFull(ctx.name, JOURNAL_MAX)
        described: Any = type(self)
        memory = {"kept": self.kept, "saved": self.saved, "last": self.last}
        found = await ctx.call_component(described.component, described.config, kind, args, memory)
        if found.get("dropped"):
            log.warning("%s: a message was dropped: %s", ctx.name, found["dropped"])
        self._remember(ctx, found)
        if "err" in found:
            raise ErrorReply(Err(found["err"]))
        return found["value"]

    def _remember(self, ctx: ActorContext, found: dict[str, Any]) -> None:
        if "kept" in found:
            self.kept = found["kept"]
        elif "saved" in found:
            self.saved, self.last, self.journaled = found["saved"], "", 0
            ctx.forgets_journal = True
        elif "entry" in found:
            self.last, self.journaled = found["execution"], self.journaled + 1
            ctx.journal_entry = found["entry"]


def _data(reply: Any) -> bytes | None:
    return None if reply is None else base64.b64decode(reply["base64"])


def component_actor(
    component: str,
    *,
    name: str | None = None,
    supervise: Supervise | None = None,
    mailbox: int | None = CAPACITY_MAX_DEFAULT,
    config: bytes = b"",
    durable: bool = True,
) -> type:
    """A class of actors that are instances of a component that engines know (`durable.open(components=…)`).

    `await engine.actor(Counter, "a").invoke("add", 1)` calls an export, `handle_message(sender, data)` the export
    `handle-message`. A core module's memory and globals are saved with the reply; a component's instance is kept, and
    made again from its messages since it last saved its state itself. Limits and permissions are those of the manifest,
    for each message. A trap ends the instance: `supervise` says whether the message is tried again on the state before
    it. name: the class's name in records, the component's by default. config: given to the start of each instance.
    durable=False: instances in memory, which end with the engine. BadArguments.
    """
    if not isinstance(config, bytes):
        raise BadArguments(f"config is bytes, not {type(config).__name__}")
    if durable:
        base: type = _ComponentActor
    else:
        from durable.actors.local_component import LocalComponentActor

        base = LocalComponentActor
    made = type("ComponentActor", (base,), {"__module__": __name__, "__qualname__": "ComponentActor"})
    made.__doc__ = f"Instances of the component {component!r}."
    made.component, made.config = component, config  # type: ignore[attr-defined]
    return actor(name=name or component, supervise=supervise, mailbox=mailbox, durable=durable)(made)
