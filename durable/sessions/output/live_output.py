"""The events for readers of output, and the newest output of a pass as it was printed (specs/worker-protocol.md)."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from durable.records.displays import DISPLAY, Display
from durable.store.changes import Changes

RECENT_CHARS_MAX = 2**20
"""Of what a session printed last, kept for readers in this process; who is further behind reads the stored copy."""


@dataclass(frozen=True, slots=True)
class OutputEvent:
    """Something printed: `offset` counts characters of this execution's output before it.

    `dropped` (then there is no `data`) is how many characters are missing here: dropped by the session's output policy,
    or over what is stored.
    """

    stream: str
    data: str
    offset: int
    dropped: int = 0
    end: int = field(default=-1, compare=False, repr=False)
    """The offset at which to read on: it may be further than `data` reaches, where the stored copy holds less."""
    execution: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.end < 0:
            object.__setattr__(self, "end", self.offset + self.dropped + len(self.data))


@dataclass(frozen=True, slots=True)
class DisplayEvent:
    """Something shown with `display(obj)`: a MIME bundle, at this place in the output."""

    data: dict[str, Any]
    metadata: dict[str, Any]
    offset: int
    execution: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rewound:
    """The execution went on from a checkpoint, after a crash or an interrupt: what it had printed from this character
    on is taken back, and what is printed in its place follows."""

    offset: int
    execution: str = field(default="", compare=False)


type Event = OutputEvent | DisplayEvent | Rewound


def shown_event(event: OutputEvent | Rewound, execution: str) -> Event | None:
    """The event of an execution as users get it; None for a display that is not whole, or shows nothing."""
    if not isinstance(event, OutputEvent) or event.stream != DISPLAY or event.dropped:
        return replace(event, execution=execution)
    display = Display.read(event.data)
    if display is None or not display.is_shown:
        return None
    return DisplayEvent(display.data, display.metadata, event.offset, execution)


class Recent:
    """The newest output of one pass of an execution; `origin` is the offset where the pass began."""

    def __init__(self, origin: int = 0) -> None:
        self.origin = origin
        self.value: str | None = None
        """The text of the value that its code ended with, which is about to be recorded; None before that."""
        self._events: deque[OutputEvent] = deque()
        self._start = self._end = origin
        self._changes = Changes()

    def add(self, stream: str, data: str, dropped: int = 0) -> None:
        """Take what was printed next: `dropped` characters that nobody gets, then `data`."""
        for event in (OutputEvent(stream, "", self._end, dropped), OutputEvent(stream, data, self._end + dropped)):
            if event.end > event.offset:
                self._events.append(event)
                self._end = event.end
        while self._end - self._start > RECENT_CHARS_MAX and len(self._events) > 1:
            self._start = self._events.popleft().end
        self._changes.tell()

    def end(self, value: str) -> None:
        """Its code ended with a value of that text."""
        if value != self.value:
            self.value = value
            self._changes.tell()

    def since(self, offset: int) -> list[OutputEvent] | None:
        """The events from there on; None when they are no longer here."""
        if offset < self._start:
            return None
        found: list[OutputEvent] = []
        for event in reversed(self._events):
            if event.end <= offset:
                break
            skip = max(0, offset - event.offset)
            found.append(
                OutputEvent(event.stream, event.data[skip:], event.offset + skip, max(0, event.dropped - skip))
            )
        return found[::-1]

    def changed(self) -> asyncio.Future[None]:
        """Done when there is more."""
        return self._changes.next()
