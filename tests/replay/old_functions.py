"""Functions that durable-exec 0.1 began and `old_store.sql` has waiting: their code is as it was then."""

from __future__ import annotations

import asyncio
from typing import Any

import durable

performed: list[str] = []


def note(text: str) -> str:
    performed.append(text)
    return text


@durable.function(name="sequential")
async def sequential(ctx: durable.Context) -> list[Any]:
    first = await ctx.run(note, "a")
    answer = await ctx.ask("first?", timeout=0.2, default="late")
    second = await ctx.run(note, "b")
    await ctx.sleep(0.01)
    last = await ctx.ask("last?")
    third = await ctx.run(note, "c")
    both = await asyncio.gather(ctx.run(note, "d"), ctx.run(note, "e"))
    await ctx.sleep(0.01)
    return [first, answer, second, last, third, *both]


@durable.function(name="inner")
async def inner(ctx: durable.Context, name: str) -> str:
    await ctx.run(note, name)
    return str(await ctx.ask(f"{name}?"))


@durable.function(name="nested_old")
async def nested_old(ctx: durable.Context) -> list[str]:
    return [await ctx.run(inner, "x"), await ctx.run(note, "y")]


@durable.function(name="concurrent")
async def concurrent(ctx: durable.Context) -> str:
    await asyncio.gather(ctx.run(note, "a"), ctx.run(note, "b"))
    return str(await ctx.ask("go?"))
