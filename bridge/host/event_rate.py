"""How often a worker can make its engine say something: the first few at once, then one a second, the rest counted.

Whoever holds a worker's socket can send 100,000 wrong messages a second; each is one line of a log otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import msgspec

from durable.core.events import Event, EventsOmitted, Observer

BURST_MAX = 20
"""Events of one kind that are told at once: what an honest worker causes is told whole."""

PER_S = 1.0


class _Kind(msgspec.Struct):
    left: float
    at_s: float
    omitted: int = 0


class EventRate:
    """An observer before another one, for the events that one session's worker causes."""

    def __init__(self, session: str, observer: Observer, clock: Callable[[], float] = monotonic) -> None:
        self._session = session
        self._observer = observer
        self._clock = clock
        self._kinds: dict[type[Event], _Kind] = {}

    def __call__(self, event: Event) -> None:
        """Tell the event, or count it."""
        now = self._clock()
        kind = self._kinds.setdefault(type(event), _Kind(BURST_MAX, now))
        kind.left = min(BURST_MAX, kind.left + (now - kind.at_s) * PER_S)
        kind.at_s = now
        if kind.left < 1:
            kind.omitted += 1
            return
        kind.left -= 1
        self._tell_omitted(type(event), kind)
        self._observer(event)

    def flush(self) -> None:
        """Tell how many were left out: at the worker's end."""
        for kind, known in self._kinds.items():
            self._tell_omitted(kind, known)

    def _tell_omitted(self, kind: type[Event], known: _Kind) -> None:
        omitted, known.omitted = known.omitted, 0
        if omitted:
            self._observer(EventsOmitted(self._session, kind.__name__, omitted))
