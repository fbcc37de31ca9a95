"""One turn of an actor: a message taken by its class on the state that was saved last (specs/actors.md, T1-T9).

A turn is a durable function, so its steps, sleeps and questions are recorded. Its state is read before each pass, and
cannot change between them, since the next message is not begun before this one has ended.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any

from capabilities.actors.errors import (
    ActorCycle,
    ActorStopped,
    ActorUnhealthy,
    CodecError,
    JournalFull,
    StateMismatch,
    UnknownMethod,
)
from capabilities.actors.restart_history import Allowed, RestartWindow
from capabilities.sandbox.errors import CapabilityDenied, ComponentNotFound, ExecutionFailed
from durable.actors.actor_class import ActorClass
from durable.actors.actor_context import ActorContext
from durable.actors.names import kind_and_key, shown
from durable.actors.supervise import Supervise
from durable.core.errors import BadArguments, StoreRefused
from durable.functions.failures import cut
from durable.store.port import StoreFace

if TYPE_CHECKING:
    from durable.functions.context import Context

START, CHILD_FAILED, UNHEALTHY = "__start__", "__child_failed__", "__unhealthy__"
"""Messages of the engine's own: of a supervisor that spawns an actor, of a child that gave up, of a health check."""

NOTE_CHARS_MAX = 500
"""Of an error, in an actor's status."""


class ErrorReply(Exception):
    """Raised by a method whose reply is an error: what it left in the actor's fields is saved all the same."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class TurnCompanion:
    """Reads an actor's row before each pass of one of its turns."""

    def __init__(self, described: ActorClass) -> None:
        self.described = described

    async def activate(self, store: StoreFace, promise_id: str, tags: dict[str, str], *, begun: bool) -> TurnActivation:
        """The actor as it was saved last. StoreError."""
        name = tags["durable:session"]
        known = None if store.local is None else store.local.glance.actor(name)
        try:
            row: dict[str, Any] = known or (await store.request("actor.get", {"actor": name})).data
        except StoreRefused as refused:
            if refused.status != 404:
                raise
            row = {"status": "running", "note": "", "state": None, "version": 0, "restarts": [], "parent": None}
        if begun:
            row["status"] = "running"  # a turn that has begun comes to its end, whoever stops the actor meanwhile
        return TurnActivation(self.described, name, promise_id, row)


