"""Names that a checkpoint could not bring back, made again by the executions that made them."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable
from tests.e2e.test_checkpoint_travel import cli


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


async def test_lost_names_are_made_again_and_nothing_else_changes(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("runs = 0\ndef squares(n): return (i * i for i in range(n))")
        await session.execute("runs += 1; g = squares(limit); print('once'); runs", inputs={"limit": 4})
        await session.execute("pair = (i for i in [next(g), 7])")
        await session.checkpoint("early")
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        failed = await session.execute("list(g)")
        assert "made by execution desk@2" in str(failed.error)
        assert "--recompute" in str(failed.error)
        report = await session.restore("early", recompute=True)
        assert dict(report.recomputed) == {"g": "desk@2", "pair": "desk@3"}
        assert report.lost == ()
        found = await session.execute("[list(g), list(pair), runs, limit, 'once' in str(In[-2])]")
        assert found.value == [[1, 4, 9], [0, 7], 1, 4, False]
        assert (await session.result("desk@2")).stdout == "once\n"
        newest = await engine.checkpoints_of("desk").show((await session.checkpoints())[-1].id)
        assert {entry.name: entry.execution for entry in newest.lost} == {"g": "desk@2", "pair": "desk@3"}


async def test_calls_get_recorded_answers_and_no_new_one_is_made(store: Path) -> None:
    made: list[int] = []

    @durable.capability(name="draw")
    async def draw(n: int) -> int:
        made.append(n)
        return n * 10

    async with durable.open(store, capabilities=[draw]) as engine:
        session = await engine.session("desk", grants=["draw"])
        await session.execute("first = True")
        await session.execute("drawn = await draw(1)\ng = (i for i in [drawn])\nif not first: await draw(2)")
        await session.execute("h = (i for i in [await draw(3)])\nfirst = False")
        await session.checkpoint("now")
    async with durable.open(store, capabilities=[draw]) as engine:
        session = await engine.session("desk")
        report = await session.restore("now", recompute=True)
        assert made == [1, 3]
        assert {name for name, _ in report.recomputed} == {"g", "h"}
        assert (await session.execute("[list(g), first]")).value == [[10], False]


async def test_what_cannot_be_made_again_stays_lost_and_says_why(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import os\nhere = os.getpid()")
        await session.execute("if os.getpid() != here: raise LookupError('another process')\ng = (i for i in [1])")
        await session.execute("if os.getpid() == here: h = (i for i in [2])")
        await session.execute("x = 1", journal=False)
        await session.checkpoint("now")
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        report = await session.restore("now", recompute=True)
        why = {entry.name: entry.reason for entry in report.lost}
        assert "run again, desk@2 raised LookupError: another process" in why["g"]
        assert "run again, desk@3 did not make it" in why["h"]
        assert report.recomputed == ()
        fork = await engine.fork("desk", "copy")
        await session.execute("g = (i for i in [3])")
        report = await fork.restore((await fork.checkpoints())[-1].id, recompute=True)
        assert "desk@2 raised LookupError" in {entry.name: entry.reason for entry in report.lost}["g"]


async def test_a_run_that_ends_the_worker_restores_nothing(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import os\nhere = os.getpid(); x = 1")
        await session.execute("g = (i for i in [1])\nif os.getpid() != here: os._exit(3)")
        await session.checkpoint("old")
        await session.execute("x = 2")
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        with pytest.raises(durable.WorkerDied):
            await session.restore("old", recompute=True)
        assert (await session.execute("x")).value == 2


async def test_a_checkpoint_runs_no_other_sessions_executions(store: Path) -> None:
    async with durable.open(store) as engine:
        desk = await engine.session("desk")
        await desk.execute("g = (i for i in [1])")
        await desk.checkpoint("now")
        await desk.export("now", store.with_name("one.durable"))
        other = await engine.import_checkpoint(store.with_name("one.durable"), "other")
        report = await other.restore((await other.checkpoints())[-1].id, recompute=True)
        assert report.lost[0].reason.endswith("desk@1 is no execution of this session")


async def test_the_command_line_recomputes(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("g = (i for i in [1, 2])")
        await session.checkpoint("one")
    done = cli(store, "checkpoint", "restore", "desk", "one", "--recompute")
    assert done.returncode == 0, done.stderr
    assert "made g by running desk@1 again" in done.stderr
