"""Confined sessions as sessions: made, refused, limited, crashed and resumed (specs/isolation.md L1-L5, I3, I4)."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from pathlib import Path

import pytest

import durable
from tests.e2e.isolated import need

MEMORY = 256 * 2**20


@durable.function
async def careful(ctx: durable.Context, session: str) -> str:
    try:
        await ctx.execute("b = bytearray(2**30)", session=session)
    except durable.ResourceExceeded as error:
        return f"{error.resource} {int(error.limit)}"
    return "nothing was exceeded"


async def test_an_isolated_session_survives_its_worker(tmp_path: Path) -> None:
    need("profile isolated")
    async with durable.open(tmp_path / "work.db") as engine:
        box = await engine.session("box", profile="isolated")
        found = await box.execute("import os\nx = 41\nopen('kept', 'w').write('kept')\nos.getpid()")
        os.kill(found.value, signal.SIGKILL)
        assert (await box.execute("x + 1, open('kept').read(), os.getcwd()")).value == [42, "kept", "/session"]
    async with durable.open(tmp_path / "work.db") as engine:
        again = await engine.session("box")  # what it was made with counts
        assert (await again.execute("x + 1, open('kept').read()")).value == [42, "kept"]
        assert (await again.execute("open('/etc/passwd')")).error is not None


async def test_a_session_keeps_its_profile_and_limits(tmp_path: Path) -> None:
    need("profile isolated")
    async with durable.open(tmp_path / "work.db") as engine:
        await engine.session("box", profile="isolated", limits=durable.Limits(wall=9))
        await engine.session("loose")
        for name, profile, limits in (
            ("box", "open", None),
            ("box", "isolated", durable.Limits(wall=10)),
            ("loose", "isolated", None),
            ("loose", None, durable.Limits(wall=9)),
        ):
            with pytest.raises(durable.Conflict, match="close it to make it anew"):
                await engine.session(name, profile=profile, limits=limits)  # type: ignore[arg-type]


async def test_what_cannot_be_had_is_refused_and_makes_no_session(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.Unenforceable, match="isolated"):
            await engine.session("box", limits=durable.Limits(disk=2**20))
        with pytest.raises(durable.BadArguments, match="no profile 'jail'"):
            await engine.session("box", profile="jail")  # type: ignore[arg-type]
        if os.getuid() == 0:
            with pytest.raises(durable.Unenforceable, match="the user 0"):
                await engine.session("box", limits=durable.Limits(processes=8))
        assert await engine.store.reads.sessions() == []


async def test_a_checkpoint_of_an_isolated_session_does_not_get_out(tmp_path: Path) -> None:
    need("profile isolated")
    path = tmp_path / "work.db"
    async with durable.open(path) as engine:
        await (await engine.session("box", profile="isolated")).execute("x = 1")
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE sessions SET options = ?", ('{"grants": ["input"]}',))
    connection.close()
    async with durable.open(path) as engine:
        with pytest.raises(durable.CheckpointError, match="is not restored into an 'open' one"):
            await (await engine.session("box")).execute("x", journal=False)


async def test_other_sessions_answer_while_one_is_at_its_limits(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        bomb = await engine.session("bomb", limits=durable.Limits(cpu=1, output=2**20))
        other = await engine.session("other")
        await other.execute("n = 0")
        burning = await bomb.submit("while True: pass")
        for expected in range(1, 21):
            assert (await other.execute("n += 1; n")).value == expected
        with pytest.raises(durable.ResourceExceeded) as caught:
            await burning.result()
        assert (caught.value.resource, caught.value.limit) == ("cpu", 1)
        flood = await bomb.execute("while True: print('x' * 1000)")
        assert isinstance(flood.error, durable.ResourceExceeded)
        assert flood.error.resource == "output"
        assert (await bomb.execute("1 + 1")).value == 2


async def test_it_is_a_failure_that_is_not_tried_again(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        box = await engine.session("box", limits=durable.Limits(wall=0.3))
        (tmp_path / "runs").write_text("")
        code = f"import time\nopen({str(tmp_path / 'runs')!r}, 'a').write('x')\ntime.sleep(60)"
        result = await box.execute(code)
        assert isinstance(result.error, durable.ResourceExceeded)
        assert result.error.resource == "wall"
        assert "wall" in str(result.error)
        assert (tmp_path / "runs").read_text() == "x"
        quick = await box.execute("import time; time.sleep(60)", journal=False)
        assert isinstance(quick.error, durable.ResourceExceeded)


async def test_functions_can_catch_it(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        await engine.session("box", limits=durable.Limits(memory=MEMORY))
        execution = await engine.start(careful, "box", id="careful")
        assert await execution.result() == f"memory {MEMORY}"


async def test_variables_that_cannot_be_saved_within_the_limit(tmp_path: Path) -> None:
    need("limits of processes and disk (isolated)")
    async with durable.open(tmp_path / "work.db") as engine:
        box = await engine.session("box", profile="isolated", limits=durable.Limits(memory=MEMORY, processes=1))
        await box.execute("x = 1")
        full = (  # no child is left to capture in, so the capture needs a second copy here
            "import numpy, threading, time\n"
            "try:\n    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
            "except RuntimeError: pass\n"
            "b = numpy.ones(130 * 2**20, 'u1')"
        )
        async with asyncio.timeout(60):
            result = await box.execute(full)
        assert isinstance(result.error, durable.ResourceExceeded), result
        assert result.error.resource == "memory"
        assert (await box.execute("x, 'b' in globals()")).value == [1, False]  # restored to what was saved last
