"""An engine killed between a capability's effect and its record, and after it (specs/capability.md, C2)."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import durable
from tests.e2e.calling import LEDGER, charging
from tests.waiting import until

ROOT = Path(__file__).parents[2]


async def killed_engine(directory: Path, die: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.calling", str(directory), die, cwd=ROOT
    )
    assert await process.wait() == -signal.SIGKILL


async def test_killed_before_the_record_it_is_performed_again_with_the_same_key(tmp_path: Path) -> None:
    await killed_engine(tmp_path, "after the effect")
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, "no")]) as engine:
        result = await (await engine.session("desk")).result("desk@1")
        assert (result.value, result.error) == ("charged 5", None)
    assert (tmp_path / LEDGER).read_text().splitlines() == ["exec:desk@1:charge:1 5"] * 2


async def test_killed_after_the_record_it_is_never_performed_again(tmp_path: Path) -> None:
    await killed_engine(tmp_path, "after the record")
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, "no")]) as engine:

        async def sleeps() -> bool:
            row = await engine.store.reads.get_execution("desk@1")
            return row is not None and row.state == "running" and row.engine == engine.engine_id

        await until(engine, sleeps)
        await engine.cancel("desk@1")
        result = await (await engine.session("desk")).execute("1 + 1")
        assert result.value == 2
    assert (tmp_path / LEDGER).read_text().splitlines() == ["exec:desk@1:charge:1 5"]
