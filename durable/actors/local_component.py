"""Actors in memory that are components or core modules (specs/actors.md, L6-L8, L10)."""

from __future__ import annotations

import base64
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from capabilities.actors.errors import ActorNotReady, MailboxClosed
from capabilities.actors.mailbox import Empty, Mailbox
from capabilities.actors.multicodec import decode_value, encode_value
from durable.actors.actor_class import read

if TYPE_CHECKING:
    from capabilities.sandbox.wasm.actor_instance import InstanceMessage
    from durable.actors.local_actors import LocalContext, LocalMessage

VISIT_S = 0.002
"""Seconds after which a visit of a thread takes no further message: senders are told when it is over."""

log = logging.getLogger("durable.actors")


def for_instance(message: LocalMessage) -> InstanceMessage | None:
    """The message of an instance for one of the actor; None where a call is not enough, or its arguments are wrong."""
    from capabilities.sandbox.wasm.actor_instance import InstanceMessage

    method, args, kwargs, *_ = message
    match method.name, args:
        case _ if kwargs:
            return None
        case "invoke", (str(function), *given):
            return InstanceMessage("invoke", (function, given))
        case "handle_message", (str(sender), bytes(data)):
            return InstanceMessage("message", (sender, data))
    return None


class ComponentVisit:
    """Messages that wait, taken one after another in one visit of the instance's thread (L10): handing each to the
    thread, and its reply back, takes several times as long as a short call of wasm.

    replied: messages and their replies. message: the one that was taken last, where it has none yet: it raised `error`,
    or is left for a turn of its own. Once `abandoned` is set, whoever waits for the visit looks at both, and again when
    `run` has told that it is over: the thread may have been at work between.
    """

    def __init__(self, name: str, message: LocalMessage, mailbox: Mailbox[LocalMessage]) -> None:
        self.message: LocalMessage | None = message
        self.error: Exception | None = None
        self.replied: deque[tuple[LocalMessage, Any]] = deque()
        self.abandoned = False
        self._name = name
        self._mailbox = mailbox

    def run(
        self, enter: Callable[[LocalMessage], bool], take: Callable[[InstanceMessage], Any], over: Callable[[], None]
    ) -> None:
        """Take messages in this thread, as long as `enter` says that the instance may be given the next one.

        over: called at the end of a visit that was abandoned.
        """
        try:
            self._take_in_turn(enter, take)
        finally:
            if self.abandoned:
                over()

    def _take_in_turn(self, enter: Callable[[LocalMessage], bool], take: Callable[[InstanceMessage], Any]) -> None:
        from capabilities.sandbox.wasm.actor_instance import Dropped

        ends_at = time.monotonic() + VISIT_S
        while self.message is not None:
            given = for_instance(self.message)
            if given is None or not enter(self.message):
                return
            try:
                value = take(given)
            except Dropped as dropped:
                log.warning("%s: a message was dropped: %s", self._name, dropped)
                value = None
            except Exception as error:
                self.error = error
                return
            self.replied.append((self.message, value))
            self.message = None if self.abandoned or time.monotonic() >= ends_at else self._next()

    def _next(self) -> LocalMessage | None:
        try:
            return self._mailbox.take()
        except (Empty, MailboxClosed):
            return None


class LocalComponentActor:
    """The common part of all such classes. The instance lives as long as this object, or ends with a trap."""

    component: ClassVar[str]
    config: ClassVar[bytes]
    _instance: Any = None

    async def on_start(self, ctx: LocalContext) -> None:
        """Make the instance, and call its start."""
        saved = None if self._instance is None else self._instance.saved
        self._instance = await ctx.sandbox.local_instance(self.component, ctx.name, self.config, saved)

    async def on_stop(self, ctx: LocalContext) -> None:  # noqa: ARG002 - every hook has it
        """Call its cleanup, and give back what it holds."""
        if self._instance is not None:
            await self._instance.end()

    async def invoke(self, ctx: LocalContext, function: str, *args: Any) -> Any:
        """Call an export, `name` or `interface#name`."""
        return await self._take(ctx, "invoke", function, list(args))

    async def invoke_encoded(self, ctx: LocalContext, function: str, args: bytes) -> bytes:
        """The same with arguments in a frame of a codec; the reply has the codec, too. CodecError."""
        from capabilities.sandbox.wasm.wit_values import plain

        codec, given = decode_value(args)
        reply = await self._take(ctx, "invoke", function, given if isinstance(given, list) else [given])
        return encode_value(codec, plain(reply))

    async def handle_message(self, ctx: LocalContext, sender: str, message: bytes) -> bytes | None:
        """Give it a message of another actor, `class/key`, or of nobody: its reply, or None."""
        reply: bytes | None = await self._take(ctx, "message", sender, message)
        return reply

    async def handle_callback(self, ctx: LocalContext, request: str, answer: dict[str, Any]) -> None:
        """Give it the answer to a request of its own: {"ok": base64} or {"err": {"kind", "message"}}."""
        from capabilities.sandbox.wasm.wit_values import Err, Ok

        given = Ok(base64.b64decode(answer["ok"])) if "ok" in answer else Err(answer["err"])
        await self._take(ctx, "callback", request, given)

    async def health(self, ctx: LocalContext) -> dict[str, str]:
        """Its `status` and the `reason`, by what it says itself, or else by its being there."""
        found = await self._take(ctx, "health")
        return {"status": str(found.status), "reason": found.reason}

    @read
    def started_at(self) -> float:
        """When its start had returned, in seconds since the epoch. ActorNotReady before that."""
        if self._instance is None or self._instance.started_at is None:
            raise ActorNotReady(self.component, "creating")
        found: float = self._instance.started_at
        return found

    @property
    def alive(self) -> bool:
        """Whether its instance takes messages."""
        return self._instance is not None and self._instance.alive

    async def visit(
        self, made: ComponentVisit, enter: Callable[[LocalMessage], bool], over: Callable[[], None]
    ) -> None:
        """Take messages in one visit of the instance's thread, by `run`."""
        await self._instance.visit(lambda: made.run(enter, self._instance.take_here, over))

    async def _take(self, ctx: LocalContext, kind: Any, *args: Any) -> Any:
        from capabilities.sandbox.wasm.actor_instance import Dropped, InstanceMessage

        if not self.alive:
            if self._instance is not None:
                await self._instance.end()
            await self.on_start(ctx)
        try:
            return await self._instance.take(InstanceMessage(kind, args))
        except Dropped as dropped:
            log.warning("%s: a message was dropped: %s", ctx.name, dropped)
            return None
