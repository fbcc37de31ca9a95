"""The output of an execution and its cells, as pages and as a stream that a client can come back to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from durable.client.api_models import PrintedPage, PrintedPiece
from durable.core import ids
from durable.core.errors import BadArguments
from durable.http.api.api_route import ApiCall
from durable.http.api.event_stream import StreamEvent
from durable.store.changes import Changes
from durable.store.output_reader import PAGE
from durable.store.reads import Reads
from durable.store.rows import OutputRow

_PLACE = re.compile(r"(?P<execution>[A-Za-z0-9_@.~=-]{1,400}):(?P<offset>[0-9]{1,15})\.(?P<rewinds>[0-9]{1,9})\Z")

REST_FACTOR = 4
"""After a look at what was printed follows a rest of this many times what it took."""


@dataclass(slots=True)
class _Place:
    """Where a reader is in the output of one execution: its offset, and how often it was taken back by then."""

    execution: str
    offset: int = 0
    rewinds: int | None = None

    @property
    def id(self) -> str:
        return f"{self.execution}:{self.offset}.{self.rewinds or 0}"


async def printed_page(reads: Reads, execution: str, offset: int, limit: int, *, ended: bool) -> PrintedPage:
    """A page of the output of one execution. ended: it prints no more."""
    chunks = await reads.output(execution, offset, limit=limit)
    more = len(chunks) == limit
    return PrintedPage(
        pieces=[_piece(chunk) for chunk in chunks],
        next_offset=chunks[-1].end if chunks else offset,
        ended=ended and not more,
    )


def _piece(chunk: OutputRow) -> PrintedPiece:
    return PrintedPiece(offset=chunk.offset, stream=chunk.stream, text=chunk.text, chars=chunk.chars)


def output_events(call: ApiCall, execution: str, offset: int) -> AsyncIterator[StreamEvent]:
    """The events of an execution's output. BadArguments for a Last-Event-ID that is none of them."""
    place = _Place(execution, offset)
    if call.last_event_id:
        found = _PLACE.match(call.last_event_id)
        if found is None or not _is_under(found["execution"], execution):
            raise BadArguments("Last-Event-ID is none of this stream: leave it out, and begin at an offset")
        place = _Place(found["execution"], int(found["offset"]), int(found["rewinds"]))
    return _events(call, execution, place)


def _is_under(found: str, execution: str) -> bool:
    return found == execution or found.startswith((f"{execution}.", f"{execution}@"))


async def _events(call: ApiCall, execution: str, place: _Place) -> AsyncIterator[StreamEvent]:
    """The output of the execution, then of each cell under it, one after another in the order in which they began."""
    changes, reads = Changes(), call.reads
    unwatch = call.store.watch(lambda _: changes.tell())
    try:
        while True:
            change, began = changes.next(), time.monotonic()
            row = await reads.get_execution(execution)
            row_here = row if place.execution == execution else await reads.get_execution(place.execution)
            async for event in _look(reads, place):
                yield event
            if row_here is None or row_here.settled_at is not None or row_here.session is None:
                following = await _cell_after(reads, execution, place.execution)
                if following is not None:
                    place = _Place(following)
                    continue
            if row is None or row.settled_at is not None:
                yield StreamEvent("end", {"execution": execution, "state": row.state if row else "gone"}, place.id)
                return
            await change
            await asyncio.sleep(REST_FACTOR * (time.monotonic() - began) if change.done() else 0)
    finally:
        unwatch()


async def _look(reads: Reads, place: _Place) -> AsyncIterator[StreamEvent]:
    """All that is new behind a place, which moves."""
    more = True
    while more:
        if place.rewinds is None:  # only that of later is told of
            place.rewinds = (await reads.printed(place.execution, 2**62, limit=1)).rewinds
        found = await reads.printed(place.execution, place.offset, rewinds=place.rewinds, limit=PAGE)
        place.rewinds = found.rewinds
        if found.rewound is not None:
            place.offset = found.rewound
            yield StreamEvent("rewound", {"execution": place.execution, "offset": found.rewound}, place.id)
        for chunk in found.chunks:
            place.offset = chunk.end
            document = {"execution": place.execution, "offset": chunk.offset, "stream": chunk.stream}
            yield StreamEvent("output", {**document, "text": chunk.text, "chars": chunk.chars}, place.id)
        more = len(found.chunks) >= PAGE


async def _cell_after(reads: Reads, execution: str, before: str) -> str | None:
    """The cell under an execution that began after `before`, which is the execution itself or one of its cells."""
    if "@" in execution:
        return None  # a cell
    rows = [row for row in await reads.children(execution) if "durable:session" in row.tags]
    cells = [row.id.removeprefix(ids.PREFIX) for row in sorted(rows, key=lambda row: (row.created_at, row.id))]
    if before == execution:
        return cells[0] if cells else None
    later = cells[cells.index(before) + 1 :] if before in cells else []
    return later[0] if later else None
