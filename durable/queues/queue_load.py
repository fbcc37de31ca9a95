"""The decision whether a queue lets another execution begin (specs/queues.md, Q4-Q9). No I/O."""

from __future__ import annotations

from typing import NamedTuple

from durable.core.limits import QUEUE_AHEAD_MS
from durable.queues.states import QueueState


class QueueLoad(NamedTuple):
    """A queue at a moment: its state, its limits, how many have a place, and until when its rate is used up (ms)."""

    state: str
    concurrency: int | None
    per_engine: int | None
    per_key: int | None
    rate_count: int | None
    rate_ms: int | None
    delayed: int
    waiting: int
    running: int
    started: int
    next_start_at: int

    def lets_begin(self, now: int) -> bool:
        """Whether another execution of the queue may begin now, as far as all its keys together go."""
        return self.has_place and self.next_start_at <= now

    def begins_at(self, now: int) -> int | None:
        """When the execution begins that gets a place now: the rate's time, to the millisecond, which may be a moment
        ahead. None where none gets one."""
        return max(now, self.next_start_at) if self.lets_begin(now + QUEUE_AHEAD_MS) else None

    @property
    def has_place(self) -> bool:
        """Whether one may begin as soon as the rate allows it."""
        return self.state != QueueState.PAUSED and (self.concurrency is None or self.running < self.concurrency)

    def key_is_open(self, running: int) -> bool:
        """Whether a key of which so many have a place may have another one."""
        return self.per_key is None or running < self.per_key

    def engine_has_room(self, running: int) -> bool:
        """Whether an engine that runs so many of the queue may run another one."""
        return self.per_engine is None or running < self.per_engine


def next_start_at(rate_ms: int | None, nth_last_at: int | None) -> int:
    """The time from which the rate lets another execution begin: 0 where that is at once.

    nth_last_at: when the n-th last began, n being the count of the rate; None where fewer have. So of any stretch of
    time as long as the rate's, its end not counted, no more than n fall into it.
    """
    return 0 if rate_ms is None or nth_last_at is None else nth_last_at + rate_ms
