"""States of a function's pass as tables: of the whole execution, of each function in it, of a cancellation. No I/O.

The tables are in specs/execution.md too.
"""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class ExecutionPassState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"
    """Its function has returned or raised."""
    SUSPENDED = "suspended"
    """Every function in it waits for promises of others."""
    HALTED = "halted"
    """It is stopped so that it can be resumed."""
    BROKEN = "broken"
    """The attempt failed: the store refused something, or the engine did."""
    DROPPED = "dropped"
    """Whoever ran it went away."""


class ExecutionPassEvent(StrEnum):
    COMPLETE = "complete"
    SUSPEND = "suspend"
    HALT = "halt"
    FAIL = "fail"
    DROP = "drop"


_XS, _XE = ExecutionPassState, ExecutionPassEvent

EXECUTION_PASS: dict[tuple[ExecutionPassState, ExecutionPassEvent], ExecutionPassState] = {
    (_XS.RUNNING, _XE.COMPLETE): _XS.ENDED,
    (_XS.RUNNING, _XE.SUSPEND): _XS.SUSPENDED,
    (_XS.RUNNING, _XE.HALT): _XS.HALTED,
    (_XS.RUNNING, _XE.FAIL): _XS.BROKEN,
    (_XS.RUNNING, _XE.DROP): _XS.DROPPED,
    **{  # what was under way may still come to something: only the first outcome counts
        (state, event): state
        for state in _XS
        if state is not _XS.RUNNING
        for event in (_XE.COMPLETE, _XE.HALT, _XE.FAIL, _XE.DROP)
    },
}

step_execution_pass = stepper("a pass of an execution", EXECUTION_PASS)


class FunctionPassState(StrEnum):
    REPLAYING = "replaying"
    """What the record has is begun again."""
    LEAVING = "leaving"
    """What the record has is begun again, and its caller has ended without it: nothing new begins."""
    LIVE = "live"
    """Everything recorded was begun again: what it does now is new."""
    LEFT = "left"
    """Everything recorded was begun again, and its caller has ended without it: it ends now."""
    REPLAYED = "replayed"
    """It ended before anything in it was new."""
    ENDED = "ended"


class FunctionPassEvent(StrEnum):
    GO_LIVE = "go_live"
    LEAVE = "leave"
    END = "end"


_FS, _FE = FunctionPassState, FunctionPassEvent

FUNCTION_PASS: dict[tuple[FunctionPassState, FunctionPassEvent], FunctionPassState] = {
    (_FS.REPLAYING, _FE.GO_LIVE): _FS.LIVE,
    (_FS.REPLAYING, _FE.LEAVE): _FS.LEAVING,
    (_FS.REPLAYING, _FE.END): _FS.REPLAYED,
    (_FS.LEAVING, _FE.GO_LIVE): _FS.LEFT,
    (_FS.LEAVING, _FE.END): _FS.REPLAYED,
    (_FS.LIVE, _FE.LEAVE): _FS.LEFT,
    (_FS.LIVE, _FE.END): _FS.ENDED,
    (_FS.LEFT, _FE.END): _FS.ENDED,
    (_FS.REPLAYED, _FE.END): _FS.REPLAYED,
    (_FS.ENDED, _FE.END): _FS.ENDED,
}

step_function_pass = stepper("a pass of a function", FUNCTION_PASS)

IS_LIVE = frozenset((_FS.LIVE, _FS.LEFT, _FS.ENDED))
"""A pass that came to what is new."""

IS_LEFT = frozenset((_FS.LEAVING, _FS.LEFT))
"""A pass whose caller ended without it, and that goes on."""

IS_OVER = frozenset((_FS.REPLAYED, _FS.ENDED))


class CancellationState(StrEnum):
    """How much of its execution's cancellation a function knows."""

    UNTOLD = "untold"
    HEARING = "hearing"
    """It got all that had come before the cancellation: what comes now comes after it."""
    TOLD = "told"
    """It got CancelledError, or was begun by a function that had."""


class CancellationEvent(StrEnum):
    HEAR = "hear"
    TELL = "tell"


_CS, _CE = CancellationState, CancellationEvent

CANCELLATION: dict[tuple[CancellationState, CancellationEvent], CancellationState] = {
    (_CS.UNTOLD, _CE.HEAR): _CS.HEARING,
    (_CS.UNTOLD, _CE.TELL): _CS.TOLD,  # as the record has it
    (_CS.HEARING, _CE.HEAR): _CS.HEARING,
    (_CS.HEARING, _CE.TELL): _CS.TOLD,
    (_CS.TOLD, _CE.TELL): _CS.TOLD,
}

step_cancellation = stepper("a cancellation", CANCELLATION)
