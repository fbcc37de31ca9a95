"""Executions that durable-exec 0.1 began go on, or halt and say what to do (specs/execution.md, Old records)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

import durable
from tests.replay.old_functions import concurrent, nested_old, performed, sequential
from tests.waiting import in_state


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    """A store as the version before wrote it: three executions, each waiting for a person."""
    path = tmp_path / "work.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name("old_store.sql").read_text(encoding="utf-8"))
        connection.executescript("PRAGMA application_id=1146442305; PRAGMA user_version=4; PRAGMA journal_mode=WAL;")
    path.chmod(0o600)
    performed.clear()
    assert {function.name for function in (sequential, nested_old, concurrent)}
    async with durable.open(path, durability="process") as engine:
        yield engine


async def answer(engine: durable.Engine, question: str, value: str) -> None:
    (prompt,) = [each for each in await engine.prompts() if each.question == question]
    await engine.answer(prompt.id, value)


async def test_what_did_one_thing_after_another_goes_on_and_is_recorded_anew_behind(engine: durable.Engine) -> None:
    await answer(engine, "last?", "yes")
    execution = await engine.get("sequential")
    assert await asyncio.wait_for(execution.result(), 30) == ["a", "late", "b", "yes", "c", "d", "e"]
    assert (performed[0], sorted(performed)) == ("c", ["c", "d", "e"])
    recorded = {each.id: each.tags for each in await engine.store.reads.children("sequential")}
    assert "durable:record" not in recorded["exec:sequential.1"]
    new = [recorded[f"exec:sequential.{n}"] for n in (4, 5, 6, 7)]
    assert [tags["durable:record"] for tags in new] == ["2"] * 4
    assert [tags["durable:ordinal"] for tags in new] == ["6", "7", "8", "9"]
    assert [tags["durable:after"] for tags in new[:3]] == ["5", "6", ""]
    assert new[3]["durable:after"] in ("7-8", "8 7")  # their threads end in any order


async def test_a_nested_function_goes_on_in_its_own_record(engine: durable.Engine) -> None:
    await answer(engine, "x?", "X")
    assert await asyncio.wait_for((await engine.get("nested")).result(), 30) == ["X", "y"]
    assert performed == ["y"]


async def test_branches_without_the_order_of_their_results_halt_and_say_what_to_do(engine: durable.Engine) -> None:
    await answer(engine, "go?", "now")
    execution = await engine.get("concurrent")
    await in_state(engine, execution, "interrupted")
    note = (await execution.info()).note or ""
    assert "before 0.2" in note
    assert "start it again under another id" in note
    assert performed == []
