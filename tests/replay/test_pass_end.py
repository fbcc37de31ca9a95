"""A pass that ends while its function waits leaves every nested block, those that await on their way out included."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextvars import ContextVar
from typing import Any

import pytest

import durable
from tests.waiting import first_prompt

PLACE: ContextVar[str] = ContextVar("place", default="outside")
LEFT: list[str] = []


class Block:
    """Leaves in several awaits, as a task group of anyio does, and in its own context."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __aenter__(self) -> None:
        self.token = PLACE.set(self.name)

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await self.leave()

    async def leave(self) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            asyncio.get_running_loop()
            PLACE.reset(self.token)  # in another context this raises
            LEFT.append(self.name)


@durable.function(name="nested_blocks")
async def nested_blocks(ctx: durable.Context) -> str:
    async with Block("outer"), Block("inner"):
        answer: str = await ctx.ask("Go on?")
    return answer


async def test_blocks_are_left_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """What awaited in a `finally` was dropped half-way, and complained on stderr that no loop runs."""
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    LEFT.clear()
    async with durable.open(":memory:") as engine:
        await engine.start(nested_blocks, id="run")
        await first_prompt(engine)
        async with asyncio.timeout(20):
            while len(LEFT) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    gc.collect()
    assert LEFT == ["inner", "outer"]
    assert [str(each.exc_value) for each in complaints] == []
