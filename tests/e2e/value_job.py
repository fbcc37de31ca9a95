"""The engine that `test_checkpoint_values` kills in the middle of a cell."""

from __future__ import annotations

import asyncio
import sys

import durable


async def main(place: str, code: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        await session.execute(code, checkpoint="statement")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
