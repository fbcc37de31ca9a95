"""States of actors, their supervisors and their health as tables (specs/actors.md). No I/O."""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class ComponentState(StrEnum):
    """A component that is an actor (requirement A24)."""

    CREATING = "creating"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    TERMINATED = "terminated"
    FAILED = "failed"


class ComponentEvent(StrEnum):
    START = "start"
    LOAD = "load"
    """Its code is compiled, instantiated, and `_start` has returned."""
    FAIL = "fail"
    STOP = "stop"
    FREE = "free"
    """Its instance is gone, whatever `_cleanup` came to."""


_C, _CE = ComponentState, ComponentEvent

COMPONENT: dict[tuple[ComponentState, ComponentEvent], ComponentState] = {
    (_C.CREATING, _CE.START): _C.STARTING,
    (_C.CREATING, _CE.STOP): _C.STOPPING,
    (_C.STARTING, _CE.LOAD): _C.READY,
    (_C.STARTING, _CE.FAIL): _C.FAILED,
    (_C.STARTING, _CE.STOP): _C.STOPPING,
    (_C.READY, _CE.FAIL): _C.FAILED,
    (_C.READY, _CE.STOP): _C.STOPPING,
    (_C.FAILED, _CE.STOP): _C.STOPPING,
    (_C.STOPPING, _CE.FREE): _C.TERMINATED,
}
step_component = stepper("a component actor", COMPONENT)


class ActorState(StrEnum):
    """An actor as its runtime has it (requirement A52)."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class ActorEvent(StrEnum):
    BEGIN = "begin"
    """`pre_start` has returned."""
    FAIL = "fail"
    RESTART = "restart"
    STOP = "stop"
    END = "end"
    """`post_stop` has returned."""


_A, _AE = ActorState, ActorEvent

ACTOR: dict[tuple[ActorState, ActorEvent], ActorState] = {
    (_A.STARTING, _AE.BEGIN): _A.RUNNING,
    (_A.STARTING, _AE.FAIL): _A.FAILED,
    (_A.STARTING, _AE.STOP): _A.STOPPING,
    (_A.RUNNING, _AE.FAIL): _A.FAILED,
    (_A.RUNNING, _AE.RESTART): _A.STARTING,
    (_A.RUNNING, _AE.STOP): _A.STOPPING,
    (_A.FAILED, _AE.RESTART): _A.STARTING,
    (_A.FAILED, _AE.STOP): _A.STOPPING,
    (_A.STOPPING, _AE.END): _A.STOPPED,
}
step_actor = stepper("an actor", ACTOR)


class ChildState(StrEnum):
    """A child as its supervisor has it (requirement A56)."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    RESTARTING = "restarting"
    FAILED = "failed"


class ChildEvent(StrEnum):
    START = "start"
    STARTED = "started"
    EXIT = "exit"
    """It ended by itself, without an error."""
    FAIL = "fail"
    RESTART = "restart"
    """It waits for its backoff."""
    STOP = "stop"
    STOPPED = "stopped"


_H, _HE = ChildState, ChildEvent

CHILD: dict[tuple[ChildState, ChildEvent], ChildState] = {
    (_H.STARTING, _HE.STARTED): _H.RUNNING,
    (_H.STARTING, _HE.FAIL): _H.FAILED,
    (_H.STARTING, _HE.RESTART): _H.RESTARTING,
    (_H.STARTING, _HE.STOP): _H.STOPPING,
    (_H.RUNNING, _HE.EXIT): _H.STOPPED,
    (_H.RUNNING, _HE.FAIL): _H.FAILED,
    (_H.RUNNING, _HE.RESTART): _H.RESTARTING,
    (_H.RUNNING, _HE.STOP): _H.STOPPING,
    (_H.STOPPED, _HE.START): _H.STARTING,
    (_H.STOPPED, _HE.RESTART): _H.RESTARTING,
    (_H.FAILED, _HE.START): _H.STARTING,
    (_H.FAILED, _HE.RESTART): _H.RESTARTING,
    (_H.FAILED, _HE.STOP): _H.STOPPING,
    (_H.RESTARTING, _HE.START): _H.STARTING,
    (_H.RESTARTING, _HE.STOP): _H.STOPPING,
    (_H.STOPPING, _HE.STOPPED): _H.STOPPED,
}
step_child = stepper("a child", CHILD)


class SupervisorState(StrEnum):
    """A supervisor (requirement A62)."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    SCHEDULING_RESTART = "scheduling_restart"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    RESTART_LIMIT_EXCEEDED = "restart_limit_exceeded"
    TERMINATED = "terminated"


class SupervisorEvent(StrEnum):
    OPEN = "open"
    SCHEDULE = "schedule"
    BEGIN_RESTART = "begin_restart"
    RESTARTED = "restarted"
    EXCEED = "exceed"
    RESET = "reset"
    STOP = "stop"
    TERMINATE = "terminate"


_U, _UE = SupervisorState, SupervisorEvent

SUPERVISOR: dict[tuple[SupervisorState, SupervisorEvent], SupervisorState] = {
    (_U.INITIALIZING, _UE.OPEN): _U.RUNNING,
    (_U.RUNNING, _UE.SCHEDULE): _U.SCHEDULING_RESTART,
    (_U.RUNNING, _UE.EXCEED): _U.RESTART_LIMIT_EXCEEDED,
    (_U.RUNNING, _UE.RESET): _U.RUNNING,
    (_U.SCHEDULING_RESTART, _UE.SCHEDULE): _U.SCHEDULING_RESTART,
    (_U.SCHEDULING_RESTART, _UE.BEGIN_RESTART): _U.RESTARTING,
    (_U.SCHEDULING_RESTART, _UE.EXCEED): _U.RESTART_LIMIT_EXCEEDED,
    (_U.SCHEDULING_RESTART, _UE.RESET): _U.SCHEDULING_RESTART,
    (_U.RESTARTING, _UE.RESTARTED): _U.RUNNING,
    (_U.STOPPED, _UE.OPEN): _U.RUNNING,
    (_U.RESTART_LIMIT_EXCEEDED, _UE.RESET): _U.RUNNING,
    **{(state, _UE.STOP): _U.STOPPED for state in _U if state not in (_U.TERMINATED, _U.STOPPED)},
    **{(state, _UE.TERMINATE): _U.TERMINATED for state in _U if state is not _U.TERMINATED},
}
step_supervisor = stepper("a supervisor", SUPERVISOR)


class HealthState(StrEnum):
    """The health of a component (requirement A66)."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class HealthEvent(StrEnum):
    SUCCEED = "succeed"
    DEGRADE = "degrade"
    EXHAUST = "exhaust"
    """So many checks in a row failed as the threshold says."""
    RESET = "reset"


_L, _LE = HealthState, HealthEvent

HEALTH: dict[tuple[HealthState, HealthEvent], HealthState] = {
    **{(state, _LE.SUCCEED): _L.HEALTHY for state in _L},
    **{(state, _LE.DEGRADE): _L.DEGRADED for state in _L if state is not _L.UNHEALTHY},
    (_L.UNHEALTHY, _LE.DEGRADE): _L.UNHEALTHY,
    **{(state, _LE.EXHAUST): _L.UNHEALTHY for state in _L},
    **{(state, _LE.RESET): _L.UNKNOWN for state in _L},
}
step_health = stepper("health", HEALTH)
