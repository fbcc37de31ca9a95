"""States of a session's worker as a table (specs/session.md). No I/O."""

from __future__ import annotations

from enum import StrEnum

from durable.core.errors import ProtocolError


class WorkerState(StrEnum):
    CREATING = "creating"
    WARMING = "warming"
    READY = "ready"
    BUSY = "busy"
    IDLE = "idle"
    ERROR = "error"
    SHUTTING_DOWN = "shutting_down"
    TERMINATED = "terminated"


class WorkerEvent(StrEnum):
    """An event that moves a session's worker to another state."""

    START = "start"
    READY = "ready"
    EXECUTE = "execute"
    DONE = "done"
    FAILED = "failed"
    CLOSE = "close"
    ENDED = "ended"
    RESET = "reset"


_S, _E = WorkerState, WorkerEvent

TRANSITIONS: dict[WorkerState, dict[WorkerEvent, WorkerState]] = {
    _S.CREATING: {_E.START: _S.WARMING, _E.CLOSE: _S.TERMINATED},
    _S.WARMING: {_E.READY: _S.READY, _E.FAILED: _S.ERROR, _E.CLOSE: _S.SHUTTING_DOWN, _E.ENDED: _S.TERMINATED},
    _S.READY: {_E.EXECUTE: _S.BUSY, _E.FAILED: _S.ERROR, _E.CLOSE: _S.SHUTTING_DOWN, _E.ENDED: _S.TERMINATED},
    _S.BUSY: {_E.DONE: _S.IDLE, _E.FAILED: _S.ERROR, _E.CLOSE: _S.SHUTTING_DOWN, _E.ENDED: _S.TERMINATED},
    _S.IDLE: {_E.EXECUTE: _S.BUSY, _E.FAILED: _S.ERROR, _E.CLOSE: _S.SHUTTING_DOWN, _E.ENDED: _S.TERMINATED},
    _S.ERROR: {_E.FAILED: _S.ERROR, _E.CLOSE: _S.SHUTTING_DOWN, _E.ENDED: _S.TERMINATED},
    _S.SHUTTING_DOWN: {
        _E.DONE: _S.SHUTTING_DOWN,
        _E.FAILED: _S.SHUTTING_DOWN,
        _E.CLOSE: _S.SHUTTING_DOWN,
        _E.ENDED: _S.TERMINATED,
    },
    _S.TERMINATED: {_E.CLOSE: _S.TERMINATED, _E.RESET: _S.CREATING},
}


def step(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The next state. Raises ProtocolError, naming both, when the table has no place for it."""
    after = TRANSITIONS[state].get(event)
    if after is None:
        raise ProtocolError(f"a session that is {state} cannot {event}")
    return after
