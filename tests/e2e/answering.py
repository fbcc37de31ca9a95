"""A process that answers: `python -m tests.e2e.answering STORE`. Each line on stdin is `[prompt, value, by]` as JSON;
for each it says as JSON what became of it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import durable


async def main(store: str) -> None:
    async with durable.open(store, durability="process", serve=False) as engine:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            prompt, value, by = json.loads(line)
            said: dict[str, Any]
            try:
                said = {"settled": await engine.answer(prompt, value, by=by)}
            except durable.DurableError as error:
                said = {"error": type(error).__name__, "message": str(error)}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
