"""Actors that are kept in memory: `@durable.actor(durable=False)` (specs/actors.md, L1-L5, L10, L11).

The same classes, mailboxes and supervision without the store. An actor is a mailbox and an object; a task of the loop
exists only while there is mail.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

from capabilities.actors.actor_limits import ActorLimits
from capabilities.actors.actor_registry import ActorRegistry
from capabilities.actors.errors import (
    ActorCycle,
    ActorError,
    ActorNotFound,
    ActorNotReady,
    ActorStopped,
    ActorUnhealthy,
    InvalidSupervision,
    MessagingError,
    RequestTimedOut,
    TooManyActors,
    TreeIntegrityViolation,
    UnknownCorrelation,
)
from capabilities.actors.health import Health, HealthChecks
from capabilities.actors.mailbox import FullMailbox, Mailbox
from capabilities.actors.restart_history import Allowed, RestartWindow
from capabilities.actors.router import Address, Router
from capabilities.actors.states import ActorEvent, ActorState, ChildState, HealthState, step_actor
from capabilities.actors.supervision import ChildSpec, Strategy, Supervisor
from capabilities.actors.topics import Subscriptions
from durable.actors.actor_class import ActorClass, ActorMethod, class_of
from durable.actors.actor_requests import failure_of, reply_data
from durable.actors.health_watch import ActorHealth, HealthUnasked, HealthWatch, ask_in_time
from durable.actors.local_component import ComponentVisit, LocalComponentActor
from durable.actors.names import actor_name, kind_and_key, shown
from durable.actors.reference import ActorReference
from durable.actors.supervise import Supervise, unsupervised
from durable.actors.turn import SENDERS_OWN, is_cancelled
from durable.core.durations import seconds
from durable.core.errors import BadArguments, ExecutionError
from durable.records.values import encode

log = logging.getLogger("durable.actors")

_CLOSED = "the engine is closed"

LOCAL_CLASSES: dict[str, ActorClass] = {}
"""Classes with durable=False by their names, the newest of each."""


class LocalTurn:
    """A turn of an actor, as what it sends knows of it: a task that it left behind is not part of it for ever."""

    __slots__ = ("ended", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = False


_chain: ContextVar[tuple[LocalTurn, ...]] = ContextVar("durable_local_actors", default=())
"""The turns that wait for the one that runs now, and that one."""

type LocalMessage = tuple[
    ActorMethod, tuple[Any, ...], dict[str, Any], asyncio.Future[Any] | None, tuple[LocalTurn, ...]
]


type Note = Callable[[str, str, str], None]
"""Told what happened to which actor, and why."""


class Services(Protocol):
    """The engine, as far as actors in memory need it."""

    @property
    def sandbox(self) -> Any: ...


class LocalContext:
    """The context of a turn in memory: what needs no store of an ActorContext."""

    __slots__ = ("_actor", "chain", "key", "name", "sender")

    def __init__(self, actor: LocalActor, chain: tuple[LocalTurn, ...]) -> None:
        self._actor = actor
        self.name, self.key, self.chain = actor.name, actor.key, [*(turn.name for turn in chain), actor.name]
        self.sender = chain[-1].name if chain else ""

    async def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, in a thread where it is synchronous."""
        if inspect.iscoroutinefunction(fn):
            return await fn(*args, **kwargs)
        return await asyncio.to_thread(fn, *args, **kwargs)

    @property
    def sandbox(self) -> Any:
        """The engine's sandbox."""
        engine = self._actor.house._engine
        assert engine is not None, "actors that are components belong to an engine"
        return engine.sandbox

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
        self.health: ActorHealth | None = None
        """What checks found last."""
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
            self._task = asyncio.get_running_loop().create_task(self._work(), context=self.house.context())

    async def _work(self) -> None:
        try:
            while len(self._mailbox):
                message, made = self._mailbox.take(), self._object
                left: LocalMessage | None = message
                if len(self._mailbox) and isinstance(made, LocalComponentActor) and made.alive:
                    left = await self._visit(made, message)
                if left is not None:
                    await self._turn(left)
        finally:
            self._task = None
            if self._mailbox.closed:  # it was stopped meanwhile
                self._drop_object()

    async def _visit(self, made: LocalComponentActor, message: LocalMessage) -> LocalMessage | None:
        """Take it and those behind it in one visit of a thread: the message that is left for a turn of its own."""

        turn = LocalTurn(self.name)

        def enter(message: LocalMessage) -> bool:
            _chain.set((*message[4], turn))
            return self._object is made and made.alive

        visit, loop = ComponentVisit(self.name, message, self._mailbox), asyncio.get_running_loop()

        def over() -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(self._abandoned, visit)

        try:
            await made.visit(visit, enter, over)
        except asyncio.CancelledError:
            visit.abandoned = True
            self._abandoned(visit)
            raise
        except Exception as error:  # its instance was ended before the visit
            visit.error = error
        finally:
            turn.ended = True
            self._told(visit)
        if visit.error is None or visit.message is None or isinstance(visit.error, ActorNotReady):
            return visit.message
        if not await self._ends(visit.message, visit.error):
            return visit.message
        self._noted(visit.message)
        return None

    def _told(self, visit: ComponentVisit) -> None:
        """Tell the senders of the messages that have a reply."""
        while visit.replied:
            message, value = visit.replied.popleft()
            self._noted(message)
            _reply(message, value)

    def _abandoned(self, visit: ComponentVisit) -> None:
        """Tell everybody, as far as the thread has come."""
        self._told(visit)
        if visit.message is not None:
            _fail(visit.message, ActorStopped(shown(self.name), self.note))

    def _noted(self, message: LocalMessage) -> None:
        if self.house.limits.metrics:
            self.house.note("message", self, message[0].name)

    async def _turn(self, message: LocalMessage) -> None:
        method, args, kwargs, _, chain = message
        context, turn = LocalContext(self, chain), LocalTurn(self.name)
        self._noted(message)
        _chain.set((*chain, turn))
        try:
            while True:
                try:
                    made = await self._instance(context)
                    given = args if method.reads else (context, *args)
                    value = method.fn(made, *given, **kwargs)
                    _reply(message, await value if inspect.isawaitable(value) else value)
                    return
                except (KeyboardInterrupt, GeneratorExit):
                    raise
                except BaseException as error:
                    if await self._ends(message, error):
                        return
        finally:
            turn.ended = True

    async def _ends(self, message: LocalMessage, error: BaseException) -> bool:
        """Whether a message's turn ends with this error, its answer; else it is taken again."""
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            _fail(message, ActorStopped(shown(self.name), self.note))
            raise error
        raised = error if isinstance(error, Exception) else _raised(error)
        if isinstance(error, TypeError):
            raised = _unfit(message, error) or error
        try:
            ends = await self._gives_up(raised)
        except asyncio.CancelledError:  # in its backoff
            _fail(message, ActorStopped(shown(self.name), self.note))
            raise
        if ends:
            _fail(message, raised)
        return ends

    async def _instance(self, context: LocalContext) -> Any:
        if self._object is None:
            if self.state is ActorState.FAILED:  # its start raised, and nobody supervises it
                self.state = step_actor(self.state, ActorEvent.RESTART)
            made = self.described.instance(shown(self.name), None, self.described.version)
            if hasattr(made, "on_start"):
                await self._started(made, context)
            self._object = made
            if self.state is ActorState.STARTING:
                self.state = step_actor(self.state, ActorEvent.BEGIN)
            self.house.note("child_started", self)
            if self.described.supervise is not None and self.described.supervise.health is not None:
                self.house.health_watch.begin(self, asyncio.get_running_loop())
        return self._object

    async def _started(self, made: Any, context: LocalContext) -> None:
        """An actor whose start raises, or takes too long, does not start (A52, A53). RequestTimedOut."""
        limit_s = self.house.limits.spawn_timeout_s
        try:
            async with asyncio.timeout(limit_s) as timer:
                await made.on_start(context)
        except BaseException as error:
            if self.state is ActorState.STARTING:
                self.state = step_actor(self.state, ActorEvent.FAIL)
            self.house.let_go(made, self)
            if isinstance(error, TimeoutError) and timer.expired():
                raise RequestTimedOut(f"the start of {shown(self.name)}", limit_s) from None
            raise

    async def _gives_up(self, error: Exception) -> bool:
        """Whether the turn ends with this error; else the actor was restarted, and it is taken again."""
        supervise = self.described.supervise
        if supervise is None or isinstance(error, SENDERS_OWN) or supervise.answers(error) or is_cancelled():
            return True
        if await self.may_restart():
            self._renew()
            return False
        if self._mailbox.closed:  # it was stopped before: no more becomes of it
            return True
        self.house.note("restart_limit_exceeded", self, f"{type(error).__name__}: {error}")
        if supervise.exhausted == "drop":
            self._window.hits = 0  # it goes on, so no number of them is the end of it
            return True
        self.fail(f"{type(error).__name__}: {error}, after {supervise.max_restarts} restarts")
        if supervise.exhausted == "escalate" and self.parent is not None:
            self.house.escalate(self.parent, self)
        return True

    async def may_restart(self) -> bool:
        """Whether one more restart is allowed; then its backoff has passed when this returns."""
        found = self._window.ask(time.monotonic())
        if not isinstance(found, Allowed):
            return False
        await asyncio.sleep(self._policy.delay_s(found.attempt, random.random()))  # noqa: S311 - jitter
        return True

    def begin_anew(self) -> None:
        """Restart it by hand, or for its supervisor: a mailbox that was closed is opened, and its record is clean."""
        self.note = ""
        self._window.reset()
        if self._mailbox.closed:
            self._mailbox = self._opened()
        self._renew()
        if self.state is ActorState.STOPPED:
            self.state = ActorState.STARTING

    def _renew(self) -> None:
        """A new object, with the next message. One that was stopped in its backoff stays so."""
        self.restarted += 1
        self.house.note("child_restarted", self, self.note)
        self._drop_object()
        if self.state in (ActorState.RUNNING, ActorState.FAILED):
            self.state = step_actor(self.state, ActorEvent.RESTART)

    def fail(self, note: str) -> None:
        """Take no more messages: those that wait get ActorStopped."""
        if self.state in (ActorState.STARTING, ActorState.RUNNING):
            self.state = step_actor(self.state, ActorEvent.FAIL)
        self.house.note("child_failed", self, note)
        self._close(note)

    def stop(self, note: str = "") -> int:
        """The same by hand; how many messages waited."""
        if self.state not in (ActorState.STOPPED, ActorState.STOPPING):
            self.state = step_actor(step_actor(self.state, ActorEvent.STOP), ActorEvent.END)
            self.house.note("child_stopped", self, note)
        return self._close(note)

    def end_turn(self) -> bool:
        """Cancel the turn at work: its loop ends. Whether there was one."""
        if self._task is not None:
            self._task.cancel()
        return self._task is not None

    # -- health: an actor as the watch sees it (A67) ------------------------------------------------------------------

    @property
    def checks(self) -> HealthChecks:
        """How often it is asked."""
        supervise = self.described.supervise
        assert supervise is not None
        assert supervise.health is not None
        return supervise.health

    async def ask(self, timeout_s: float) -> Health | HealthUnasked | None:
        """Ask its object, between two messages."""
        if self._object is None or self._mailbox.closed:
            return HealthUnasked.GONE
        if self._task is not None:
            return HealthUnasked.BUSY
        reply: asyncio.Future[Health | None] = asyncio.get_running_loop().create_future()
        try:
            self.take((_HEALTH, (timeout_s,), {}, reply, ()))
            return await reply
        except ActorStopped:
            return HealthUnasked.GONE

    async def found(self, state: HealthState, reason: str) -> None:
        """Tell of it."""
        self.health = ActorHealth(str(state), reason, int(time.time() * 1_000))
        self.house.note(f"health_{state}", self, reason)

    async def unhealthy(self, reason: str) -> None:
        """Fail as a turn that raised: supervision decides, behind the mail that waits."""
        with suppress(ActorStopped, MessagingError):
            self.take((_UNHEALTHY, (reason, self.restarted), {}, None, ()))

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The turn at work."""
        return self._task

    def _drop_object(self) -> None:
        """Begin anew with the next message; what the object holds is given back by its `on_stop`."""
        made, self._object = self._object, None
        if made is not None:
            self.house.let_go(made, self)

    def _close(self, note: str) -> int:
        self.note = note
        if self._task is None or asyncio.current_task() is self._task:
            self._drop_object()
        self._mailbox.close()
        waiting = self._mailbox.drain()
        for each in waiting:
            _fail(each, ActorStopped(shown(self.name), note))
        return len(waiting)


class LocalActors:
    """The actors of one engine that are kept in memory."""

    def __init__(self, engine: Services | None = None, noted: Note | None = None) -> None:
        """engine: needed by actors that are components. noted: told what supervision does, to which actor, and why."""
        self._engine = engine
        self._noted = noted
        self._context = copy_context()
        self._closed = False
        self.limits = ActorLimits()
        self.registry: ActorRegistry[Address] = ActorRegistry()
        self.router = Router(self.registry)
        self._actors: dict[str, LocalActor] = {}
        self._escalations: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self.health_watch = HealthWatch()
        """Asks those whose class has health checks."""
        self._subscriptions: Subscriptions[str] = Subscriptions()
        self._requests: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def context(self) -> Context:
        """The context variables of a turn: those of where the actors were opened, and not of who sent its message."""
        return self._context.copy()

    def of(self, described: ActorClass, key: str) -> LocalActor:
        """The actor of a class and key, made where there is none."""
        name = actor_name(described.kind, key)
        found = self._actors.get(name)
        if found is None:
            if self._closed:
                raise ActorStopped(shown(name), _CLOSED)
            if 0 < self.limits.actors_max <= len(self._actors):
                raise TooManyActors(self.limits.actors_max)
            found = self._actors[name] = LocalActor(self, described, key)
            self.registry.register(name, found.take)
        return found

    def reference(self, described: ActorClass, key: str) -> ActorReference:
        """A reference to it. BadArguments for a class that is durable."""
        if described.durable:
            raise BadArguments(f"{described.kind} is durable: an actor in memory reaches it through the engine")
        return LocalReference(self, described, self.of(described, key))

    def spawn(self, described: ActorClass, key: str, parent: LocalActor) -> ActorReference:
        """An actor under another one. InvalidSupervision, TreeIntegrityViolation."""
        if parent.described.supervise is None:
            raise InvalidSupervision(unsupervised(shown(parent.name)))
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
        if await parent.may_restart():
            if child.state is ActorState.FAILED and parent.state is not ActorState.STOPPED:
                self._restart_group(parent, child, Strategy(supervise.strategy))
            return
        for each in reversed(parent.children.values()):
            each.fail(f"{shown(parent.name)} gave up")
        parent.fail(f"{shown(child.name)} failed ({child.note})")
        if supervise.exhausted == "escalate" and parent.parent is not None:
            self.escalate(parent.parent, parent)

    def _restart_group(self, parent: LocalActor, failed: LocalActor, strategy: Strategy) -> None:
        """Restart a child that failed, and those that the strategy adds; their supervisor keeps its own state."""
        supervisor = Supervisor(parent.name, strategy)
        for name, each in parent.children.items():
            supervisor.supervise(ChildSpec(name))
            alive = each.state in (ActorState.STARTING, ActorState.RUNNING)
            supervisor.children[name].state = ChildState.RUNNING if alive else ChildState.FAILED
        for name in supervisor.affected(failed.name):
            parent.children[name].begin_anew()

    # -- by their names -------------------------------------------------------------------------------------------

    def knows(self, name: str) -> bool:
        """Whether there is an actor of that name, or it can be brought into being: its class is known here."""
        return name in self._actors or kind_and_key(name)[0] in LOCAL_CLASSES

    def named(self, name: str) -> LocalActor:
        """The actor of that name. ActorNotFound."""
        found = self._actors.get(name)
        if found is not None:
            return found
        kind, key = kind_and_key(name)
        described = LOCAL_CLASSES.get(kind)
        if described is None:
            raise ActorNotFound(shown(name))
        return self.of(described, key)

    def tell(self, name: str, method: str, args: list[Any]) -> None:
        """Put a message into its mailbox. ActorNotFound, UnknownMethod, MailboxFull, ActorStopped."""
        found = self.named(name)
        found.take((found.described.method(method), tuple(args), {}, None, ()))

    async def ask(self, name: str, method: str, args: list[Any]) -> Any:
        """The same, and the reply. What the method raised."""
        found = self.named(name)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        found.take((found.described.method(method), tuple(args), {}, reply, ()))
        return await reply

    async def start(self, described: ActorClass, key: str) -> None:
        """Bring an actor into being before its first message. What its start raised; RequestTimedOut."""
        found = self.of(described, key)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        found.take((_START, (), {}, reply, ()))
        await reply

    # -- topics and requests of code that has `messaging` ---------------------------------------------------------

    def publish(self, topic: str, args: list[Any]) -> int:
        """Send to every actor that subscribed; how many there are. InvalidTopic."""
        sent = 0
        for name in self._subscriptions.of(topic):
            try:
                self.tell(name, "handle_message", args)
                sent += 1
            except ActorError as error:  # full, stopped, or of a class that takes none: the others get it
                log.warning("%s: what was published on %s did not reach it: %s", shown(name), topic, error)
        return sent

    def subscribe(self, name: str, pattern: str, *, wanted: bool) -> None:
        """Have an actor get what is published on a pattern's topics, or no more. InvalidTopic."""
        if wanted:
            self._subscriptions.add(pattern, name)
        else:
            self._subscriptions.remove(pattern, name)

    def request(self, asker: str, name: str, args: list[Any], timeout_s: float) -> str:
        """Send a message whose reply comes to `handle_callback` of the actor that asks; the request's id."""
        self.named(name)
        request = f"request-{uuid4().hex}"
        task = asyncio.get_running_loop().create_task(self._answered(asker, name, args, timeout_s, request))
        self._requests[request] = (asker, task)
        task.add_done_callback(lambda _: self._requests.pop(request, None))
        return request

    async def _answered(self, asker: str, name: str, args: list[Any], timeout_s: float, request: str) -> None:
        try:
            reply = await asyncio.wait_for(self.ask(name, "handle_message", args), timeout_s)
            answer: dict[str, Any] = {"ok": reply_data(None if reply is None else encode(reply, "the reply", bytes))}
        except TimeoutError:
            answer = {"err": failure_of(RequestTimedOut(shown(name), timeout_s))}
        except Exception as error:
            answer = {"err": failure_of(error)}
        with suppress(ActorStopped, MessagingError):
            self.tell(asker, "handle_callback", [request, answer])

    def cancel_request(self, asker: str, request: str) -> None:
        """Let no reply come to it. UnknownCorrelation."""
        found = self._requests.get(request)
        if found is None or found[0] != asker:
            raise UnknownCorrelation(request)
        found[1].cancel()

    # -- what happens to them -------------------------------------------------------------------------------------

    def note(self, what: str, actor: LocalActor, detail: str = "") -> None:
        """Tell of an event (A68)."""
        if self._noted is not None:
            self._noted(what, actor.name, detail)

    def let_go(self, made: Any, actor: LocalActor) -> None:
        """Call `on_stop` of an object that takes no more messages, in a task of its own; what it raises is logged."""
        if not hasattr(made, "on_stop"):
            return
        task = asyncio.get_running_loop().create_task(self._stopped(made, actor))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _stopped(self, made: Any, actor: LocalActor) -> None:
        try:
            await made.on_stop(LocalContext(actor, ()))
        except Exception as error:
            log.warning("%s: its on_stop raised %r", shown(actor.name), error)

    async def close(self) -> None:
        """End them all, within the time for that: whoever waits gets ActorStopped, and whoever sends from now on."""
        self._closed = True
        await self.health_watch.close()
        ended = [each for each in self._actors.values() if each.end_turn()]
        for each in self._actors.values():
            each.stop(_CLOSED)
        for task in (*self._escalations, *(task for _, task in self._requests.values())):
            task.cancel()
        waited = {*self._escalations, *(each.task for each in ended if each.task is not None)}
        ends = time.monotonic() + self.limits.shutdown_timeout_s
        while waited or self._endings:
            left_s = ends - time.monotonic()
            _, late = await asyncio.wait({*waited, *self._endings}, timeout=max(0.0, left_s))
            waited = set()
            if late:
                log.warning("%d actors did not end within %g s", len(late), self.limits.shutdown_timeout_s)
                return


