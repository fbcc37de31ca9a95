"""Actors that are kept in memory: `@durable.actor(durable=False)` (specs/actors.md, L1-L5).

The same classes, mailboxes and supervision without the store. An actor is a mailbox and an object; a task of the loop
exists only while there is mail.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from capabilities.actors.actor_registry import ActorRegistry
from capabilities.actors.errors import ActorCycle, ActorStopped, RequestTimedOut, TreeIntegrityViolation
from capabilities.actors.mailbox import FullMailbox, Mailbox
from capabilities.actors.restart_history import Allowed, RestartWindow
from capabilities.actors.router import Address, Router
from capabilities.actors.states import ActorEvent, ActorState, ChildState, step_actor
from capabilities.actors.supervision import ChildSpec, Strategy, Supervisor
from durable.actors.actor_class import ActorClass, ActorMethod, class_of
from durable.actors.names import actor_name, shown
from durable.actors.reference import ActorReference
from durable.actors.supervise import Supervise
from durable.core.errors import BadArguments
from durable.functions.definition import seconds

_chain: ContextVar[tuple[str, ...]] = ContextVar("durable_local_actors", default=())
"""The actors that wait for the turn that runs now, and its own."""

type LocalMessage = tuple[ActorMethod, tuple[Any, ...], dict[str, Any], asyncio.Future[Any] | None, tuple[str, ...]]


class LocalContext:
    """The context of a turn in memory: what needs no store of an ActorContext."""

    __slots__ = ("_actor", "chain", "key", "name", "sender")

    def __init__(self, actor: LocalActor, chain: tuple[str, ...]) -> None:
        self._actor = actor
        self.name, self.key, self.chain = actor.name, actor.key, [*chain, actor.name]
        self.sender = chain[-1] if chain else ""

    async def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, in a thread where it is synchronous."""
        if inspect.iscoroutinefunction(fn):
            return await fn(*args, **kwargs)
        return await asyncio.to_thread(fn, *args, **kwargs)

    async def sleep(self, duration: float | timedelta) -> None:
        """Sleep; the actor takes no other message meanwhile."""
        await asyncio.sleep(seconds(duration) or 0.0)

    def actor(self, cls: type, key: str) -> ActorReference:
        """Another actor in memory."""
        return self._actor.house.reference(class_of(cls), key)

    async def spawn(self, cls: type, key: str) -> ActorReference:
        """An actor under this one. TreeIntegrityViolation."""
        return self._actor.house.spawn(class_of(cls), key, self._actor)


class LocalActor:
    """One actor in memory."""

    def __init__(self, house: LocalActors, described: ActorClass, key: str) -> None:
        self.house = house
        self.described = described
        self.key = key
        self.name = actor_name(described.kind, key)
        self.state = ActorState.STARTING
        self.note = ""
        self.parent: LocalActor | None = None
        self.children: dict[str, LocalActor] = {}
        self.restarted = 0
        self._policy = (described.supervise or _UNSUPERVISED).policy
        self._window = RestartWindow(self._policy.max_restarts, self._policy.within_s)
        self._mailbox: Mailbox[LocalMessage] = self._opened()
        self._object: Any = None
        self._task: asyncio.Task[None] | None = None

    def _opened(self) -> Mailbox[LocalMessage]:
        return Mailbox(shown(self.name), capacity=self.described.mailbox, backpressure=FullMailbox.ERROR)

    def take(self, message: LocalMessage) -> None:
        """Put a message into the mailbox. MailboxFull, ActorStopped."""
        if self._mailbox.closed:
            raise ActorStopped(shown(self.name), self.note)
        self._mailbox.offer(message)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while len(self._mailbox):
                await self._turn(self._mailbox.take())
        finally:
            self._task = None

    async def _turn(self, message: LocalMessage) -> None:
        method, args, kwargs, reply, chain = message
        context = LocalContext(self, chain)
        _chain.set((*chain, self.name))
        while True:
            try:
                made = await self._instance(context)
                given = args if method.reads else (context, *args)
                value = method.fn(made, *given, **kwargs)
                found = await value if inspect.isawaitable(value) else value
                if reply is not None and not reply.done():
                    reply.set_result(found)
                return
            except asyncio.CancelledError:
                if reply is not None and not reply.done():
                    reply.set_exception(ActorStopped(shown(self.name), self.note))
                raise
            except Exception as error:
                if await self._gives_up(error):
                    if reply is not None and not reply.done():
                        reply.set_exception(error)
                    return

    async def _instance(self, context: LocalContext) -> Any:
        if self._object is None:
            self._object = self.described.instance(shown(self.name), None, self.described.version)
            if hasattr(self._object, "on_start"):
                await self._object.on_start(context)
            if self.state is ActorState.STARTING:
                self.state = step_actor(self.state, ActorEvent.BEGIN)
        return self._object

    async def _gives_up(self, error: Exception) -> bool:
        """Whether the turn ends with this error; else the actor was restarted, and it is taken again."""
        supervise = self.described.supervise
        if supervise is None or supervise.answers(error):
            return True
        if await self.restart():
            return False
        if supervise.exhausted == "drop":
            return True
        self.fail(f"{type(error).__name__}: {error}, after {supervise.max_restarts} restarts")
        if supervise.exhausted == "escalate" and self.parent is not None:
            self.house.escalate(self.parent, self)
        return True

    async def restart(self) -> bool:
        """Begin with a new object after the backoff, where one more restart is allowed."""
        found = self._window.ask(time.monotonic())
        if not isinstance(found, Allowed):
            return False
        await asyncio.sleep(self._policy.delay_s(found.attempt, random.random()))  # noqa: S311 - jitter
        self.begin_anew()
        return True

    def begin_anew(self) -> None:
        """A new object, with the next message; a mailbox that was closed is opened."""
        self.restarted += 1
        self._object, self.note = None, ""
        if self._mailbox.closed:
            self._mailbox = self._opened()
        if self.state in (ActorState.RUNNING, ActorState.FAILED):
            self.state = step_actor(self.state, ActorEvent.RESTART)
        elif self.state is ActorState.STOPPED:
            self.state = ActorState.STARTING

    def fail(self, note: str) -> None:
        """Take no more messages: those that wait get ActorStopped."""
        if self.state in (ActorState.STARTING, ActorState.RUNNING):
            self.state = step_actor(self.state, ActorEvent.FAIL)
        self._close(note)

    def stop(self, note: str = "") -> int:
        """The same by hand; how many messages waited."""
        if self.state not in (ActorState.STOPPED, ActorState.STOPPING):
            self.state = step_actor(step_actor(self.state, ActorEvent.STOP), ActorEvent.END)
        return self._close(note)

    def end_turn(self) -> None:
        """Cancel the turn at work: its loop ends."""
        if self._task is not None:
            self._task.cancel()

    def _close(self, note: str) -> int:
        self.note = note
        self._mailbox.close()
        waiting = self._mailbox.drain()
        for _, _, _, reply, _ in waiting:
            if reply is not None and not reply.done():
                reply.set_exception(ActorStopped(shown(self.name), note))
        return len(waiting)


