"""The engine that `test_checkpoint_values` kills in the middle of a cell."""

from __future__ import annotations

import asyncio
import json
import sys

import durable


async def main(place: str, code: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        async for event in session.stream(code, checkpoint="statement"):
            if "there" in getattr(event, "data", ""):
                print(json.dumps("there"), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