class LocalReference(ActorReference):
    """A reference to an actor in memory."""

    def __init__(self, house: LocalActors, described: ActorClass, actor: LocalActor) -> None:
        super().__init__(described, actor.name)
        self._house = house
        self._take = actor.take

    def options(self, *, id: str | None = None, timeout: float | timedelta | None = None) -> ActorReference:
        """The same with a time. BadArguments for an id."""
        if id is not None:
            raise BadArguments(
                f"{shown(self._name)} is kept in memory, where no record says which ids were sent already: leave id out"
            )
        return super().options(timeout=timeout)

    def _send(
        self,
        name: str,  # noqa: ARG002 - the method says it
        method: ActorMethod | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Awaitable[Any]:
        assert method is not None
        chain = _chain.get()
        if chain:
            chain = tuple(turn for turn in chain if not turn.ended)
        if self._tells:
            try:
                self._take((method, args, kwargs, None, chain))
            except (ActorStopped, MessagingError) as error:
                return _refused(error)
            return _done()
        if any(turn.name == self._name for turn in chain):
            return _refused(ActorCycle([*(shown(turn.name) for turn in chain), shown(self._name)]))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._take((method, args, kwargs, reply, chain))
        except (ActorStopped, MessagingError) as error:
            reply.set_exception(error)
        return reply if self._timeout is None else self._limited(reply, self._timeout)

    async def _limited(self, reply: asyncio.Future[Any], timeout: float) -> Any:
        try:
            return await asyncio.wait_for(asyncio.shield(reply), timeout)
        except TimeoutError:
            raise RequestTimedOut(shown(self._name), timeout) from None


def _reply(message: LocalMessage, value: Any) -> None:
    reply = message[3]
    if reply is not None and not reply.done():
        reply.set_result(value)


def _fail(message: LocalMessage, error: Exception) -> None:
    reply = message[3]
    if reply is not None and not reply.done():
        reply.set_exception(error)


def _raised(error: BaseException) -> ExecutionError:
    """For what ends a task or a program: of a turn it is an error like any other."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    told = f"{kind}: {error}" if str(error) else kind
    return ExecutionError(told, exception_type=kind, exception_message=str(error))


def _unfit(message: LocalMessage, error: TypeError) -> BadArguments | None:
    """The sender's fault, where a method does not take what it was given: it is looked for once a call has failed."""
    method, args, kwargs, *_ = message
    try:
        inspect.signature(method.fn).bind(None, *(() if method.reads else (None,)), *args, **kwargs)
    except TypeError as unfit:
        found = BadArguments(f"{method.name}: {unfit}")
        found.__cause__ = error
        return found
    return None


def _refused(error: Exception) -> Awaitable[Any]:
    """The answer to a message that was not taken: it raises the error."""
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    reply.set_exception(error)
    return reply


class _Done:
    def __await__(self) -> Any:
        return iter(())


def _done() -> Awaitable[Any]:
    """Nothing is left to wait for."""
    return _Done()


async def _nothing(_actor: Any, _context: LocalContext) -> None:
    """The message of a start: all of it is done before its turn."""


async def _ask_health(made: Any, context: LocalContext, timeout_s: float) -> Health | None:
    """The message of a health check."""
    method = context._actor.described.method("health")
    return await ask_in_time(lambda: method.fn(made, *(() if method.reads else (context,))), timeout_s)


async def _be_unhealthy(_made: Any, context: LocalContext, reason: str, restarted: int) -> None:
    """The message of checks that failed too often: it fails until the actor was restarted."""
    if context._actor.restarted == restarted:
        raise ActorUnhealthy(shown(context.name), reason)


_HEALTH = ActorMethod("__health__", _ask_health, _ask_health, False, None)
_UNHEALTHY = ActorMethod("__unhealthy__", _be_unhealthy, _be_unhealthy, False, None)
_START = ActorMethod("__start__", _nothing, _nothing, False, None)
_UNSUPERVISED = Supervise()
