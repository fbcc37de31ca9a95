"""Blobs that nothing refers to go by themselves while somebody serves the store (specs/store.md, G5)."""

from __future__ import annotations

import asyncio
import threading
import time

from durable.core.errors import DurableError, StoreError
from durable.core.events import BackgroundFailed, BlobsSwept, Observer
from durable.core.limits import BLOB_GRACE_S
from durable.store.direct_store import DirectStore
from durable.store.upkeep.blobs import UpkeepBusy, sweep_blobs


async def keep_swept(store: DirectStore, observer: Observer) -> None:
    """Sweep now, and again every BLOB_GRACE_S, until cancelled. What goes wrong is an event."""
    while True:
        await _sweep(store, observer)
        await asyncio.sleep(BLOB_GRACE_S)


async def _sweep(store: DirectStore, observer: Observer) -> None:
    if store.chunks is not None:
        await _sweep_rows(store, observer)
        return
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(sweep_blobs, store.path, now_s=time.time(), stop=stop))
    try:
        swept = await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([work])  # whoever cancels may be about to take the directory away
        raise
    except UpkeepBusy:
        return  # whoever is at it does the same, or reads what must not go
    except (StoreError, OSError) as error:
        observer(BackgroundFailed("sweeping blobs", str(error)))
    else:
        if swept.blobs or swept.unfinished:
            observer(BlobsSwept(swept.blobs + swept.unfinished, swept.bytes))


async def _sweep_rows(store: DirectStore, observer: Observer) -> None:
    """The same where chunks are rows of a database."""
    try:
        count, size = await asyncio.to_thread(store.chunks.sweep)
    except DurableError as error:
        observer(BackgroundFailed("sweeping chunks", str(error)))
    else:
        if count:
            observer(BlobsSwept(count, size))
