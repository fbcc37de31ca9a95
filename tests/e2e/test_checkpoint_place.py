"""A manifest that lies in another place than it was sealed for is refused (specs/checkpoint.md, C9)."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable
from tests.e2e.test_checkpoint_refused import change, made, resigned, value

MANIFEST = "SELECT manifest FROM checkpoints WHERE id=?"


async def _refused(path: Path, why: str) -> None:
    async with durable.open(path, durability="process") as engine:
        session = await engine.session("desk")
        with pytest.raises(durable.CheckpointTampered, match=why):
            await session.namespace("small")


async def test_the_manifest_of_another_session_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process") as engine:
        numbers = await made(engine)
        other = await engine.session("other")
        await other.execute("small = 'of another session'")
        theirs = await other.checkpoint("theirs")
    change(path, "UPDATE checkpoints SET manifest=? WHERE id=?", value(path, MANIFEST, theirs), numbers[-1])
    await _refused(path, "was sealed for session 'other', and lies in session 'desk'")


@pytest.mark.parametrize("renumbered", [False, True])
async def test_an_older_manifest_in_the_newest_row_is_refused(tmp_path: Path, renumbered: bool) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process") as engine:
        numbers = await made(engine)
    change(path, "UPDATE checkpoints SET manifest=? WHERE id=?", value(path, MANIFEST, numbers[0]), numbers[-1])
    why = "was sealed as number"
    if renumbered:
        number = value(path, "SELECT n FROM checkpoints WHERE id=?", numbers[0])
        change(path, "UPDATE checkpoints SET n=? WHERE id=?", number, numbers[-1])
        why = "lies after number"
    await _refused(path, why)


async def test_a_checkpoint_whose_predecessor_is_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process") as engine:
        await made(engine)
    before = value(path, "SELECT id FROM checkpoints WHERE session='desk' ORDER BY id DESC LIMIT 1 OFFSET 1")
    resigned(path, int(before), created_at_ms=1)
    await _refused(path, "the checkpoint before it is not the one")


async def test_checkpoints_that_are_dropped_between_others_leave_the_rest_good(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process") as engine:
        numbers = await made(engine)
        await (await engine.session("desk")).drop(numbers[1])
    async with durable.open(path, durability="process") as engine:
        assert await (await engine.session("desk")).namespace("small") == {"small": [2]}
