"""Checkpoints of real sessions: captured aside, killed, restored."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

import pytest

import durable
from durable.core.events import BackgroundFailed, Event
from tests.e2e.isolated import need

BIG = "import numpy as np\nbig = np.arange(2_000_000.0)\nsmall = {'k': [1]}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


async def test_a_large_namespace_captured_aside_comes_back_after_a_kill(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        assert (await session.execute(BIG)).error is None
        assert (await session.execute("big[7] = -1; small['k'].append(2); len(small)")).value == 1
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        result = await session.execute("[float(big[7]), float(big[-1]), small['k']]")
        assert result.value == [-1.0, 1_999_999.0, [1, 2]]


async def test_a_child_that_captured_does_not_stay_as_a_zombie(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import os, random\nworker = os.getpid()\nbig = random.Random(1).randbytes(20_000_000)")
        worker = (await session.execute("big = big[1:]\nworker")).value  # so large that a child captures it
        assert await session.namespace("worker") == {"worker": worker}  # asked after it heard that all was stored
        children = [path.read_text() for path in Path(f"/proc/{worker}/task").glob("*/children")]
        assert children
        assert not any(children)


async def test_a_child_that_fails_at_the_end_of_a_cell_is_replaced_by_the_worker(store: Path) -> None:
    seen: list[Event] = []
    deadly = store.with_name("deadly")  # while it is there: in the next worker, whose number is another, nothing dies
    deadly.touch()
    async with durable.open(store, observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute(
            "import os\nworker = os.getpid()\nclass Dies:\n    def __getstate__(self):\n        "
            f"if os.getpid() != worker and os.path.exists({str(deadly)!r}): os._exit(3)\n        return {{'n': 5}}"
        )
        result = await session.execute(
            BIG + "\nmuch = ['x' * 1_000 + str(n) for n in range(30_000)]; dies = Dies()\n'done'"
        )
        assert result.value == "done"
    assert any(isinstance(event, BackgroundFailed) and "capture of session desk" in event.what for event in seen)
    deadly.unlink()
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        assert (await session.execute("[dies.n, len(much), float(big[3])]")).value == [5, 30_000, 3.0]


async def test_killed_while_a_child_captures_it_goes_on_from_a_whole_checkpoint(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute(BIG)
        pid = (await session.execute("import os\nos.getpid()")).value
        execution = await session.submit("big += 1\nsmall['k'].append(2)\nbig += 1\nprint('two')\nfloat(big[0])")
        os.kill(pid, signal.SIGKILL)
        assert (await execution.result())["value"] == 2.0
        assert (await session.execute("[small['k'], float(big[1])]")).value == [[1, 2], 3.0]


async def test_a_large_namespace_is_saved_on_demand_while_its_child_still_hashes(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute(BIG, journal=False)
        first = await session.checkpoint()
        assert await session.checkpoint() == first, "nothing changed"
        await session.execute("big[:] = 7; small['k'].append(2)", journal=False)
        assert await session.checkpoint("sevens") > first
        await session.execute("big[:] = 0; small.clear()", journal=False)
        await session.restore("sevens")
        assert (await session.execute("[float(big.min()), float(big.max()), small]")).value == [7.0, 7.0, {"k": [1, 2]}]


async def test_a_save_on_demand_whose_child_is_killed_is_made_by_the_worker(store: Path) -> None:
    seen: list[Event] = []
    async with durable.open(store, observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute(
            "import os, checkpoint.capture.incremental_capture as capture\n"
            "worker, digest = os.getpid(), capture.chunk_digest\n"
            "def dies(data):\n    if os.getpid() != worker and len(data) > 2**19: os.kill(os.getpid(), 9)\n"
            "    return digest(data)\ncapture.chunk_digest = dies\n" + BIG,
            journal=False,
        )
        await session.checkpoint("all")
        assert [event for event in seen if isinstance(event, BackgroundFailed) and "ended before" in event.error]
        await session.execute("del big", journal=False)
        await session.restore("all")
        assert (await session.execute("float(big[3])")).value == 3.0


async def test_chunks_that_cannot_be_kept_are_a_save_that_is_refused_and_nothing_is_lost(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import numpy as np; big = np.random.default_rng(0).random(500_000)", journal=False)
        blobs = Path(f"{store}.d") / "blobs"
        blobs.parent.mkdir(exist_ok=True)
        blobs.write_text("in the way")
        with pytest.raises(durable.CheckpointError, match="blobs cannot be written"):
            await session.checkpoint("early")
        blobs.unlink()
        await session.checkpoint("late")
        await session.execute("kept, big = big.copy(), None", journal=False)
        await session.restore("late")
        assert (await session.execute("bool((kept == big).all())")).value is True


@pytest.mark.parametrize("profile", ["open", "isolated"])
async def test_a_large_namespace_comes_back_in_a_new_worker_and_is_not_hashed_again(
    store: Path, profile: Literal["open", "isolated"]
) -> None:
    if profile == "isolated":
        need("profile isolated")
    async with durable.open(store) as engine:
        session = await engine.session("desk", profile=profile)
        await session.execute(BIG)
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        result = await session.execute("[float(big[3]), float(big.sum()), small]", journal=False)
        assert result.value == [3.0, 1_999_999_000_000.0, {"k": [1]}]
        code = """
import checkpoint.capture.incremental_capture as capture
digest, hashed = capture.chunk_digest, []
def counted(data):
    hashed.append(len(data))
    return digest(data)
capture.chunk_digest = counted
"""
        await session.execute(code, journal=False)
        await session.checkpoint("again")
        tracks = "__import__('checkpoint.capture.buffer_digests', fromlist=['*']).Buffers().tracks"
        assert (await session.execute(f"not {tracks} or max(hashed, default=0) < 2**18", journal=False)).value is True


async def test_what_polars_pickles_by_its_threads_is_not_left_to_a_child(tmp_path: Path) -> None:
    """A forked child has none of them, and would wait for ever."""
    failed: list[Event] = []

    def observe(event: Event) -> None:
        if isinstance(event, BackgroundFailed):
            failed.append(event)

    async with durable.open(tmp_path / "work.db", observer=observe) as engine:
        session = await engine.session("desk")
        for code in (
            "import polars as pl; df = pl.DataFrame({'a': [1, 2, 3]})",
            "df.select(pl.col('a').sum())",
            "x = df.lazy().filter(pl.col('a') > 1).collect()",
        ):
            (await session.execute(code)).unwrap()
        assert (await session.execute("x.to_dicts()")).value == [{"a": 2}, {"a": 3}]
    assert failed == []
