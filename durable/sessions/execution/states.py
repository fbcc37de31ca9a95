"""States of a cell's pass as a table (specs/session.md). No I/O."""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class CellPassState(StrEnum):
    RUNNING = "running"
    """Its code runs, or is about to."""
    WAITING = "waiting"
    """Its code can do nothing until one of its calls is answered."""
    PARKED = "parked"
    """Its code waits, and the leaf that ran it has gone: an answer brings the next one."""
    DONE = "done"
    """Its code ended, or was given up: its promise is to be settled with that."""
    HALTED = "halted"
    """It cannot go on, and nothing is settled."""
    DIED = "died"
    """The attempt is over."""
    STOPPED = "stopped"
    """Somebody else settled its promise. Its code is being stopped, and only the end of it still counts."""
    INTERRUPTED = "interrupted"
    """Its task was halted. Nothing that its code still does counts, and its worker ends with it."""
    CLOSED = "closed"
    """Its session was closed here. Nothing that its code still does counts."""
    LET_GO = "let_go"
    """Its worker was ended while it had no outcome: the next pass restores."""


class CellPassEvent(StrEnum):
    WAIT = "wait"
    ANSWER = "answer"
    PARK = "park"
    END = "end"
    HALT = "halt"
    DIE = "die"
    STOP = "stop"
    INTERRUPT = "interrupt"
    CLOSE = "close"
    LET_GO = "let_go"


_S, _E = CellPassState, CellPassEvent

OPEN = frozenset((_S.RUNNING, _S.WAITING, _S.PARKED))
"""A pass that still comes to something."""

LIVING = OPEN | {_S.DONE}
"""A pass that a leaf can attach to."""

ABANDONED = frozenset((_S.DIED, _S.STOPPED, _S.INTERRUPTED, _S.CLOSED))
"""A pass whose code does nothing that still counts. Of one that is stopped only the end of its code does."""

_ENDS = {
    _E.END: _S.DONE,
    _E.HALT: _S.HALTED,
    _E.DIE: _S.DIED,
    _E.STOP: _S.STOPPED,
    _E.CLOSE: _S.CLOSED,
    _E.LET_GO: _S.LET_GO,
}
_LATE = (_E.WAIT, _E.ANSWER, _E.END, _E.HALT, _E.DIE, _E.CLOSE, _E.LET_GO)
"""Events that may still come when a pass is over, and change nothing: only its first outcome counts."""

TRANSITIONS: dict[tuple[CellPassState, CellPassEvent], CellPassState] = {
    (_S.RUNNING, _E.WAIT): _S.WAITING,
    (_S.RUNNING, _E.ANSWER): _S.RUNNING,
    (_S.RUNNING, _E.PARK): _S.RUNNING,  # the answer came as its leaf left: the next leaf comes at once
    (_S.RUNNING, _E.INTERRUPT): _S.INTERRUPTED,
    (_S.WAITING, _E.WAIT): _S.WAITING,
    (_S.WAITING, _E.ANSWER): _S.RUNNING,
    (_S.WAITING, _E.PARK): _S.PARKED,
    (_S.PARKED, _E.WAIT): _S.PARKED,
    (_S.PARKED, _E.ANSWER): _S.RUNNING,
    (_S.PARKED, _E.PARK): _S.PARKED,
    **{(state, event): after for state in OPEN for event, after in _ENDS.items()},
    **{(state, event): state for state in _S if state not in OPEN for event in _LATE},
}

step = stepper("a pass of a cell", TRANSITIONS)
