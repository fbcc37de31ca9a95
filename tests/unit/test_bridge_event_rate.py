"""Events that a worker causes: the first few, then one a second, the rest counted."""

from __future__ import annotations

from bridge.host.event_rate import BURST_MAX, EventRate
from durable.core.events import BackgroundFailed, Event, EventsOmitted, ReplyUnknown


def test_a_flood_is_told_a_few_times_and_counted() -> None:
    told: list[Event] = []
    now = [0.0]
    rate = EventRate("s", told.append, lambda: now[0])
    for n in range(1_000):
        rate(ReplyUnknown("s", str(n)))
    assert told == [ReplyUnknown("s", str(n)) for n in range(BURST_MAX)]
    rate(BackgroundFailed("another kind", ""))
    assert told[-1:] == [BackgroundFailed("another kind", "")]
    now[0] = 1.5
    rate(ReplyUnknown("s", "later"))
    assert told[-2:] == [EventsOmitted("s", "ReplyUnknown", 1_000 - BURST_MAX), ReplyUnknown("s", "later")]
    rate(ReplyUnknown("s", "again"))
    rate.flush()
    assert told[-1:] == [EventsOmitted("s", "ReplyUnknown", 1)]
    rate.flush()
    assert told[-1:] == [EventsOmitted("s", "ReplyUnknown", 1)]
