"""An engine that stands still keeps what it runs: each step once, its result recorded (specs/store.md, Leases)."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from durable.core.clock import now_ms
from durable.core.events import Event, ResultDiscarded
from tests.contract.served import TOKEN, served
from tests.warm_python import PYTHON

LEASE_MS = 400
BLOCKED_S = 4 * LEASE_MS / 1000


class Program:
    """`leases_program` in a process of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return (await self._process.stdout.readline()).decode().strip()

    async def rest(self) -> list[str]:
        """All that it says to its end, which has to be a good one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            said = (await self._process.stdout.read()).decode().splitlines()
            assert await self._process.wait() == 0
        return said

    async def ended(self) -> list[str]:
        """What a program that only served has said until it is killed now."""
        self._process.kill()
        assert self._process.stdout is not None
        said = (await self._process.stdout.read()).decode().splitlines()
        await self._process.wait()
        return said


@asynccontextmanager
async def program(store: str | Path, name: str, seconds: float = BLOCKED_S) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-m", "tests.e2e.leases_program", str(store), name, str(LEASE_MS), str(seconds)),
        stdout=PIPE,
        env={**os.environ, "DURABLE_TOKEN": TOKEN},
    )
    found = Program(process)
    try:
        assert await found.line() == "ready"
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is true. What is waited for here comes with time alone."""
    async with asyncio.timeout(60):
        while not await look():  # noqa: ASYNC110 - nobody tells of time
            await asyncio.sleep(0.02)


def lapsed(path: Path) -> Callable[[], Awaitable[bool]]:
    """Whether the lease of the job ran out two leases ago: every engine on the file has seen that."""

    async def look() -> bool:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
            row = file.execute("SELECT lease_at FROM tasks WHERE id='exec:job' AND state='acquired'").fetchone()
        assert row is not None, "nobody took it"
        return bool(row[0] + 2 * LEASE_MS < now_ms())

    return look


async def finished(engine: Program, *idle: Program) -> list[str]:
    """All that is said from now on; which of several engines goes on after the sleep is theirs to choose."""
    said = await engine.rest()
    assert said[-2] == "result 14"
    assert said[-1] in ("starts 1 attempts 0", "starts 2 attempts 0")  # where its sleep was over at once, or not
    others = [line for each in idle for line in await each.ended()]
    assert [*said, *others].count("after") == 1
    return [line for line in [*said[:-2], *others] if line != "after"]


@pytest.mark.parametrize("others", [0, 1])
async def test_a_step_that_blocks_the_loop_for_longer_than_the_lease_runs_once(tmp_path: Path, others: int) -> None:
    async with AsyncExitStack() as stack:
        path = tmp_path / "work.db"
        idle = [await stack.enter_async_context(program(path, "serves")) for _ in range(others)]
        engine = await stack.enter_async_context(program(path, "blocks"))
        assert await finished(engine, *idle) == ["begin", "end"]


