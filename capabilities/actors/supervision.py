"""Supervision: what a child's end means for it and for its siblings (A54-A57, A62, A63, A65).

A supervisor knows no runtime. It is told what happened and answers with commands; whoever drives it carries them out
and tells it what came of them. Time and chance are parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from capabilities.actors.backoff import ACTOR, Backoff
from capabilities.actors.errors import AlreadySupervised, InvalidSupervision, NotSupervised, RestartLimitExceeded
from capabilities.actors.restart_history import Allowed, Restart, RestartHistory, RestartReason, RestartWindow
from capabilities.actors.states import (
    ChildEvent,
    ChildState,
    SupervisorEvent,
    SupervisorState,
    step_child,
    step_supervisor,
)


class RestartPolicy(StrEnum):
    PERMANENT = "permanent"
    """Restarted whenever it ends."""
    TRANSIENT = "transient"
    """Restarted after an error only."""
    TEMPORARY = "temporary"
    """Never restarted."""


class Strategy(StrEnum):
    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    """The child that failed, and those that were started after it."""


@dataclass(frozen=True, slots=True)
class Graceful:
    """Stopped within so many seconds, then ended."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Immediate:
    """Ended at once."""


@dataclass(frozen=True, slots=True)
class Infinity:
    """Waited for as long as it takes: for supervisors."""


type ShutdownPolicy = Graceful | Immediate | Infinity

START_TIMEOUT_S = 30.0
SHUTDOWN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child: how it is made, when it is restarted, how it is stopped."""

    id: str
    factory: Callable[[], Any] | None = None
    restart: RestartPolicy = RestartPolicy.PERMANENT
    shutdown: ShutdownPolicy = Graceful(SHUTDOWN_TIMEOUT_S)
    start_timeout_s: float = START_TIMEOUT_S
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidSupervision("a child has an id that is not empty")
        if self.start_timeout_s <= 0 or self.shutdown_timeout_s <= 0:
            raise InvalidSupervision(f"{self.id}: timeouts are more than 0 s")


@dataclass(frozen=True, slots=True)
class Start:
    """Start the child; tell `started` or `failed`."""

    id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the child as its policy says, errors notwithstanding; tell `stopped`."""

    id: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Call `restart_due` after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Escalate:
    """Tell the supervisor of this one that it has failed."""

    error: RestartLimitExceeded


type Command = Start | Stop | Wait | Escalate


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A restart after the delay. attempt: restarts in the window before it."""

    delay_s: float
    attempt: int


@dataclass(frozen=True, slots=True)
class NotRestarted:
    """Its policy says that it stays as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class LimitHit:
    reason: str


type Verdict = Scheduled | NotRestarted | LimitHit


@dataclass(slots=True)
class SupervisedChild:
    """A child and how it stands. `failures` and `restarts` count since it was supervised."""

    spec: ChildSpec
    state: ChildState = ChildState.STOPPED
    failures: int = 0
    restarts: int = 0


