"""A program that fails before it closes its engine: it ends, and leaves what a kill would leave."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import durable

JOB = """
import asyncio, pathlib, sys, time
import durable

GO = pathlib.Path(__file__).with_name("go")

def blocks() -> str:
    pathlib.Path(GO).with_name("begun").touch()
    while not GO.exists():
        time.sleep(0.01)
    return "ended"

async def awaits() -> str:
    pathlib.Path(GO).with_name("begun").touch()
    while not GO.exists():
        await asyncio.sleep(0.01)
    return "ended"

@durable.function(name="job")
async def job(ctx: durable.Context, how: str) -> str:
    if how == "question":
        return str(await ctx.ask("On?"))
    return await ctx.run(blocks if how == "thread" else awaits)

async def fails(store: str, how: str, end: str) -> None:
    engine = await durable.open(store).open()
    begun = GO.with_name("begun")
    if how == "cell":
        session = await engine.session("desk")
        code = f"import pathlib, time\\nx = 'ended'\\npathlib.Path({str(begun)!r}).touch()\\n"
        code += f"while not pathlib.Path({str(GO)!r}).exists():\\n    time.sleep(0.01)\\nx"
        await session.submit(code)
    elif how != "nothing":
        await engine.start(job, how, id="job")
        if how == "question":
            while (change := engine.changed()) and not await engine.prompts():
                await change
            begun.touch()
    while how != "nothing" and not begun.exists():
        await asyncio.sleep(0.01)
    match end:
        case "exit":
            sys.exit(1)
        case "error":
            raise RuntimeError("boom")

if __name__ == "__main__":
    asyncio.run(fails(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("nothing", "error"), ("nothing", "return"), ("question", "exit"), ("thread", "error"), ("thread", "exit"),
        ("task", "error"), ("cell", "error"),
    ],
)  # fmt: skip
def test_a_program_that_does_not_close_its_engine_ends(tmp_path: Path, how: str, end: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(JOB)
    store = tmp_path / "work.db"
    command = [sys.executable, str(program), str(store), how, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (0 if end == "return" else 1), done.stderr
    assert ("RuntimeError: boom" in done.stderr) == (end == "error")
    if how == "nothing":
        return
    (tmp_path / "go").touch()
    resume = [sys.executable, "-m", "durable.cli", "--store", str(store)]
    if how == "question":
        resume += ["answer", "exec:job:input:1", "ended"]
    else:
        resume += ["resume", "desk@1" if how == "cell" else "job"]
    goes_on = subprocess.run(resume, capture_output=True, text=True, timeout=120, check=False)
    assert (goes_on.returncode, goes_on.stdout.strip()) == (0, "ended"), goes_on.stderr


async def test_an_open_that_is_cancelled_closes_what_it_had_opened(tmp_path: Path) -> None:
    engine = durable.open(tmp_path / "work.db")

    async def cancelled(*_: object) -> None:
        raise TimeoutError

    engine.serve = cancelled  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await engine.open()
    with pytest.raises(durable.EngineClosed):
        await engine.store.request("engine.list", {})