async def test_an_engine_that_is_stopped_for_longer_than_the_lease_keeps_its_step(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with program(path, "serves") as idle, program(path, "blocks", 0.2) as blocking:
        assert await blocking.line() == "begin"
        blocking.signal(signal.SIGSTOP)
        await until(lapsed(path))
        blocking.signal(signal.SIGCONT)
        assert await finished(blocking, idle) == ["end"]


async def test_a_step_of_an_engine_that_is_killed_while_it_is_stopped_is_run_by_another(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with program(path, "serves", 0) as second, program(path, "blocks", 60) as first:
        if await first.line() == "begin":
            first.signal(signal.SIGSTOP)
            await until(lapsed(path))
            assert await first.ended() == []
        assert [await second.line() for _ in range(3)] == ["begin", "end", "after"]


@pytest.mark.parametrize("jump", [signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.parametrize("others", [0, 1])
async def test_a_clock_that_is_set_a_day_ahead_or_back_ends_no_lease(
    tmp_path: Path, jump: signal.Signals, others: int
) -> None:
    """The others' clock too, as on one machine. What comes after the step, a sleep too, does not wait for a day."""
    path = tmp_path / "work.db"
    said = "clock +1" if jump == signal.SIGUSR1 else "clock -1"
    async with AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(program(path, "serves")) for _ in range(others)]
        engine = await stack.enter_async_context(program(path, "blocks"))
        assert await engine.line() == "begin"
        for each in (*idle, engine):
            each.signal(jump)
            assert await each.line() == said
        assert await finished(engine, *idle) == ["end"]


@pytest.mark.parametrize("others", [0, 1])
async def test_a_blocked_loop_does_not_stop_the_heartbeats_to_a_store_elsewhere(tmp_path: Path, others: int) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served(tmp_path / "work.db", lease_s=LEASE_MS / 1000))
        idle = [await stack.enter_async_context(program(server.url, "serves")) for _ in range(others)]
        engine = await stack.enter_async_context(program(server.url, "blocks"))
        assert await finished(engine, *idle) == ["begin", "end"]


async def test_an_engine_elsewhere_that_was_stopped_goes_on_where_nobody_took_over(tmp_path: Path) -> None:
    async with served(tmp_path / "work.db") as server, program(server.url, "blocks", 0.2) as engine:
        assert await engine.line() == "begin"
        engine.signal(signal.SIGSTOP)

        async def pending() -> bool:
            return (await server.store.request("task.get", {"id": "exec:job"})).data["task"]["state"] == "pending"

        await until(pending)
        engine.signal(signal.SIGCONT)
        assert await finished(engine) == ["end"]


async def test_a_result_that_an_engine_elsewhere_lost_its_lease_for_is_told_and_shown(tmp_path: Path) -> None:
    lost: asyncio.Queue[ResultDiscarded] = asyncio.Queue()

    def observe(event: Event) -> None:
        if isinstance(event, ResultDiscarded):
            lost.put_nowait(event)

    path = tmp_path / "work.db"
    async with served(path, observer=observe) as server, program(server.url, "blocks", 0.2) as engine:
        assert await engine.line() == "begin"
        engine.signal(signal.SIGSTOP)
        async with program(server.url, "serves", 0) as other:
            assert [await other.line() for _ in range(3)] == ["begin", "end", "after"]
            engine.signal(signal.SIGCONT)
            assert await engine.line() == "end"
            event = await asyncio.wait_for(lost.get(), 30)
            assert (event.execution, event.step) == ("job", "exec:job.1")
            assert (await engine.rest())[0] == "result 14"
        shown = await asyncio.create_subprocess_exec(
            *(PYTHON, "-m", "durable.cli", "--store", server.url, "show", "job"),
            stdout=PIPE,
            env={**os.environ, "DURABLE_TOKEN": TOKEN},
        )
        text = (await shown.communicate())[0].decode()
        assert "the result of job.1 was thrown away, another engine had the execution by then" in text


async def test_a_program_that_left_its_loop_without_closing_its_engine_holds_nothing(tmp_path: Path) -> None:
    """Its process lives, and so does its lock; its loop is gone."""
    code = f"""
import asyncio, os, sys
sys.argv[1:] = ["{tmp_path / "work.db"}", "blocks", "{LEASE_MS}", "0"]
from tests.e2e import leases_program as program

runs = []
async def step():
    runs.append(1)
    print("begin", flush=True)
    if len(runs) == 1:
        await asyncio.Event().wait()
    return 1

@program.durable.function(name="left")
async def left(ctx):
    return await ctx.run(step)

async def first():
    engine = await program.durable.open(sys.argv[1]).open()
    await engine.start(left, id="left")
    while not runs:
        await asyncio.sleep(0.01)

async def second():
    async with program.durable.open(sys.argv[1]) as engine:
        print(await (await engine.get("left")).result(30), flush=True)

loop = asyncio.new_event_loop()
loop.run_until_complete(first())
loop.close()
asyncio.run(second())
os._exit(0)  # how it ends is another matter
"""
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", code, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(60):
        said, errors = await process.communicate()
    assert said.decode().split() == ["begin", "begin", "1"], errors.decode()
