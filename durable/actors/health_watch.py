"""Health of actors, asked for at the interval of their class (requirement A67; specs/actors.md, H1-H6).

An engine asks the actors that it has at hand. What it finds is counted by the core's monitor; an actor that failed as
often as its class allows is given to supervision, as one that raised is.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from capabilities.actors.errors import ActorStopped
from capabilities.actors.health import Health, HealthChecks, HealthMonitor, checked, read_health
from capabilities.actors.states import HealthState
from durable.actors.actor_class import ActorClass
from durable.actors.turn import UNHEALTHY
from durable.core.errors import Conflict

if TYPE_CHECKING:
    from durable.actors.management import Actors

WATCHED_MAX = 10_000
"""Actors that one engine watches at once; beyond, the one that it has known longest is watched no more."""

AT_HAND_S = 60.0
"""Seconds after its last message here for which an engine asks an actor; instances are kept as long."""

CLOSE_S = 2.0
"""Seconds that the end of an engine waits for checks that were given up: code can refuse to be cancelled."""

log = logging.getLogger("durable.actors")


class HealthUnasked(Enum):
    """Why an actor was not asked."""

    BUSY = "busy"
    """It takes a message, or nobody has an instance of it: the next check asks again."""
    GONE = "gone"
    """It is not at hand any more."""


class WatchedActor(Protocol):
    """An actor, as the watch sees it."""

    @property
    def name(self) -> str: ...
    @property
    def checks(self) -> HealthChecks: ...
    async def ask(self, timeout_s: float) -> Health | HealthUnasked | None:
        """Its health; None where that did not come in time."""
        ...

    async def found(self, state: HealthState, reason: str) -> None:
        """Told that its health changed."""
        ...

    async def unhealthy(self, reason: str) -> None:
        """Have supervision decide what becomes of it."""
        ...


@dataclass(frozen=True, slots=True)
class ActorHealth:
    """The health of an actor, as checks found it when it changed last: what it is, why, and when (ms)."""

    status: str
    reason: str
    at: int


async def ask_in_time(ask: Callable[[], Any], timeout_s: float) -> Health | None:
    """Ask a method in Python for its object's health; None where it took longer."""
    begun = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    try:
        async with asyncio.timeout(timeout_s):
            value = ask()
            value = await value if inspect.isawaitable(value) else value
        said = read_health(value)
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        if task.cancelling():
            raise
        said = Health(HealthState.UNHEALTHY, f"its check raised {type(error).__name__}: {error}")
    took_s = time.monotonic() - begun
    return checked(said, took_s * 1_000) if took_s < timeout_s else None


@dataclass(slots=True)
class _Watch:
    watched: WatchedActor
    monitor: HealthMonitor
    timer: asyncio.TimerHandle
    told: HealthState = HealthState.UNKNOWN
    """What was told last: one that is as unhealthy after a restart is no news."""


class HealthWatch:
    """The actors of one engine that are asked for their health. A timer each, and a task while one is asked."""

    def __init__(self) -> None:
        self._watches: OrderedDict[str, _Watch] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def begin(self, watched: WatchedActor, loop: asyncio.AbstractEventLoop) -> None:
        """Watch an actor from now on; one that is watched already goes on, with its count. loop: the engine's."""
        known = self._watches.get(watched.name)
        if known is not None:
            known.watched = watched
        if known is not None or self._closed:
            return
        while len(self._watches) >= WATCHED_MAX:
            self.end(next(iter(self._watches)))
        self._watches[watched.name] = _Watch(watched, watched.checks.monitor(), self._timer(watched, loop))

    def end(self, name: str) -> None:
        """Watch it no more."""
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.timer.cancel()

    def watches(self, name: str) -> bool:
        """Whether an actor is watched."""
        return name in self._watches

    async def check(self, name: str) -> None:
        """Ask an actor now, and act on that."""
        watch = self._watches.get(name)
        if watch is None:
            return
        watched, monitor = watch.watched, watch.monitor
        said = await watched.ask(watched.checks.timeout)
        if self._watches.get(name) is not watch:
            return  # it was given up meanwhile
        if said is HealthUnasked.GONE and watch.watched is watched:  # no message came meanwhile
            self.end(name)
        if isinstance(said, HealthUnasked):
            return
        monitor.take(said)
        if monitor.state not in (HealthState.UNKNOWN, watch.told):
            await watched.found(monitor.state, monitor.reason)
            watch.told = monitor.state
        if monitor.state is HealthState.UNHEALTHY:  # still, where the store failed at the last check
            await watched.unhealthy(monitor.reason)
            monitor.reset()

    async def close(self) -> None:
        """Watch none any more, from now on; checks that run are given up."""
        self._closed = True
        for name in list(self._watches):
            self.end(name)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)

    def _timer(self, watched: WatchedActor, loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle:
        return loop.call_later(watched.checks.every, self._due, watched.name)

    def _due(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._checked(self._watches[name]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _checked(self, watch: _Watch) -> None:
        name = watch.watched.name
        try:
            await self.check(name)
        except Exception as error:  # of the store, mostly: the next check may find it again
            log.warning("%s: its health could not be asked for: %s", name, error)
        if self._watches.get(name) is watch:
            watch.timer = self._timer(watch.watched, asyncio.get_running_loop())


class StoredActor:
    """At hand from a message on. `name` in the store."""

    def __init__(self, actors: Actors, described: ActorClass, name: str, checks: HealthChecks) -> None:
        self.name = name
        self.checks = checks
        self._actors = actors
        self._described = described
        self._row: dict[str, Any] = {}
        self._ends = time.monotonic() + AT_HAND_S

    async def ask(self, timeout_s: float) -> Health | HealthUnasked | None:
        """An instance that is kept, a module with its saved state, or the reading method `health` on that."""
        if time.monotonic() > self._ends:
            return HealthUnasked.GONE
        row = await self._actors.row(self.name)
        if row is None or row["status"] != "running":
            return HealthUnasked.GONE
        self._row = row
        said = await self._said(row, timeout_s)
        after = await self._actors.row(self.name)
        if after is None or after["created_at"] != row["created_at"]:
            return HealthUnasked.GONE  # deleted meanwhile: a message would bring a new one into being
        return said

    async def _said(self, row: dict[str, Any], timeout_s: float) -> Health | HealthUnasked | None:
        component = self._described.component
        if component is None:
            method = self._described.method("health")
            return await ask_in_time(lambda: self._actors.look_at(self._described, self.name, method, row), timeout_s)
        state = {} if row["state"] is None else msgspec.json.decode(row["state"])
        return await self._actors.component_health(component, self.name, state, timeout_s)

    async def found(self, state: HealthState, reason: str) -> None:
        """Keep it beside the actor, for whoever looks, and tell the engine's observers."""
        await self._actors.health_changed(self.name, state, reason)

    async def unhealthy(self, reason: str) -> None:
        """A message of the engine's own: its turn is a restart by supervision, between the actor's other ones.

        It is sent once for a state and a restart, whichever engines found that unhealthy.
        """
        self._actors.let_go(self.name)
        once = f"{UNHEALTHY} {self._row['created_at']} {self._row['saved']} {self._row['restarted']}"
        with suppress(ActorStopped, Conflict):  # it was stopped just now, or another engine gave another reason
            await self._actors.tell_by_name(self.name, UNHEALTHY, [reason], id=once)
