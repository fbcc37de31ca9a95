"""Instances of components that are actors: kept between messages, made again from the journal (specs/actors.md, W4-W9).

An instance is kept for as long as there is room and it is used. Any engine can make it again, and does not care who had
it before: an instance goes on only where the last message that it took is the last one that is saved.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from capabilities.actors.health import Health
from capabilities.actors.states import HealthState
from capabilities.sandbox.errors import CapabilityDenied, ComponentTrapped, ExecutionFailed, SandboxError
from capabilities.sandbox.host_calls import CallFailed, HostCall
from capabilities.sandbox.limits import MIB
from capabilities.sandbox.wasm.actor_instance import ActorInstance, Dropped, InstanceMessage
from capabilities.sandbox.wasm.fuel_meter import FuelMeter, Outcome
from capabilities.sandbox.wasm.wit_values import Err, plain
from durable.core.errors import NonDeterminism
from durable.sandbox.journal import JournalEntry, JournalPort, write_entry
from durable.sandbox.sandbox_calls import SandboxCalls

if TYPE_CHECKING:
    from durable.sandbox.components import Components, Known

KEPT_MAX = 200
KEPT_BYTES_MAX = 256 * MIB
"""Instances that one engine keeps between messages, and their memory by their limits."""
IDLE_S = 60.0
"""Seconds after which an instance that got no message is let go."""
CHECKS_MAX = 100
"""Health checks of an instance between two messages; they are given to it again with its journal."""
CLEANUP_S = 5.0
"""Seconds that the cleanup of an instance may take (A26)."""
SAVED_BYTES_MAX = 8 * MIB
"""What an actor may save of itself: it is kept as text, in its row."""

log = logging.getLogger("durable.actors")


@dataclass(frozen=True, slots=True)
class Base:
    """The actor of an instance. last: the execution of its last message since it was saved, "" for none."""

    last: str = ""
    saved: bytes | None = None
    config: bytes = b""


@dataclass(frozen=True, slots=True)
class Applied:
    """A message that was taken: its reply or the component's own error; the entry of the journal, or what was saved.

    dropped: why nothing was called.
    """

    value: Any = None
    error: Err | None = None
    entry: str = ""
    saved: bytes | None = None
    dropped: str = ""


@dataclass(slots=True)
class _Kept:
    """An instance and what it has come to."""

    known: Known
    instance: ActorInstance
    port: JournalPort
    saved: bytes | None
    last: str = ""
    idle: asyncio.TimerHandle | None = field(default=None, repr=False)
    saves: bytes | None = None
    """What it has saved within the present message."""
    checks: list[JournalEntry] = field(default_factory=list)
    """The health checks since its last message."""
    is_checked: bool = False

    def load(self) -> bytes | None:
        return self.saved if self.saves is None else self.saves

    def save(self, state: bytes) -> None:
        if self.is_checked:
            raise Err({"kind": "CapabilityDenied", "message": "a health check changes nothing that is kept"})
        if len(state) > SAVED_BYTES_MAX:
            text = f"a state of {len(state)} bytes; at most {SAVED_BYTES_MAX} can be saved"
            raise Err({"kind": "ResourceLimitExceeded", "message": text})
        self.saves = state


type Entries = Callable[[], Awaitable[list[JournalEntry]]]
"""Reads the journal of an actor, from its beginning."""


class NoInstance(Exception):
    """Raised where no instance is kept to be asked: a message is at work, or the next one makes it."""


class ComponentInstances:
    """The instances of one engine, by actor."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()
        self._checked: dict[str, asyncio.Event] = {}
        """Actors that are asked for their health, with the end of that."""

    def __len__(self) -> int:
        return len(self._kept)

    async def apply(
        self, known: Known, actor: str, message: InstanceMessage, base: Base, execution: str, journal: Entries
    ) -> Applied:
        """Give a message to the actor's instance. The SandboxError of what stopped it, after which it is gone; or
        NonDeterminism where it cannot be made again.
        """
        calls = SandboxCalls(known.permits, execution, known.meter)
        together = known.permits.together
        async with together.room(known.manifest.limits.memory):
            while actor in self._checked:
                await self._checked[actor].wait()
            kept = self._take(actor, known, base)
            entries = await journal() if kept is None and base.last else []
            made = kept or self._make(known, actor, base)
            self._make_room(known)
            made.instance.call.guard.pace = together.pace
            work = self._work(made, fresh=kept is None, base=base, entries=entries, message=message, calls=calls)
            try:
                applied = await self._components.runtime.threads.run(work)
            except asyncio.CancelledError:
                made.instance.call.cancel()  # it is closed as it ends, in its thread
                raise
            except ExecutionFailed:
                self._after_refusal(actor, made, kept)
                raise
            except BaseException:
                self._let_go(made)
                raise
        if applied.saved is not None:
            self._let_go(made)  # the next message begins with what was saved
        elif not made.instance.call.closed:
            made.last, made.checks = execution, []
            self._keep(actor, made)
        return applied

    # -- health -----------------------------------------------------------------------------------------------------

    async def health(self, actor: str, last: str, timeout_s: float) -> Health | None:
        """Ask the instance that is kept, between two messages; None where it did not say in time, and is gone.

        What that changes in it is part of what it is: the check is in the journal with the next message. last: the
        execution of the actor's last message. NoInstance.
        """
        kept = self._kept.get(actor)
        if kept is None or len(kept.checks) == CHECKS_MAX:
            raise NoInstance
        if kept.last != last:  # another engine has gone on
            self.let_go(actor)
            raise NoInstance
        together = kept.known.permits.together
        async with together.room(kept.known.manifest.limits.memory):
            if self._kept.get(actor) is not kept:
                raise NoInstance
            del self._kept[actor]
            idle, kept.idle = kept.idle, None
            assert idle is not None
            idle.cancel()
            self._checked[actor] = asyncio.Event()
            try:
                kept.instance.call.guard.pace = together.pace
                return await health_in_time(self._components, kept.instance.call, lambda: _check(kept), timeout_s)
            finally:
                self._checked.pop(actor).set()
                if kept.instance.ended:
                    self._let_go(kept)
                else:
                    self._keep(actor, kept, idle.when())

    # -- one message, in a thread -----------------------------------------------------------------------------------

    def _work(
        self,
        made: _Kept,
        *,
        fresh: bool,
        base: Base,
        entries: list[JournalEntry],
        message: InstanceMessage,
        calls: SandboxCalls,
    ) -> Callable[[], Applied]:
        def work() -> Applied:
            if fresh and entries:
                _restore(made, base.config, entries)
            made.saves = None
            made.port.record(calls.port)
            if fresh and not entries:
                made.instance.start(base.config)
            return _applied(made, message, calls.execution)

        return work

    # -- instances ------------------------------------------------------------------------------------------------

    def _make(self, known: Known, actor: str, base: Base) -> _Kept:
        port = JournalPort()
        made = _Kept(known, None, port, base.saved)  # type: ignore[arg-type]
        locals = {name: port.local(name, answer) for name, answer in self._components.locals().items()}
        locals |= {"state-load": made.load, "state-save": made.save}
        call = self._components.component_call(known, port, locals)
        made.instance = ActorInstance(call, actor)
        return made

    def _take(self, actor: str, known: Known, base: Base) -> _Kept | None:
        """The instance that is kept, where it has come to where the actor is."""
        kept = self._kept.pop(actor, None)
        if kept is None:
            return None
        if kept.idle is not None:
            kept.idle.cancel()
        if base.last and kept.last == base.last and kept.known is known:
            return kept
        self._let_go(kept)
        return None

    def _keep(self, actor: str, made: _Kept, until: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._kept[actor] = made
        made.idle = loop.call_at(loop.time() + IDLE_S if until is None else until, self.let_go, actor)
        while len(self._kept) > KEPT_MAX or sum(map(_memory, self._kept.values())) > KEPT_BYTES_MAX:
            self.let_go(next(iter(self._kept)))

    def _make_room(self, known: Known) -> None:
        """Let go of the component's instances that stand in the way of what runs, the longest unused first (A74)."""
        together = known.permits.together
        own = [actor for actor, kept in self._kept.items() if kept.known.manifest.id == known.manifest.id]
        kept_bytes = len(own) * known.manifest.limits.memory
        for actor in own:
            if together.used + kept_bytes <= together.quotas.memory:
                return
            self.let_go(actor)
            kept_bytes -= known.manifest.limits.memory

    def let_go(self, actor: str) -> None:
        """End the instance that is kept for an actor, after its cleanup; the actor lives on in the store."""
        kept = self._kept.pop(actor, None)
        if kept is not None:
            if kept.idle is not None:
                kept.idle.cancel()
            self._let_go(kept)

    def _let_go(self, kept: _Kept) -> None:
        task = asyncio.get_running_loop().create_task(end_instance(self._components, kept.instance))
        kept.port.record(_denied)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _after_refusal(self, actor: str, made: _Kept, kept: _Kept | None) -> None:
        """Keep an instance that was not called, since it has no such function or that takes other arguments."""
        if kept is None or made.instance.call.closed:
            self._let_go(made)
        else:
            self._keep(actor, made)

    async def close(self) -> None:
        """Let go of all, and wait for that."""
        for actor in list(self._kept):
            self.let_go(actor)
        while self._ending:
            await asyncio.wait(self._ending)


async def health_in_time(
    components: Components, call: FuelMeter, check: Callable[[], Health], timeout_s: float
) -> Health | None:
    """Make a check of this instance in a thread: its health, or None where it was stopped as its time was over."""
    late = False

    def end() -> None:
        nonlocal late
        late = True
        call.cancel()

    timer = asyncio.get_running_loop().call_later(timeout_s, end)
    try:
        return await components.runtime.threads.run(check)
    except asyncio.CancelledError:
        call.cancel()
        raise
    except SandboxError as error:
        return None if late else Health(HealthState.UNHEALTHY, f"its check raised {type(error).__name__}: {error}")
    finally:
        timer.cancel()


async def end_instance(components: Components, instance: ActorInstance) -> None:
    """Stop an instance: its cleanup within CLEANUP_S, then it is closed. What that comes to is logged."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(CLEANUP_S, instance.call.cancel)
    try:
        await components.runtime.threads.run(instance.stop)
    except Exception as error:
        log.warning("%s: its cleanup did not end well: %s", instance.name, error)
    finally:
        timer.cancel()


def _memory(kept: _Kept) -> int:
    return kept.known.manifest.limits.memory


def _restore(made: _Kept, config: bytes, entries: list[JournalEntry]) -> None:
    """Give a fresh instance the messages of its journal. NonDeterminism where it does something else with them."""
    meter, instance = made.known.meter, made.instance
    for number, entry in enumerate(_with_checks(entries)):
        made.is_checked = entry.kind == "check"
        made.port.replay(entry, meter)
        try:
            if number == 0:
                instance.start(config)
            fuel = instance.take(entry.message()).used.fuel
        except Err as error:
            fuel = error.used.fuel
        except Dropped:
            fuel = None
        except SandboxError as error:
            raise NonDeterminism(
                entry.execution, "a message that was taken", f"{type(error).__name__}: {error}"
            ) from error
        made.port.replayed(fuel)
    made.is_checked = False


def _with_checks(entries: list[JournalEntry]) -> Iterator[JournalEntry]:
    for entry in entries:
        yield from entry.checks
        yield entry


def _check(made: _Kept) -> Health:
    """Ask an instance for its health, as part of what its next message finds."""
    if made.instance.export("health") is None:
        return made.instance.health()
    made.port.record(refuse_checked)
    made.is_checked = True
    try:
        outcome = made.instance.take(InstanceMessage("health"))
    except Err as error:
        outcome = Outcome(Health(HealthState.UNHEALTHY, str(error)), error.used)
    finally:
        made.is_checked = False
    entry = JournalEntry(made.last, "check", [], made.port.noted, made.known.meter, outcome.used.fuel)
    made.checks.append(entry)
    found: Health = outcome.value
    return found


def _applied(made: _Kept, message: InstanceMessage, execution: str) -> Applied:
    value: Any = None
    error: Err | None = None
    try:
        outcome = made.instance.take(message)
        value, used = outcome.value, outcome.used
    except Dropped as dropped:
        return Applied(dropped=str(dropped), entry=_entry(made, message, execution, None))
    except Err as err:
        error, used = err, err.used
    if made.instance.call.closed:
        raise ComponentTrapped("it ended the program: an actor lives on, its functions return")
    if made.saves is not None:
        return Applied(value, error, saved=made.saves)
    return Applied(value, error, entry=_entry(made, message, execution, used.fuel))


def _entry(made: _Kept, message: InstanceMessage, execution: str, fuel: int | None) -> str:
    args = [_written(each) for each in message.args]
    return write_entry(
        JournalEntry(execution, message.kind, args, made.port.noted, made.known.meter, fuel, made.checks)
    )


def _written(value: Any) -> Any:
    """An argument of a message, as `read_message` takes it."""
    written = plain(value)
    match value, written:
        case bytes(), {"base64": text}:
            return text
        case _, {"ok": {"base64": text}}:
            return {"ok": text}
    return written


def refuse_checked(call: HostCall) -> Future[Any]:  # noqa: ARG001 - of a port
    """The port of a health check: the answer is the same whenever the check is made again."""
    found: Future[Any] = Future()
    found.set_exception(CallFailed("CapabilityDenied", "a health check asks its host for nothing"))
    return found


def _denied(call: HostCall) -> Future[Any]:
    """The port of an instance that is let go: the actor lives on elsewhere, so nothing is done in its name."""
    found: Future[Any] = Future()
    found.set_exception(CapabilityDenied("an actor", call.capability, "", "its instance is only let go"))
    return found