class TurnActivation:
    """An actor taken up for one turn."""

    def __init__(self, described: ActorClass, name: str, promise_id: str, row: dict[str, Any]) -> None:
        self.returns: Any = inspect.Parameter.empty
        self.chain: list[str] = [name]
        self._described = described
        self._name = name
        self._promise_id = promise_id
        self._row = row
        self._loop = asyncio.get_running_loop()
        """The engine's: a turn runs on a loop of its own."""
        self._restarts: list[float] = row["restarts"]
        self._saves: dict[str, Any] | None = None
        self._restarted = 0

    def saves(self) -> dict[str, Any] | None:
        return self._saves

    async def turn(self, context: Context, args: list[Any]) -> Any:
        """Take the message; what it came to is in `saves` when this ends, with or without an error."""
        message = args[0] if args and isinstance(args[0], dict) else {}
        if self._row["status"] != "running":
            stopped = ActorStopped(shown(self._name), self._row["note"])
            self._save(dead=str(stopped))
            raise stopped
        own = self._own(context, message)
        own.actors.watch(self._described, self._name, self._loop)
        if message.get("method") == UNHEALTHY:
            return await self._unhealthy(own, message)
        if message.get("method") == CHILD_FAILED:
            return await self._child_failed(own, message)
        while True:
            try:
                return await self._attempt(own, message)
            except ErrorReply as reply:
                raise reply.error from None
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                if is_cancelled() or await self._gives_up(own, error):
                    raise

    # -- one attempt ----------------------------------------------------------------------------------------------

    def _own(self, context: Context, message: dict[str, Any]) -> ActorContext:
        self.chain = [*map(str, message.get("chain") or ()), self._name]
        sender = str(message.get("sender") or "")
        supervises = self._described.supervise is not None
        return ActorContext.of(context, self._name, self._row.get("parent"), sender, self.chain, supervises=supervises)

    async def _attempt(self, context: ActorContext, message: dict[str, Any]) -> Any:
        described, state = self._described, self._row["state"]
        context.journal_entry, context.forgets_journal = None, False
        instance = described.instance(shown(self._name), state, self._row["version"])
        if state is None and hasattr(instance, "on_start"):
            await instance.on_start(context)
        try:
            return await self._taken(context, instance, message)
        except ErrorReply:
            self._save_state(context, instance)
            raise

    async def _taken(self, context: ActorContext, instance: Any, message: dict[str, Any]) -> Any:
        described = self._described
        value = None
        if message.get("method") != START:
            method = described.method(str(message.get("method")))
            self.returns = method.returns
            given, named = method.shaped(message.get("args") or [], message.get("kwargs") or {})
            if method.reads:  # what it changes is nobody's, as where it runs beside turns
                self._save_state(context, instance)
            value = method.fn(instance, *(() if method.reads else (context,)), *given, **named)
            if inspect.isawaitable(value):
                value = await value
            if method.reads:
                return value
        self._save_state(context, instance)
        return value

    def _save_state(self, context: ActorContext, instance: Any) -> None:
        described = self._described
        before = self._row["state"] if self._row["version"] == described.version else None
        more: dict[str, Any] = {"state": described.dump(shown(self._name), instance, before)}
        if context.journal_entry is not None:
            more["journal"] = context.journal_entry
        if context.forgets_journal:
            more["forget"] = True
        self._save(**more)

    async def _gives_up(self, context: ActorContext, error: BaseException) -> bool:
        """Whether the turn ends with this error; else the backoff has passed and it is taken again."""
        supervise = self._described.supervise
        if supervise is None or isinstance(error, SENDERS_OWN) or supervise.answers(error):
            self._save()
            return True
        if await self._restarts_after(context, supervise, _told(error)):
            return False
        note = f"{_told(error)}, after {supervise.max_restarts} restarts within {supervise.within:g} s"
        letter = {} if isinstance(error, ActorUnhealthy) else {"dead": note}  # nobody's message
        if supervise.exhausted == "drop":
            self._save(**letter)
            return True
        parent = self._row.get("parent")
        if supervise.exhausted == "escalate" and parent is not None:
            await context.tell_by_name(parent, CHILD_FAILED, [self._name, note], self._promise_id)
        self._save(**letter, status="failed", note=note)
        context.actors.note("child_failed", self._name, note)
        return True

    async def _restarts_after(self, context: ActorContext, supervise: Supervise, why: str) -> bool:
        """Whether one more restart is allowed; then its backoff has passed when this returns.

        The decision is a step: what counts in the window may be forgotten by hand before a replay.
        """
        policy, times = supervise.policy, list(self._restarts)
        now, chance = context.time_s(), context.chance(self._restarted)

        def decide_restart() -> tuple[float | None, list[float]]:
            window = RestartWindow(policy.max_restarts, policy.within_s, deque(times))
            found = window.ask(now)
            delay = policy.delay_s(found.attempt, chance) if isinstance(found, Allowed) else None
            context.actors.note("restart_limit_exceeded" if delay is None else "child_restarted", self._name, why)
            return delay, list(window.times)

        delay, self._restarts = await context.run(decide_restart)
        if delay is None:
            return False
        self._restarted += 1
        context.log("%s: %s: restarted in %.3g s", shown(self._name), why, delay)
        if delay:
            await context.sleep(delay)
        return True

    def _save(self, **more: Any) -> None:
        kind, key = kind_and_key(self._name)
        fields = {"actor": self._name, "kind": kind, "key": key, "version": self._described.version, **more}
        if self._restarts != self._row["restarts"]:
            fields |= {"restarts": self._restarts, "restarted": self._restarted}
        self._saves = fields

    async def _unhealthy(self, context: ActorContext, message: dict[str, Any]) -> None:
        """Its checks failed too often: a restart like that after an error, or its end (A67)."""
        (reason,) = message.get("args") or ("",)
        actors, name = context.actors, self._name

        async def let_go() -> None:  # of a message between the check and this turn
            actors.let_go(name)

        await context.run(let_go)
        if not await self._gives_up(context, ActorUnhealthy(shown(self._name), str(reason))):
            self._save()

    # -- a supervisor's own ---------------------------------------------------------------------------------------

    async def _child_failed(self, context: ActorContext, message: dict[str, Any]) -> None:
        """A child gave up: restart it, and those that the strategy says; or give up as well (A55, A58)."""
        child, why = map(str, message.get("args") or ("", ""))
        supervise = self._described.supervise or _UNSUPERVISED
        if await self._restarts_after(context, supervise, f"{shown(child)} failed"):
            await context.restart_children(child, str(supervise.strategy))
            self._save()
            return
        note = f"{shown(child)} failed ({why}), after {supervise.max_restarts} restarts within {supervise.within:g} s"
        await context.stop_children(note)
        parent = self._row.get("parent")
        if supervise.exhausted == "escalate" and parent is not None:
            await context.tell_by_name(parent, CHILD_FAILED, [self._name, note], self._promise_id)
        self._save(status="failed", note=note)


_UNSUPERVISED = Supervise()
SENDERS_OWN = (
    BadArguments, UnknownMethod, ActorCycle, StateMismatch, JournalFull, CodecError, ExecutionFailed, CapabilityDenied,
    ComponentNotFound,
)  # fmt: skip
"""Errors that no restart mends: of whoever sent the message, or of the code that was changed."""


def is_cancelled() -> bool:
    """Whether the task that runs is ended from outside: code can raise a cancellation of something else."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _told(error: BaseException) -> str:
    return cut(f"{type(error).__name__}: {error}", NOTE_CHARS_MAX)