@dataclass(slots=True)
class Supervisor:
    """Children in their start order, one strategy, one window of restarts for all of them."""

    id: str
    strategy: Strategy = Strategy.ONE_FOR_ONE
    backoff: Backoff = ACTOR
    chance: Callable[[], float] = lambda: 0.5
    state: SupervisorState = SupervisorState.INITIALIZING
    children: dict[str, SupervisedChild] = field(default_factory=dict)
    window: RestartWindow = field(init=False)
    history: RestartHistory = field(default_factory=RestartHistory)
    due: list[str] = field(default_factory=list)
    """The children to be restarted when the wait is over, in start order."""

    def __post_init__(self) -> None:
        self.window = RestartWindow(self.backoff.max_restarts, self.backoff.within_s)

    # -- children -----------------------------------------------------------------------------------------------------

    def supervise(self, spec: ChildSpec) -> None:
        """Add a child behind the others, not started yet. AlreadySupervised."""
        if spec.id in self.children:
            raise AlreadySupervised(spec.id)
        self.children[spec.id] = SupervisedChild(spec)

    def forget(self, id: str) -> None:
        """Remove a child that does not run. NotSupervised."""
        self.child(id)
        del self.children[id]
        self.due = [each for each in self.due if each != id]

    def child(self, id: str) -> SupervisedChild:
        """The child; NotSupervised."""
        found = self.children.get(id)
        if found is None:
            raise NotSupervised(id)
        return found

    # -- what is asked for --------------------------------------------------------------------------------------------

    def start_all(self) -> list[Command]:
        """Start every child in order, and begin to supervise. InvalidSupervision where that was done."""
        if self.state not in (SupervisorState.INITIALIZING, SupervisorState.STOPPED):
            raise InvalidSupervision(f"{self.id} is {self.state}: its children are started once")
        self._go(SupervisorEvent.OPEN)
        return [self._start(id) for id, child in self.children.items() if child.state is ChildState.STOPPED]

    def start(self, id: str) -> list[Command]:
        """Start a child that does not run."""
        child = self.child(id)
        return [self._start(id)] if child.state in (ChildState.STOPPED, ChildState.FAILED) else []

    def stop(self, id: str) -> list[Command]:
        """Stop a child for good; it is restarted no more until it is started."""
        child = self.child(id)
        self.due = [each for each in self.due if each != id]
        return [self._stop(id)] if child.state not in _AT_REST else []

    def stop_all(self) -> list[Command]:
        """Stop every child, the last one first."""
        if self.state in (SupervisorState.STOPPED, SupervisorState.TERMINATED):
            return []
        self._go(SupervisorEvent.STOP)
        self.due.clear()
        return [self._stop(id) for id in reversed(self.children) if self.children[id].state not in _AT_REST]

    def terminate(self) -> list[Command]:
        """Stop every child and take part in nothing any more."""
        commands = self.stop_all()
        if self.state is not SupervisorState.TERMINATED:
            self._go(SupervisorEvent.TERMINATE)
        return commands

    def reset(self) -> None:
        """Forget the restarts, as after a recovery; one that waits goes on."""
        self.window.reset()
        self.history.reset()
        if self.state in (
            SupervisorState.RESTART_LIMIT_EXCEEDED,
            SupervisorState.SCHEDULING_RESTART,
            SupervisorState.RUNNING,
        ):
            self._go(SupervisorEvent.RESET)

    def restart(self, id: str, now_s: float) -> tuple[Verdict, list[Command]]:
        """Restart a child by hand: its strategy holds, its policy does not. NotSupervised."""
        self.child(id)
        return self._schedule(id, RestartReason.MANUAL_RESTART, now_s)

    # -- what happened ------------------------------------------------------------------------------------------------

    def started(self, id: str) -> None:
        """A start came to its end."""
        child = self.child(id)
        if child.state is ChildState.STARTING:
            child.state = step_child(child.state, ChildEvent.STARTED)

    def stopped(self, id: str) -> None:
        """A stop came to its end, with or without an error."""
        child = self.child(id)
        if child.state is ChildState.STOPPING:
            child.state = step_child(child.state, ChildEvent.STOPPED)

    def exited(self, id: str, now_s: float) -> tuple[Verdict, list[Command]]:
        """A child ended by itself, without an error."""
        child = self.child(id)
        if child.state is not ChildState.RUNNING:
            return NotRestarted(f"{id} is {child.state}"), []
        child.state = step_child(child.state, ChildEvent.EXIT)
        if child.spec.restart is not RestartPolicy.PERMANENT:
            return NotRestarted(f"{id} is {child.spec.restart} and ended without an error"), []
        return self._schedule(id, RestartReason.COMPONENT_FAILURE, now_s)

    def failed(
        self, id: str, now_s: float, reason: RestartReason = RestartReason.COMPONENT_FAILURE
    ) -> tuple[Verdict, list[Command]]:
        """A child failed, or could not be started. NotSupervised."""
        child = self.child(id)
        if child.state not in (ChildState.STARTING, ChildState.RUNNING):
            return NotRestarted(f"{id} is {child.state}"), []
        child.state = step_child(child.state, ChildEvent.FAIL)
        child.failures += 1
        if child.spec.restart is RestartPolicy.TEMPORARY:
            return NotRestarted(f"{id} is temporary"), []
        return self._schedule(id, reason, now_s)

    def restart_due(self) -> list[Command]:
        """The wait is over: stop what still runs of those concerned, the last first, then start all in order."""
        if self.state is not SupervisorState.SCHEDULING_RESTART:
            return []
        self._go(SupervisorEvent.BEGIN_RESTART)
        due, self.due = self.due, []
        for id in due:
            child = self.children[id]
            child.state = step_child(child.state, ChildEvent.START)
            child.restarts += 1
        self._go(SupervisorEvent.RESTARTED)
        return [Start(id) for id in due]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _schedule(self, id: str, reason: RestartReason, now_s: float) -> tuple[Verdict, list[Command]]:
        if self.state not in (SupervisorState.RUNNING, SupervisorState.SCHEDULING_RESTART):
            return NotRestarted(f"{self.id} is {self.state}"), []
        found = self.window.ask(now_s)
        if not isinstance(found, Allowed):
            return self._exceed(id)
        delay = self.backoff.delay_s(found.attempt, self.chance())
        self.history.add(Restart(found.attempt, now_s, reason, delay))
        concerned = {*self.due, *self.affected(id)}
        self.due = [each for each in self.children if each in concerned]
        stops: list[Command] = []
        for each in reversed(self.due):
            child = self.children[each]
            if child.state in (ChildState.RUNNING, ChildState.STARTING):
                stops.append(Stop(each))
            if child.state not in (ChildState.RESTARTING, ChildState.STOPPING):
                child.state = step_child(child.state, ChildEvent.RESTART)
            elif child.state is ChildState.STOPPING:
                child.state = step_child(step_child(child.state, ChildEvent.STOPPED), ChildEvent.RESTART)
        self._go(SupervisorEvent.SCHEDULE)
        return Scheduled(delay, found.attempt), [*stops, Wait(delay)]

    def _exceed(self, id: str) -> tuple[Verdict, list[Command]]:
        error = RestartLimitExceeded(id, self.backoff.max_restarts, self.backoff.within_s)
        self._go(SupervisorEvent.EXCEED)
        self.due.clear()
        stops = [self._stop(each) for each in reversed(self.children) if self.children[each].state not in _AT_REST]
        return LimitHit(str(error)), [*stops, Escalate(error)]

    def affected(self, failed: str) -> list[str]:
        """The children that are restarted with one that failed, in start order. One that is unknown stands alone."""
        ids = list(self.children)
        if self.strategy is Strategy.ONE_FOR_ONE or failed not in self.children:
            return [failed]
        first = 0 if self.strategy is Strategy.ONE_FOR_ALL else ids.index(failed)
        return [
            each
            for each in ids[first:]
            if each == failed
            or (
                self.children[each].spec.restart is not RestartPolicy.TEMPORARY
                and self.children[each].state not in _AT_REST
            )
        ]

    def _start(self, id: str) -> Command:
        child = self.children[id]
        child.state = step_child(child.state, ChildEvent.START)
        return Start(id)

    def _stop(self, id: str) -> Command:
        child = self.children[id]
        child.state = step_child(child.state, ChildEvent.STOP)
        return Stop(id)

    def _go(self, event: SupervisorEvent) -> None:
        self.state = step_supervisor(self.state, event)


_AT_REST = (ChildState.STOPPED, ChildState.STOPPING, ChildState.FAILED)
