"""`durable.resumable`: a killed loop goes on at its iteration, with its state as of the last finished one."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from tests.e2e import loop_campaign

JOURNALS = """
import durable, os
def note(text):
    with open(journal, 'a') as file: file.write(text + '\\n')
def die_at(n, text=''):
    if n == 3 and not os.path.exists(journal + '.died'):
        open(journal + '.died', 'w').close()
        note('died')
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


async def run(store: Path, code: str, before: str = "") -> tuple[durable.Result, list[str]]:
    """Run a cell that kills its worker once, checkpointing at every boundary; the result, and the journal."""
    journal = store.parent / "journal"
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        first = await session.execute(JOURNALS + before, inputs={"journal": str(journal)})
        assert first.error is None
        result = await session.execute(code, checkpoint="statement")
        assert result.error is None, result.error
    return result, journal.read_text().split()


LOOPS = {
    "range": ("for item in durable.resumable(range(6)):", ""),
    "list": ("for item in durable.resumable(items):", "items = list(range(6))"),
    "generator": ("for item in durable.resumable(n for n in range(6)):", ""),
    "enumerate": ("for item, _ in durable.resumable(enumerate('abcdef')):", ""),
    "dict": ("for item in durable.resumable({n: n for n in range(6)}):", ""),
    "iterator variable": ("for item in durable.resumable(items):", "items = iter(range(6))"),
    "own variable": ("for item in items:", "items = durable.resumable(iter([0, 1, 2, 3, 4, 5]))"),
    "numpy": ("for item in durable.resumable(np.arange(6)):", "import numpy as np"),
    "asynchronous": (
        "async for item in durable.resumable(items()):",
        "import asyncio\nasync def items():\n    for n in range(6):\n        await asyncio.sleep(0)\n        yield n",
    ),
    "asynchronous over a range": ("async for item in durable.resumable(range(6)):", ""),
}


@pytest.mark.parametrize("kind", LOOPS)
async def test_each_finished_iteration_is_done_once(store: Path, kind: str) -> None:
    head, before = LOOPS[kind]
    body = f"total = 0\n{head}\n    total += int(item)\n    note(str(item))\n    die_at(item)\n"
    body += "else:\n    total *= 10\ntotal"
    result, journal = await run(store, body, before)
    assert journal == ["0", "1", "2", "3", "died", "3", "4", "5"]
    assert result.value == 150


@pytest.mark.parametrize("variable", [True, False])
async def test_files_by_line(store: Path, variable: bool) -> None:
    path = store.parent / "lines.txt"
    path.write_text("".join(f"{n}\n" for n in range(6)))
    opened = f"open({str(path)!r})"
    head = "for line in durable.resumable(lines):" if variable else f"for line in durable.resumable({opened}):"
    code = f"got = []\n{head}\n    got.append(int(line))\n    note(line.strip())\n    die_at(int(line))\ngot"
    result, journal = await run(store, code, f"lines = {opened}" if variable else "")
    assert result.value == [0, 1, 2, 3, 4, 5]
    assert journal == ["0", "1", "2", "3", "died", "3", "4", "5"]


async def test_output_is_neither_lost_nor_repeated(store: Path) -> None:
    code = "for n in durable.resumable(range(5)):\n    print('round', n)\n    die_at(n)\nprint('end')"
    result, _journal = await run(store, code)
    assert result.stdout == "".join(f"round {n}\n" for n in range(5)) + "end\n"


async def test_the_loop_inside_runs_again_in_the_iteration_in_flight(store: Path) -> None:
    code = """
rows = []
for n in durable.resumable(range(5)):
    row = []
    for m in durable.resumable(range(3)):
        row.append((n, m))
        note(f'{n}{m}')
    die_at(n)
    rows.append(row)
len(rows), sum(map(len, rows))
"""
    result, journal = await run(store, code)
    assert result.value == [5, 15]
    counts = Counter(journal)
    assert {entry for entry, count in counts.items() if count > 1} == {"30", "31", "32"}


async def test_a_break_and_an_empty_rest(store: Path) -> None:
    code = """
for n in durable.resumable(range(4)):
    note(str(n))
    die_at(n)
for n in durable.resumable(range(100)):
    if n == 2: break
n
"""
    result, journal = await run(store, code)
    assert journal == ["0", "1", "2", "3", "died", "3"]
    assert result.value == 2


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def f():\n    for n in durable.resumable(range(2)): pass\nf()", "top level of a cell"),
        ("[n for n in durable.resumable(range(2))]", "top level of a cell"),
        ("sum(durable.resumable(range(2)))", "top level of a cell"),
        ("for _ in range(1):\n    for n in durable.resumable(range(2)): pass", "top level of a cell"),
        ("for n in durable.resumable({'a', 'b'}): pass", "another order"),
    ],
)
async def test_what_cannot_be_resumed_says_so_and_runs(store: Path, code: str, why: str) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        result = await session.execute("import durable\n" + code)
        assert result.error is None
        assert "RuntimeWarning" in result.stderr
        assert why in result.stderr


def test_outside_a_session_it_iterates() -> None:
    assert list(durable.resumable([1, 2])) == [1, 2]
    assert list(durable.resumable({3})) == [3]
    with pytest.raises(TypeError, match="async for"):
        list(durable.resumable(_numbers()))


async def _numbers() -> AsyncIterator[int]:
    yield 1


async def test_outside_a_session_it_iterates_asynchronously() -> None:
    assert [n async for n in durable.resumable(_numbers())] == [1]


async def test_by_the_cost_rule_a_killed_loop_loses_little(store: Path) -> None:
    """Without checkpoint="statement": the state is consistent, and what was checkpointed is not done again."""
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        pid = (await session.execute("import os, time, durable\ndone = []\nos.getpid()")).value
        code = "for n in durable.resumable(range(60)):\n    time.sleep(0.01)\n    done.append(n)\n    print(n)\ndone"
        execution = await session.submit(code)
        async for event in engine.follow(execution.id):
            if isinstance(event, durable.OutputEvent) and "30\n" in event.data:
                os.kill(pid, signal.SIGKILL)
                break
        result = await session.result(execution.id)
        assert result.value == list(range(60))
        assert result.stdout.split() == [str(n) for n in range(60)]


async def test_a_loop_under_sigkill_in_short(tmp_path: Path) -> None:
    found = await loop_campaign.campaign(tmp_path, kills=2, seed=3, iterations=40)
    assert found["engine"] + found["worker"] == 2
