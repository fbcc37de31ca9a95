"""The checker of histories finds what no store that does one thing at a time could have answered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.contract.job_histories import NEVER, UNKNOWN, step_job
from tests.contract.linearizability import Operation, check, linearizable, step_execution, step_session
from tests.warm_python import PYTHON

PENDING = ["pending", None]
DONE = ["resolved", "v"]


def op(kind: str, call: int, back: int, *, argument: Any = None, status: int = 200, answer: Any = None) -> Operation:
    return Operation(0, "exec:t", kind, argument, status, answer, call, back)


CREATED = op("promise.create", 0, 10, answer=PENDING)
TAKEN = op("task.acquire", 20, 30, argument=0, answer=1)

GOOD: dict[str, list[Operation]] = {
    "a look beside a settlement sees it or does not": [
        CREATED,
        op("promise.settle", 20, 90, argument=DONE, answer=DONE),
        op("promise.get", 30, 40, answer=PENDING),
        op("promise.get", 50, 60, answer=DONE),
    ],
    "of two at a time one acquires": [
        CREATED,
        op("task.acquire", 20, 60, argument=0, status=409),
        op("task.acquire", 20, 60, argument=0, answer=1),
    ],
    "a task that waits is due again when others settle": [
        CREATED,
        TAKEN,
        op("task.suspend", 40, 50, argument=1),
        op("task.acquire", 60, 70, argument=1, status=409),
        op("task.acquire", 80, 90, argument=1, answer=2),
    ],
}

BAD: dict[str, list[Operation]] = {
    "settled, and then not": [
        CREATED,
        op("promise.settle", 20, 90, argument=DONE, answer=DONE),
        op("promise.get", 30, 40, answer=DONE),
        op("promise.get", 50, 60, answer=PENDING),
    ],
    "acknowledged, and lost": [
        CREATED,
        op("promise.settle", 20, 30, argument=DONE, answer=DONE),
        op("promise.get", 40, 50, answer=PENDING),
    ],
    "acquired twice in one version": [CREATED, TAKEN, op("task.acquire", 25, 35, argument=0, answer=1)],
    "written after the lease was another's": [
        CREATED,
        TAKEN,
        op("task.release", 40, 50, argument=1),
        op("task.acquire", 60, 70, argument=1, answer=2),
        op("task.fence", 80, 90, argument=1),
    ],
    "settled twice": [
        CREATED,
        op("promise.settle", 20, 90, argument=DONE, answer=DONE),
        op("promise.settle", 20, 90, argument=["rejected", "w"], answer=["rejected", "w"]),
    ],
    "there, and then missing": [CREATED, op("promise.get", 20, 30, status=404)],
}


@pytest.mark.parametrize("name", GOOD)
def test_answers_of_one_store_have_an_order(name: str) -> None:
    assert linearizable(GOOD[name], step_execution)


@pytest.mark.parametrize("name", BAD)
def test_other_answers_have_none(name: str) -> None:
    assert not linearizable(BAD[name], step_execution)


def test_what_a_client_held_that_ended_is_due_again() -> None:
    history = [CREATED, TAKEN, op("task.fence", 40, 50, argument=1)]
    late = Operation(1, "exec:t", "task.fence", 1, 409, None, 60, 70)
    again = Operation(1, "exec:t", "task.acquire", 1, 200, 2, 80, 90)
    assert check({"exec:t": [*history, late, again]}) == []
    alive = op("promise.get", 100, 110, answer=PENDING)
    assert check({"exec:t": [*history, late, again, alive]}) == ["exec:t"]
    assert check({"exec:t": [*history, again, alive]}, lapses=True) == []


def test_epochs_and_numbers_of_a_session() -> None:
    opened = op("session.open", 0, 10, answer=1)
    given = op("session.give", 20, 30, argument=1)
    again = op("session.take", 40, 50, answer=2)
    cells = [op("cell.submit", 20, 60, answer=[n, None]) for n in (2, 1)]
    assert linearizable([opened, given, again, *cells], step_session)
    assert not linearizable([opened, again, op("session.take", 60, 70, answer=1)], step_session)
    assert not linearizable([opened, again, op("session.give", 60, 70, argument=1)], step_session)
    assert not linearizable([cells[0], cells[0]], step_session)
    late = op("cell.submit", 70, 80, answer=[1, None])
    assert not linearizable([op("cell.submit", 20, 60, answer=[2, None]), late], step_session)


# -- jobs of engines that are killed ----------------------------------------------------------------------------------

KILLED: dict[str, tuple[bool, list[Operation]]] = {
    "what was not answered was done": (
        True,
        [
            CREATED,
            op("task.acquire", 20, NEVER, argument=0, status=UNKNOWN),
            op("task.acquire", 40, 50, argument=1, answer=2),
        ],
    ),
    "or it was not": (
        True,
        [
            CREATED,
            op("task.acquire", 20, NEVER, argument=0, status=UNKNOWN),
            op("task.acquire", 40, 50, argument=0, answer=1),
        ],
    ),
    "a lease lapses, and the next engine has it": (
        True,
        [CREATED, TAKEN, op("task.acquire", 40, 50, argument=1, answer=2)],
    ),
    "written by one whose lease another has": (
        False,
        [
            CREATED,
            TAKEN,
            op("task.acquire", 40, 50, argument=1, answer=2),
            op("task.fulfill", 60, 70, argument=[*DONE, 1], answer=DONE),
        ],
    ),
    "settled by nobody": (False, [CREATED, TAKEN, op("promise.get", 40, 50, answer=DONE)]),
}


@pytest.mark.parametrize("name", KILLED)
def test_requests_of_killed_engines(name: str) -> None:
    fits, operations = KILLED[name]
    assert linearizable(operations, step_job) is fits


async def test_the_requests_of_an_engine_are_written_down(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, pathlib, durable\n"
        "from tests.contract import job_histories\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "job_histories.record(folder)\n"
        "@durable.function\n"
        "async def double(ctx, n): return await ctx.run(lambda: n * 2)\n"
        "async def main():\n"
        "    async with durable.open(folder / 'work.db') as engine:\n"
        "        assert await (await engine.start(double, 4, id='job-1')).result() == 8\n"
        "asyncio.run(main())\n"
        "count, wrong = job_histories.check(folder)\n"
        "assert count >= 4, count\n"
        "assert not wrong, wrong\n"
    )
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", code, str(tmp_path))
    assert await process.wait() == 0
