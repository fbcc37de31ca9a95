"""Durable functions whose executions the pages show; names, values and errors in them are hostile where they can be."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

import durable

EVIL = "<script>window.hacked=1</script>\"'><img src=x onerror=window.hacked=2><svg onload=window.hacked=3>"
"""Whatever a page does not escape sets `window.hacked`."""


class Decision(BaseModel):
    publish: bool
    copies: int = Field(ge=1, le=20, title="Copies")
    note: str | None = None


def draft(topic: str) -> dict[str, str]:
    return {"topic": topic, "text": f"Everything about {topic}. {EVIL}", EVIL: EVIL}


def price() -> float:
    return 2.5


_tries: list[int] = []


def moody() -> str:
    _tries.append(1)
    if len(_tries) < 3:
        raise ConnectionError(f"not yet {EVIL}")
    return "at last"


def breaks() -> None:
    raise ValueError(EVIL)


@durable.function
async def count(ctx: durable.Context, n: int) -> int:
    for _ in range(n):
        await ctx.run(price)
    return n


@durable.function
async def review(ctx: durable.Context, topic: str) -> str:
    """The story: steps, a child, a question, a wait, and code in a session."""
    text = await ctx.run(draft, topic)
    await ctx.start(count, 2)
    await ctx.options(retry=durable.Retry(max_retries=5, delay=0.05)).run(moody)
    answer: Decision = await ctx.ask(
        f"Publish **{topic}**? {EVIL}",
        schema=Decision,
        title=f"Review {EVIL}",
        context=f"# Draft\n\n- {text['topic']}\n- [more](javascript:window.hacked=4)\n\n{EVIL}",
        timeout=timedelta(days=2),
        default=Decision(publish=False, copies=1),
    )
    await ctx.sleep(timedelta(seconds=0.2))
    cell = await ctx.execute(f"print({EVIL!r})\nlen(text)", session="desk", inputs={"text": str(text)})
    return f"{answer.copies} copies of {cell.value} characters {EVIL}"


async def slow() -> float:
    await asyncio.sleep(0.1)
    return 2.5


@durable.function
async def long(ctx: durable.Context, n: int) -> int:
    for _ in range(n):
        await ctx.run(slow)
    return n


@durable.function
async def fails(ctx: durable.Context) -> None:
    await ctx.run(breaks)


@durable.function
async def steps(ctx: durable.Context, n: int) -> int:
    for _ in range(n):
        await ctx.run(price)
    return n


def heavy() -> str:
    return "0123456789" * 100_000


@durable.function
async def heavy_steps(ctx: durable.Context, n: int) -> None:
    for _ in range(n):
        await ctx.run(heavy)


@durable.function
async def asks_much(ctx: durable.Context, n: int) -> list[Any]:
    context = "Some *context*, as questions have it. " * 5
    return await asyncio.gather(*(ctx.ask(f"Question {k}?", schema=Decision, context=context) for k in range(n)))


@durable.actor
class Basket:
    """An actor with a hostile state."""

    items: list[str] = []  # noqa: RUF012 - the first state of each actor

    async def add(self, ctx: durable.ActorContext, item: str) -> int:
        self.items = [*self.items, item]
        return len(self.items)
