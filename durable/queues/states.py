"""States of a queue and of what stands in it, as tables (specs/queues.md). No I/O."""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class QueueState(StrEnum):
    OPEN = "open"
    PAUSED = "paused"
    """Nothing of it begins; what runs goes on, and more can be enqueued."""
    DRAINING = "draining"
    """It takes nothing new; what is in it begins and runs as ever."""


class QueueEvent(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"


_Q, _R = QueueState, QueueEvent

QUEUE: dict[tuple[QueueState, QueueEvent], QueueState] = {
    (state, event): after
    for state in QueueState
    for event, after in ((_R.PAUSE, _Q.PAUSED), (_R.RESUME, _Q.OPEN), (_R.DRAIN, _Q.DRAINING))
}

step_queue = stepper("a queue", QUEUE)


class EntryState(StrEnum):
    DELAYED = "delayed"
    """Its time has not come."""
    WAITING = "waiting"
    """It stands in the line of its key."""
    HELD = "held"
    """Its execution was interrupted before it began."""
    ADMITTED = "admitted"
    """It has a place: an engine was or will be offered its execution."""
    GONE = "gone"
    """Its execution has ended. Nothing is recorded of it any more."""


class EntryEvent(StrEnum):
    POSTPONE = "postpone"
    """Its time is moved, or was not there yet when its execution was resumed."""
    RIPEN = "ripen"
    """Its time has come."""
    ADMIT = "admit"
    HALT = "halt"
    RESUME = "resume"
    END = "end"
    """Its execution ended, however it did."""


_S, _E = EntryState, EntryEvent

ENTRY: dict[tuple[EntryState, EntryEvent], EntryState] = {
    (_S.DELAYED, _E.POSTPONE): _S.DELAYED,
    (_S.DELAYED, _E.RIPEN): _S.WAITING,
    (_S.DELAYED, _E.HALT): _S.HELD,
    (_S.DELAYED, _E.END): _S.GONE,
    (_S.WAITING, _E.ADMIT): _S.ADMITTED,
    (_S.WAITING, _E.HALT): _S.HELD,
    (_S.WAITING, _E.END): _S.GONE,
    (_S.HELD, _E.POSTPONE): _S.DELAYED,
    (_S.HELD, _E.HALT): _S.HELD,
    (_S.HELD, _E.RESUME): _S.WAITING,
    (_S.HELD, _E.END): _S.GONE,
    (_S.ADMITTED, _E.END): _S.GONE,
}

step_entry = stepper("an entry of a queue", ENTRY)
