"""`python -m tests.browser.engine STORE`: an engine with the functions of these tests, until it is killed."""

from __future__ import annotations

import asyncio
import sys

import durable
from tests.browser import jobs


async def main(store: str) -> None:
    """Serve; says so on stdout."""
    assert jobs.EVIL
    async with durable.open(store, durability="process"):
        print("serving", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
