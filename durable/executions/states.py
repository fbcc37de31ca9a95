"""States of an execution in the words of every surface, as a table (specs/execution.md). No I/O.

The store has two rows for an execution, its promise and its task, and derives the word from both.
"""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class ExecutionState(StrEnum):
    PENDING = "pending"
    """No attempt began yet."""
    RUNNING = "running"
    """An engine holds it, or it is on its way from one attempt to the next."""
    WAITING = "waiting"
    """Suspended until an answer, a timer or a child settles."""
    INTERRUPTED = "interrupted"
    """Halted, by somebody or by an error of the engine's own: `resume` goes on."""
    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    """Rejected after attempts without progress."""
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class ExecutionEvent(StrEnum):
    ACQUIRE = "acquire"
    """An engine takes its task."""
    RELEASE = "release"
    """The engine gives the task back, or loses the lease."""
    SUSPEND = "suspend"
    WAKE = "wake"
    """A promise that it awaits is settled."""
    HALT = "halt"
    RESUME = "resume"
    RESUME_FIRST = "resume_first"
    """It is let go on, and no attempt had begun."""
    RESOLVE = "resolve"
    REJECT = "reject"
    LOSE = "lose"
    CANCEL = "cancel"
    EXPIRE = "expire"


_S, _E = ExecutionState, ExecutionEvent

OPEN = (_S.PENDING, _S.RUNNING, _S.WAITING, _S.INTERRUPTED)
SETTLED = frozenset((_S.COMPLETED, _S.FAILED, _S.LOST, _S.CANCELLED, _S.TIMED_OUT))
"""States that an execution never leaves."""

_SETTLES = {
    _E.RESOLVE: _S.COMPLETED,
    _E.REJECT: _S.FAILED,
    _E.LOSE: _S.LOST,
    _E.CANCEL: _S.CANCELLED,
    _E.EXPIRE: _S.TIMED_OUT,
}

TRANSITIONS: dict[tuple[ExecutionState, ExecutionEvent], ExecutionState] = {
    (_S.PENDING, _E.ACQUIRE): _S.RUNNING,
    (_S.PENDING, _E.HALT): _S.INTERRUPTED,
    (_S.RUNNING, _E.ACQUIRE): _S.RUNNING,
    (_S.RUNNING, _E.RELEASE): _S.RUNNING,
    (_S.RUNNING, _E.SUSPEND): _S.WAITING,
    (_S.RUNNING, _E.HALT): _S.INTERRUPTED,
    (_S.WAITING, _E.WAKE): _S.RUNNING,
    (_S.WAITING, _E.HALT): _S.INTERRUPTED,
    (_S.INTERRUPTED, _E.RESUME): _S.RUNNING,
    (_S.INTERRUPTED, _E.RESUME_FIRST): _S.PENDING,
    (_S.INTERRUPTED, _E.HALT): _S.INTERRUPTED,
    **{(state, event): after for state in OPEN for event, after in _SETTLES.items()},
}

step = stepper("an execution", TRANSITIONS)

PROMISE_OF: dict[str, str] = {
    _S.FAILED: "rejected",
    _S.LOST: "rejected",
    _S.CANCELLED: "rejected_canceled",
    _S.TIMED_OUT: "rejected_timedout",
}
"""The state of the promise of an execution that ended otherwise than with a value."""