class LocalActors:
    """The actors of one engine that are kept in memory."""

    def __init__(self) -> None:
        self.registry: ActorRegistry[Address] = ActorRegistry()
        self.router = Router(self.registry)
        self._actors: dict[str, LocalActor] = {}
        self._escalations: set[asyncio.Task[None]] = set()

    def of(self, described: ActorClass, key: str) -> LocalActor:
        """The actor of a class and key, made where there is none."""
        name = actor_name(described.kind, key)
        found = self._actors.get(name)
        if found is None:
            found = self._actors[name] = LocalActor(self, described, key)
            self.registry.register(name, found.take)
        return found

    def reference(self, described: ActorClass, key: str) -> ActorReference:
        """A reference to it. BadArguments for a class that is durable."""
        if described.durable:
            raise BadArguments(f"{described.kind} is durable: an actor in memory reaches it through the engine")
        return LocalReference(self, described, self.of(described, key))

    def spawn(self, described: ActorClass, key: str, parent: LocalActor) -> ActorReference:
        """An actor under another one. TreeIntegrityViolation."""
        child = self.of(described, key)
        above: LocalActor | None = parent
        chain = [child.name]
        while above is not None:
            chain.append(above.name)
            if above is child:
                raise TreeIntegrityViolation(f"supervisors in a circle: {' under '.join(map(shown, chain))}")
            above = above.parent
        if child.parent is not None and child.parent is not parent:
            raise TreeIntegrityViolation(f"{shown(child.name)} is under {shown(child.parent.name)} already")
        child.parent = parent
        parent.children[child.name] = child
        return self.reference(described, key)

    def escalate(self, parent: LocalActor, child: LocalActor) -> None:
        """A child gave up: its supervisor restarts it and those of its strategy, or fails as well."""
        task = asyncio.get_running_loop().create_task(self._decide(parent, child))
        self._escalations.add(task)
        task.add_done_callback(self._escalations.discard)

    async def _decide(self, parent: LocalActor, child: LocalActor) -> None:
        supervise = parent.described.supervise or _UNSUPERVISED
        supervisor = Supervisor(parent.name, Strategy(supervise.strategy))
        for name, each in parent.children.items():
            supervisor.supervise(ChildSpec(name))
            alive = each.state in (ActorState.STARTING, ActorState.RUNNING)
            supervisor.children[name].state = ChildState.RUNNING if alive else ChildState.FAILED
        if await parent.restart():
            for name in supervisor.affected(child.name):
                parent.children[name].begin_anew()
            return
        for each in reversed(parent.children.values()):
            each.fail(f"{shown(parent.name)} gave up")
        parent.fail(f"{shown(child.name)} failed ({child.note})")
        if supervise.exhausted == "escalate" and parent.parent is not None:
            self.escalate(parent.parent, parent)

    def close(self) -> None:
        """End them all: whoever waits gets ActorStopped."""
        for each in self._actors.values():
            each.stop("the engine is closed")
            each.end_turn()
        for task in self._escalations:
            task.cancel()


class LocalReference(ActorReference):
    """A reference to an actor in memory."""

    def __init__(self, house: LocalActors, described: ActorClass, actor: LocalActor) -> None:
        super().__init__(described, actor.name)
        self._house = house
        self._take = actor.take

    def _send(
        self,
        name: str,  # noqa: ARG002 - the method says it
        method: ActorMethod | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Awaitable[Any]:
        assert method is not None
        chain = _chain.get()
        if self._tells:
            self._take((method, args, kwargs, None, chain))
            return _done()
        if self._name in chain:
            raise ActorCycle([*map(shown, chain), shown(self._name)])
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._take((method, args, kwargs, reply, chain))
        return reply if self._timeout is None else self._limited(reply, self._timeout)

    async def _limited(self, reply: asyncio.Future[Any], timeout: float) -> Any:
        try:
            return await asyncio.wait_for(asyncio.shield(reply), timeout)
        except TimeoutError:
            raise RequestTimedOut(shown(self._name), timeout) from None


class _Done:
    def __await__(self) -> Any:
        return iter(())


def _done() -> Awaitable[Any]:
    """Nothing is left to wait for."""
    return _Done()


_UNSUPERVISED = Supervise()
