"""Foreign code of a durable function ends with it (specs/sandbox.md, F12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from tests.e2e.isolated import need

SPIN = {
    "javascript": "await arrived(); while (true) {}",
    "python": "arrived()\nwhile True: pass",
    "waiting": "await arrived(); await opened()",
}


pytestmark = pytest.mark.usefixtures("cached")


class Gate:
    """What the code asks for: that it has arrived, and to be let through."""

    def __init__(self) -> None:
        self.arrived, self.open = asyncio.Event(), asyncio.Event()

    def capabilities(self) -> list[Any]:
        @durable.capability
        async def arrived() -> None:
            self.arrived.set()

        @durable.capability
        async def opened() -> str:
            await self.open.wait()
            return "through"

        return [arrived, opened]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def engine(tmp_path: Path, gate: Gate) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", capabilities=gate.capabilities()) as made:
        yield made


@durable.function
async def spins(ctx: durable.Context, which: str) -> Any:
    language = "python" if which == "python" else "javascript"
    limits = durable.SandboxLimits.javascript(timeout_ms=600_000)
    ran = await ctx.sandbox(SPIN[which], language=language, limits=limits, grants=["arrived", "opened"])
    return ran.value


async def stopped(engine: durable.Engine) -> None:
    """Return when the code has ended in this process."""
    leaves = [task for task in asyncio.all_tasks() if "Leaf.perform" in repr(task.get_coro())]
    if leaves:
        _, left = await asyncio.wait(leaves, timeout=60)
        assert not left
    assert {each.ended for each in engine.sandbox.decisions} - {""} == {"SANDBOX_CANCELLED"}


@pytest.mark.parametrize("which", SPIN)
async def test_a_cancelled_functions_code_is_stopped(engine: durable.Engine, gate: Gate, which: str) -> None:
    if which == "python":
        need("profile isolated")
    execution = await engine.start(spins, which)
    await gate.arrived.wait()
    await engine.cancel(execution.id)
    with pytest.raises(durable.ExecutionCancelled):
        await execution.result()
    await stopped(engine)


async def test_so_is_that_of_one_past_its_deadline(engine: durable.Engine) -> None:
    await engine.sandbox.run("1", language="javascript")  # or its compiler might take all the time there is
    execution = await engine.start(spins, "javascript", timeout=3)
    with pytest.raises(durable.ExecutionTimedOut):
        await execution.result()
    await stopped(engine)


async def test_interrupted_elsewhere_it_is_stopped_and_goes_on(
    engine: durable.Engine, gate: Gate, tmp_path: Path
) -> None:
    execution = await engine.start(spins, "waiting")
    await gate.arrived.wait()
    async with durable.open(tmp_path / "work.db", serve=False) as other:
        assert await other.interrupt(execution.id)
    await stopped(engine)
    assert await execution.state() == "interrupted"
    gate.open.set()
    assert await engine.resume(execution.id)
    assert await execution.result() == "through"
