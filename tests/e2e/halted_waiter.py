"""A process that waits for an execution in several places and says what it is told: `halted_waiter ID STORE…`."""

from __future__ import annotations

import asyncio
import json
import sys

import durable


async def wait(store: str, execution: str) -> dict[str, str]:
    """What `result()` raises."""
    async with durable.open(store, serve=False) as engine:
        handle = await engine.get(execution)
        print("waits", flush=True)
        try:
            value = await handle.result()
        except durable.Halted as told:
            return {"halted": told.execution_id, "awaited": told.awaited, "note": told.note, "code": told.code}
        return {"value": repr(value)}


async def wait_everywhere(execution: str, stores: list[str]) -> list[dict[str, str]]:
    """What each is told, in order."""
    return await asyncio.gather(*(wait(store, execution) for store in stores))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(wait_everywhere(sys.argv[1], sys.argv[2:]))), flush=True)
