"""One reader's place in what an execution prints, from whatever process runs it (specs/store.md, S10)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from durable.store.port import ReadsFace
from durable.store.rows import OutputPage

PAGE = 1_000
"""Chunks at a time: what a reader that comes late holds at once is at most 64 MiB."""


class OutputReader:
    """Reads on from an offset in characters, and learns when what it has read was taken back."""

    def __init__(self, execution_id: str, offset: int = 0, *, fresh: bool = False) -> None:
        """fresh: nothing of it can have been taken back so far."""
        self.offset = offset
        """Where it reads on; whoever reads ahead of the store moves it."""
        self._execution_id = execution_id
        self._rewinds: int | None = 0 if fresh else None

    async def begin(self, reads: ReadsFace) -> None:
        """Note what was taken back so far: only that of later is told of."""
        if self._rewinds is None:
            self._rewinds = (await reads.printed(self._execution_id, 2**62, limit=1)).rewinds

    async def look(self, reads: ReadsFace) -> AsyncIterator[OutputPage]:
        """All that is new, in pages; none when nothing is."""
        more = True
        while more:
            found = await reads.printed(self._execution_id, self.offset, rewinds=self._rewinds, limit=PAGE)
            self._rewinds = found.rewinds
            if found.rewound is not None:
                self.offset = found.rewound
            if found.chunks:
                self.offset = found.chunks[-1].end
            if found.chunks or found.rewound is not None:
                yield found
            more = len(found.chunks) >= PAGE
