"""Ten questions one after the other, in a function and in a cell; and an engine for them."""

from __future__ import annotations

import asyncio

import durable

COUNT = 10

CELL = f"said = []\nfor n in range({COUNT}):\n    said.append(ask(f'cell {{n}}?'))\nsaid"


@durable.function
async def asks_ten(ctx: durable.Context) -> list[str]:
    return [await ctx.ask(f"function {n}?") for n in range(COUNT)]


async def serve(store: str) -> None:
    """Until it is killed."""
    async with durable.open(store, durability="process"):
        await asyncio.Event().wait()
