"""Interrupt and resume; `--raise` (specs/session.md O8)."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

import durable
from tests.waiting import first_prompt, in_state, until
from tests.warm_python import PYTHON

HANGS = (
    "seen = []\nprint('up', flush=True)\nwhile not pathlib.Path(path).exists():\n    seen.append(1)\n    {}\nlen(seen)"
)
STUCK = {
    "a loop": "pass",
    "a sleep": "time.sleep(0.01)",
    "an await": "await asyncio.sleep(0.01)",
    "a lock": "threading.Lock().acquire() and lock.acquire(timeout=0.01)",
    "what swallows it": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
}


async def running(engine: durable.Engine, folder: Path, body: str) -> durable.Execution:
    """A cell that hangs in its third statement, until `folder / "go"` exists."""
    session = await engine.session("desk")
    await session.execute("import asyncio, pathlib, signal, threading, time\nlock = threading.Lock()\nlock.acquire()")
    inputs = {"path": str(folder / "go")}
    execution = await session.submit(HANGS.format(body), inputs=inputs, checkpoint="statement")
    async for _ in engine.follow(execution.id):
        break
    return execution


@pytest.mark.parametrize("where", STUCK)
async def test_interrupted_code_goes_on_before_the_statement_that_was_cut(tmp_path: Path, where: str) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        execution = await running(engine, tmp_path, STUCK[where])
        session = await engine.session("desk")
        behind = await session.submit("'next'")
        assert await engine.interrupt(execution.id)
        assert await execution.state() == "interrupted"
        assert not await engine.interrupt(execution.id)
        assert await behind.state() == "pending"
        (tmp_path / "go").touch()
        assert await engine.resume(execution.id)
        assert (await session.result(execution.id)).value == 0, "what the cut statement had done is still there"
        assert (await session.result(behind.id)).value == "next"
        assert (await execution.info()).note is None


async def test_the_command_line_interrupts_what_an_engine_elsewhere_runs(tmp_path: Path) -> None:
    store = str(tmp_path / "work.db")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        arguments = [PYTHON, "-m", "durable.cli", *words, "--store", store]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60)

    async with durable.open(store) as engine:
        execution = await running(engine, tmp_path, STUCK["a sleep"])
        done = await asyncio.to_thread(command, "interrupt", execution.id)
        assert done.returncode == 0, done.stderr
        live = await engine.live("desk")
        async with asyncio.timeout(10):
            while live.current is not None and live.current.runs:  # noqa: ASYNC110  # it has no events of its own
                await asyncio.sleep(0.005)
        again = await asyncio.to_thread(command, "interrupt", execution.id)
        assert (again.returncode, "it is interrupted" in again.stderr) == (6, True)
        (tmp_path / "go").touch()
        assert await engine.resume(execution.id)
        assert (await (await engine.session("desk")).result(execution.id)).value == 0
        unknown = await asyncio.to_thread(command, "interrupt", "nobody")
        assert unknown.returncode == 3


async def test_raise_lets_the_code_decide(tmp_path: Path) -> None:
    async with (
        durable.open(tmp_path / "work.db") as engine,
        durable.open(tmp_path / "work.db", serve=False) as elsewhere,
    ):
        session = await engine.session("desk")
        code = (
            "try:\n    print('up', flush=True)\n    while True: pass\nexcept KeyboardInterrupt:\n    x = 1\n'decided'"
        )
        execution = await session.submit(code)
        async for _ in engine.follow(execution.id):
            break
        assert await elsewhere.interrupt(execution.id, raises=True)
        result = await session.result(execution.id)
        assert result.value == "decided"
        assert not await engine.interrupt(execution.id, raises=True)
        assert (await session.execute("'alive'")).value == "alive"


async def test_a_waiting_cell_keeps_its_question_and_goes_on_only_when_resumed(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        execution = await session.submit("answer = input('Go?')\nanswer + '!'")
        prompt = await first_prompt(engine, "Go?")
        await in_state(engine, execution, "waiting")
        assert await session.interrupt()
        await engine.answer(prompt.id, "yes")
        assert await execution.state() == "interrupted"
        assert await engine.resume(execution.id)
        assert (await session.result(execution.id)).value == "yes!"
        assert not await session.interrupt()


@durable.function
async def sleeper(ctx: durable.Context) -> str:
    await ctx.sleep(3600)
    return "slept"


async def test_what_cannot_be_interrupted_says_so(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.NotFound):
            await engine.interrupt("nobody")
        session = await engine.session("desk")
        await session.execute("1")
        assert not await engine.interrupt("desk@1")
        execution = await engine.start(sleeper, id="sleeper")
        await in_state(engine, execution, "waiting")
        assert not await engine.interrupt("sleeper", raises=True)
        assert await engine.interrupt("sleeper")

        async def halted() -> bool:
            return await execution.state() == "interrupted"

        assert await until(engine, halted)


@pytest.mark.parametrize("swallows", [False, True])
async def test_unjournaled_code_is_stopped_when_its_caller_goes(tmp_path: Path, swallows: bool) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("import signal, time; x = 1")
        up = tmp_path / "up"
        os.mkfifo(up)
        code = f"import pathlib; y = 2; pathlib.Path({str(up)!r}).write_text('up')\nwhile True:\n    time.sleep(0.01)"
        if swallows:
            code = f"signal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}"
        caller = asyncio.create_task(session.execute(code, journal=False))
        assert await asyncio.to_thread(up.read_text) == "up"
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (await session.execute("x", journal=False)).value == 1
        there = (await session.execute("'y' in globals()")).value
        assert there == (not swallows), "what it did stays, where its worker did not have to be killed"


async def test_unjournaled_code_has_its_deadline(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("import time")
        code = "print('half', flush=True)\nwhile True: time.sleep(0.01)"
        result = await session.execute(code, journal=False, timeout=2)
        assert isinstance(result.error, durable.ExecutionTimedOut)
        assert result.stdout == "half\n"
        raised = await session.execute("raise TimeoutError('its own')", journal=False, timeout=60)
        assert "its own" in str(raised.error)
        assert (await session.execute("1 + 1")).value == 2
