"""A store without an engine, for tests that look behind one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from durable.store.direct_store import DirectStore
from durable.store.port import open_direct


@asynccontextmanager
async def opened_store(place: str) -> AsyncIterator[DirectStore]:
    """The store at a path or URL, closed at the end."""
    store = await open_direct(place)
    try:
        yield store
    finally:
        await store.close()
