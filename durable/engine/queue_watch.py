"""A look at the queues now and then, for observers that draw how long they are (specs/telemetry.md, E11)."""

from __future__ import annotations

import asyncio

from durable.core.clock import now_ms
from durable.core.errors import StoreError
from durable.core.events import BackgroundFailed, QueueMeasured
from durable.core.observers import Observers
from durable.store.port import ReadsFace

LOOK_S = 15.0
"""Between two looks: as often as metrics are usually collected."""

TOLD_MAX = 500
"""Queues that are told of at a look, by name: the table is small, and so is what a label may take."""


async def keep_measured(reads: ReadsFace, observer: Observers, look_s: float = LOOK_S) -> None:
    """Tell the observer of each queue, every `look_s` seconds, for as long as it looks at the normal course."""
    while True:
        if observer.watching:
            await measure(reads, observer)
        await asyncio.sleep(look_s)


async def measure(reads: ReadsFace, observer: Observers) -> None:
    """Tell of each queue as it is now."""
    try:
        rows = await reads.queues()
    except StoreError as error:
        observer(BackgroundFailed("looking at queues", str(error)))
        return
    now = now_ms()
    for row in rows[:TOLD_MAX]:
        oldest_ms = 0 if row.oldest_at is None else max(0, now - row.oldest_at)
        observer(QueueMeasured(row.name, row.state, row.delayed, row.waiting, row.running, oldest_ms))
