"""When a session is saved: where code asks, before calls that say so, every so often, not when nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import durable
from durable import Keep
from tests.e2e.test_checkpoint_travel import cli


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


async def test_code_asks_to_be_saved(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        result = await session.execute(
            "import durable\nx = 1\nfor n in range(3): durable.checkpoint(f'at {n}'); x += 1\nx = 10\n"
            "durable.checkpoint(); x = 11; durable.checkpoint('end')"
        )
        assert result.error is None
        found = {info.label: info for info in await session.checkpoints() if info.label}
        assert found.keys() == {"at 2", "end"}
        assert (found["at 2"].statement, found["at 2"].final) == (3, False)
        assert found["end"].final
        await session.restore("at 2")
        assert (await session.execute("x")).value == 4
        refused = await session.execute("durable.checkpoint()", journal=False)
        assert "journal=False" in str(refused.error)
        assert "a label is" in str((await session.execute("durable.checkpoint('')")).error)
    with pytest.raises(RuntimeError, match="there is none here"):
        durable.checkpoint()


async def test_each_iteration_of_a_resumable_loop_can_ask(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import durable\nfor n in durable.resumable(range(3)): x = n; durable.checkpoint(str(n))")
        labels = [info.label for info in await session.checkpoints() if info.label]
        assert labels == ["0", "1", "2"]
        await session.restore("1")
        assert (await session.execute("x")).value == 1
        first = (await session.checkpoints())[0]
        await session.label(first.id, str(first.id + 1))
    shown = json.loads(cli(store, "--json", "checkpoint", "show", "desk", str(first.id + 1)).stdout)
    assert shown["info"]["id"] == first.id + 1, "what reads as a number is one, whatever labels code gives"


async def test_a_session_is_saved_before_a_call_that_says_so(store: Path) -> None:
    seen: list[tuple[int, str]] = []

    async def risky() -> None:
        newest = (await engine.checkpoints_of("desk").listing())[-1]
        seen.append((newest.statement, newest.execution))

    # Otherwise none of these would be saved: nothing was called, and the rule asks for an hour.
    code = "a = 1\nb = 2\ndef inner(): return risky()\ndef outer(): return inner()\n{}\nd = 4"
    saves = durable.capability(risky, checkpoint_before=True)
    async with durable.open(store, capabilities=[saves]) as engine:
        session = await engine.session("desk", grants=["risky"])
        for number, call in enumerate(("risky()", "c = outer()", "[risky() for _ in range(2)]"), 1):
            result = await session.execute(code.format(call), checkpoint=3_600.0)
            assert result.error is None
            assert set(seen) == {(4, f"desk@{number}")}
            seen.clear()


async def test_every_so_many_seconds_of_work(store: Path) -> None:
    code = "x = 1\nfor i in range(500_000): pass\ny = 2\nz = 3"
    async with durable.open(store, keep=Keep(last=50)) as engine:
        session = await engine.session("desk")
        assert (await session.execute(code, checkpoint=3_600)).error is None
        assert [info.statement for info in await session.checkpoints() if not info.final] == []
        assert (await session.execute(code, checkpoint=1e-9)).error is None
        within = [info.statement for info in await session.checkpoints() if not info.final]
        assert within == [1, 2, 3]
        with pytest.raises(durable.BadArguments):
            await session.execute(code, checkpoint=0)


async def test_nothing_is_stored_when_nothing_changed(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("x = [1]")
        first = await session.checkpoint()
        assert await session.checkpoint() == first
        assert await session.checkpoint("good") == first
        assert await session.checkpoint("good") == first
        assert await session.checkpoint() == first
        assert [(info.id, info.label) for info in await session.checkpoints()][-1] == (first, "good")
        again = await session.checkpoint("better")
        assert again != first
        await session.execute("x.append(2)", journal=False)
        changed = await session.checkpoint()
        assert changed > again
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        assert (await session.execute("x")).value == [1, 2]
