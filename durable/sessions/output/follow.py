"""Reading an execution's output on: where it runs as it is printed, else from the store (worker-protocol.md, K1-K5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from durable.core import ids
from durable.core.errors import NotFound, StoreRefused
from durable.sessions.output.live_output import Event, OutputEvent, Recent, Rewound, shown_event
from durable.store.rows import PromiseRow
from durable.store.sqlite.output_reader import OutputReader

if TYPE_CHECKING:
    from durable.engine.engine import Engine


class LiveReader:
    """One reader's place. What a pass took back when it began is the store's to tell, wherever it runs."""

    def __init__(self, engine: Engine, execution_id: str, offset: int = 0) -> None:
        self.engine = engine
        """Whose it reads; another one of the same store may take its place."""
        self._execution_id = execution_id
        self._stored = OutputReader(execution_id, offset)
        self._recent: Recent | None = None

    async def look(self) -> AsyncIterator[OutputEvent | Rewound]:
        """All that is new."""
        reads = self.engine.store.reads
        await self._stored.begin(reads)
        while True:
            recent, runs = self.engine.host.recent(self._execution_id)
            begun, self._recent = recent is not self._recent, recent
            found = None if recent is None else recent.since(self._stored.offset)
            rewound = begun and recent is not None and self._stored.offset > recent.origin
            if rewound or not (found or runs) or found is None:
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

    def news(self) -> set[asyncio.Future[Any]]:
        """Done when there may be more: ask before `look`."""
        return {self.engine.changed()} if self._recent is None else {self.engine.changed(), self._recent.changed()}


async def follow(
    engine: Engine, execution_id: str, offset: int = 0, *, wait_through_halts: bool = False
) -> AsyncIterator[Event]:
    """Output of an execution from an offset until it is settled, from whatever process runs it. Halted."""
    promise_id = ids.execution_promise(execution_id)
    settled = asyncio.ensure_future(engine.store.settled(promise_id, halts=not wait_through_halts))
    reader = LiveReader(engine, execution_id, offset)
    try:
        while True:
            news, done = reader.news(), settled.done()
            async for event in reader.look():
                found = shown_event(event)
                if found is not None:
                    yield found
            if done:
                await _end_of(settled, execution_id)
                return
            await asyncio.wait({settled, *news}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        settled.cancel()


async def _end_of(settled: asyncio.Future[PromiseRow], execution_id: str) -> None:
    """Raise what ended the wait, unless it was the execution's end."""
    try:
        await settled
    except StoreRefused as error:
        if error.status == 404:
            raise NotFound("execution", execution_id) from None
        raise
