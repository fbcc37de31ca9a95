"""Reading an execution's output on: where it runs as it is printed, else from the store (worker-protocol.md, K1-K5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from durable.core import ids
from durable.core.errors import not_found
from durable.sessions.output.live_output import Event, OutputEvent, Recent, Rewound, shown_event
from durable.store.output_reader import OutputReader

if TYPE_CHECKING:
    from durable.engine.engine import Engine


COSTLY_S = 0.02
"""A look that takes longer, since a function has thousands of steps, is followed by a rest as long as itself."""


class LiveReader:
    """One reader's place. What a pass took back when it began is the store's to tell, wherever it runs."""

    def __init__(self, engine: Engine, execution_id: str, offset: int = 0, *, fresh: bool = False) -> None:
        """fresh: it was recorded just now, so that nothing of it can have been taken back."""
        self.engine = engine
        """Whose it reads; another one of the same store may take its place."""
        self._execution_id = execution_id
        self._fresh = fresh
        self._stored = OutputReader(execution_id, offset, fresh=fresh)
        self._recent: Recent | None = None

    async def look(self) -> AsyncIterator[OutputEvent | Rewound]:
        """All that is new."""
        reads = self.engine.store.reads
        await self._stored.begin(reads)
        fresh, self._fresh = self._fresh, False
        if fresh and self.engine.host.recent(self._execution_id)[0] is None:
            return  # it has not begun, and nothing is stored: whoever begins it changes the store
        while True:
            recent, here = self.engine.host.recent(self._execution_id)
            begun, self._recent = recent is not self._recent, recent
            found = None if recent is None else recent.since(self._stored.offset)
            rewound = begun and recent is not None and self._stored.offset > recent.origin
            if rewound or not (found or here) or found is None:
                async for event in self._look_stored():
                    yield event
                found = None if recent is None else recent.since(self._stored.offset)
            for event in found or ():
                yield event
                self._stored.offset = event.end
            if not found:
                return

    async def _look_stored(self) -> AsyncIterator[OutputEvent | Rewound]:
        async for page in self._stored.look(self.engine.store.reads):
            if page.rewound is not None:
                yield Rewound(page.rewound)
            for chunk in page.chunks:
                yield OutputEvent(chunk.stream, chunk.text, chunk.offset, chunk.dropped, chunk.end)

    @property
    def value(self) -> str | None:
        """The text of its value once its code has ended here and its output was looked at; its record follows."""
        return None if self._recent is None else self._recent.value

    def news(self) -> set[asyncio.Future[Any]]:
        """Done when there may be more: ask before `look`."""
        host = self.engine.host
        recent = host.recent(self._execution_id)[0]
        return {self.engine.changed(), host.begun() if recent is None else recent.changed()}


class CellReaders:
    """The readers of an execution and of the cells under it, which a function has: oldest first."""

    def __init__(self, engine: Engine, execution_id: str, offset: int) -> None:
        self._engine = engine
        self._execution_id = execution_id
        self._reading: dict[str, LiveReader] = {execution_id: LiveReader(engine, execution_id, offset)}
        self._ended: set[str] = set()
        self._has_cells: bool | None = False if "@" in execution_id else None  # `desk@1` is a cell itself

    async def look(self) -> AsyncIterator[Event]:
        """All that is new. A cell that had ended before is not looked at again."""
        ended = await self._find()
        for execution_id, reader in list(self._reading.items()):
            async for event in reader.look():
                found = shown_event(event, execution_id)
                if found is not None:
                    yield found
        for execution_id in ended:
            self._reading.pop(execution_id, None)
        self._ended |= ended

    def news(self) -> set[asyncio.Future[Any]]:
        """Done when there may be more: ask before `look`."""
        return {future for reader in self._reading.values() for future in reader.news()}

    async def _find(self) -> set[str]:
        """Begin with cells that are new; the ids of those that have ended."""
        reads = self._engine.store.reads
        if self._has_cells is None:
            own = await reads.get_execution(self._execution_id)
            self._has_cells = None if own is None else own.session is None
        if not self._has_cells:
            return set()
        cells = [row for row in await reads.children(self._execution_id) if "durable:session" in row.tags]
        ended: set[str] = set()
        for row in sorted(cells, key=lambda row: row.created_at):
            execution_id = row.id.removeprefix(ids.PREFIX)
            if execution_id in self._ended:
                continue
            if execution_id not in self._reading:
                self._reading[execution_id] = LiveReader(self._engine, execution_id)
            if row.state != "pending":
                ended.add(execution_id)
        return ended


async def follow(
    engine: Engine, execution_id: str, offset: int = 0, *, wait_through_halts: bool = False
) -> AsyncIterator[Event]:
    """Output of an execution, and of cells under it, until it is settled, from whatever process runs it.

    Halted; StoreError when nothing can be recorded for want of room, or the store is away: it goes on when there is.
    """
    promise_id = ids.execution_promise(execution_id)
    wait = engine.store.settled(promise_id, halts=not wait_through_halts, patient=wait_through_halts)
    settled = asyncio.ensure_future(wait)
    readers = CellReaders(engine, execution_id, offset)
    try:
        while True:
            news, done, began = readers.news(), settled.done(), time.monotonic()
            async for event in readers.look():
                yield event
            if done:
                with not_found("execution", execution_id):
                    await settled
                return
            cost = time.monotonic() - began
            await asyncio.wait({settled, *news}, return_when=asyncio.FIRST_COMPLETED)
            if cost > COSTLY_S:
                await asyncio.wait({settled}, timeout=cost)
    finally:
        settled.cancel()
