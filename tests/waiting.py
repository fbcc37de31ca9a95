"""Waiting on the store's own events, never on time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import durable


async def until[T](engine: durable.Engine, look: Callable[[], Awaitable[T]], *, timeout: float = 30) -> T:
    """What `look` returns as soon as it is true, looked at after every change of the store."""
    async with asyncio.timeout(timeout):
        while True:
            change = engine.changed()
            found = await look()
            if found:
                return found
            await change


async def first_prompt(engine: durable.Engine, question: str | None = None) -> durable.OpenPrompt:
    """The open prompt (with that question), as soon as there is one."""

    async def look() -> list[durable.OpenPrompt]:
        return [p for p in await engine.prompts() if question in (None, p.question)]

    return (await until(engine, look))[0]


async def in_state(engine: durable.Engine, execution: durable.Execution, *states: str) -> str:
    """The execution's state, as soon as it is one of these."""

    async def look() -> str | None:
        found = await execution.state()
        return found if found in states else None

    found = await until(engine, look)
    assert found is not None
    return found
