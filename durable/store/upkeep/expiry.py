"""Executions whose time is over are forgotten while somebody serves the store (specs/store.md, G8)."""

from __future__ import annotations

import asyncio

from durable.core.errors import DurableError
from durable.core.events import BackgroundFailed, ExecutionsExpired, Observer
from durable.core.limits import EXPIRY_LOOK_S
from durable.store.direct_store import DirectStore
from durable.store.upkeep.gc import Collected, expire


async def keep_expired(store: DirectStore, observer: Observer) -> None:
    """Look now, and again every EXPIRY_LOOK_S, until cancelled. What goes wrong is an event."""
    while True:
        done = Collected()
        try:
            async for found in expire(store):
                done = found
        except DurableError as error:
            observer(BackgroundFailed("forgetting executions whose time is over", str(error)))
        if done.executions:
            observer(ExecutionsExpired(done.executions, done.promises))
        await asyncio.sleep(EXPIRY_LOOK_S)
