"""Checkpoints of real sessions: captured aside, killed, restored."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import durable
from durable.core.events import BackgroundFailed, Event

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


async def test_a_child_that_fails_at_the_end_of_a_cell_is_replaced_by_the_worker(store: Path) -> None:
    seen: list[Event] = []
    async with durable.open(store, observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute(
            "import os\nworker = os.getpid()\nclass Dies:\n    def __getstate__(self):\n        "
            "if os.getppid() == worker: os._exit(3)\n        return {'n': 5}"
        )
        result = await session.execute(
            BIG + "\nmuch = ['x' * 1_000 + str(n) for n in range(30_000)]; dies = Dies()\n'done'"
        )
        assert result.value == "done"
    assert any(isinstance(event, BackgroundFailed) and "capture of session desk" in event.what for event in seen)
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
