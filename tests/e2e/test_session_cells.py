"""Cells: how they are stopped, what their results say, ids of their own, captures that fail (specs/session.md)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.events import Event, NotSaved, WorkerStarted
from durable.sessions.calls.session_policy import Permits
from durable.sessions.execution.cell import Pass
from tests.e2e.cli_process import Terminal
from tests.waiting import first_prompt, in_state, until

LOOP = """
import os
ended = []
print('begun', flush=True)
try:
    for n in iter(int, 1): pass
finally:
    ended.append('finally')
    print('cleaned up')
"""


async def begun(engine: durable.Engine, execution: durable.Execution) -> None:
    """Its code prints."""
    await until(engine, lambda: engine.store.reads.output(execution.id))


@pytest.mark.parametrize("how", ["cancel", "deadline", "quick deadline"])
async def test_code_that_is_stopped_runs_its_finally_and_the_session_goes_on(place: str, how: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        pid = (await session.execute("import os, threading\nlock = threading.Lock()\nos.getpid()")).value
        if how == "quick deadline":
            result = await session.execute(LOOP, journal=False, timeout=3)
        else:
            execution = await session.submit(LOOP, timeout=1 if how == "deadline" else None)
            await begun(engine, execution)
            if how == "cancel":
                await execution.cancel("enough")
            result = await session.result(execution.id)
        error = result.error
        assert isinstance(error, durable.ExecutionCancelled if how == "cancel" else durable.ExecutionTimedOut)
        assert result.stdout == "begun\ncleaned up\n"
        assert result.execution_time > 0.1
        assert "for n in iter(int, 1): pass" in error.traceback
        notes = "\n".join(error.__notes__)
        assert "mode simple_sync" in notes
        assert "import os ended = []" in notes
        assert ("limit" in notes) == (how != "cancel")
        after = await session.execute("[ended, os.getpid(), lock.locked()]")
        assert after.value == [["finally"], pid, False], "the same worker, with what no checkpoint holds"
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        assert (await session.execute("ended")).value == ["finally"], "what was left is saved"


async def test_code_that_waits_for_a_person_is_stopped_there(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        execution = await session.submit("told = []\ntry: input('?')\nfinally: told.append('bye')")
        await first_prompt(engine)
        await in_state(engine, execution, "waiting")
        await execution.cancel()
        assert isinstance((await session.result(execution.id)).error, durable.ExecutionCancelled)
        assert (await session.execute("told")).value == ["bye"]


async def test_code_that_ignores_two_interrupts_is_killed(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("kept = 1")
        deaf = (
            "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\nwhile True: pass"
        )
        execution = await session.submit(deaf)
        await begun(engine, execution)
        await execution.cancel()
        assert isinstance((await session.result(execution.id)).error, durable.ExecutionCancelled)
        assert (await session.execute("kept")).value == 1


async def test_failed_cells_have_their_time(place: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        assert (await session.execute("import time; time.sleep(0.02); 1 / 0")).execution_time >= 0.02
        assert (await session.execute("import time; time.sleep(0.02); 1 / 0", journal=False)).execution_time >= 0.02


async def test_a_cell_with_an_id_is_run_once(place: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        await session.execute("runs = 0")
        first = await session.execute("runs += 1\nruns", id="step-3")
        assert (first.id, first.value) == ("desk@step-3", 1)
        assert (await session.execute("runs += 1\nruns", id="step-3")).value == 1
        assert [e.id async for e in _stream(session)] == ["desk@step-3"]
        with pytest.raises(durable.Conflict, match=r"runs \+= 1.*runs \+= 2"):
            await session.execute("runs += 2\nruns", id="step-3")
        with pytest.raises(durable.InvalidId):
            await session.execute("1", id="7")
        with pytest.raises(durable.BadArguments):
            await session.execute("1", id="x", journal=False)
        assert (await session.execute("runs")).id == "desk@3"
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        assert (await session.execute("runs += 1\nruns", id="step-3")).value == 1
        assert (await session.execute("runs")).value == 1


async def _stream(session: durable.Session):  # type: ignore[no-untyped-def]
    async for event in session.stream("runs += 1\nruns", id="step-3"):
        if isinstance(event, durable.Result):
            yield event


@durable.function
async def reading(ctx: durable.Context) -> list[object]:
    said = await ctx.execute("print('hi'); import sys; print('no', file=sys.stderr)", session="inner")
    long = await ctx.execute("for i in range(20_000): print(i)", session="inner")
    bad = await ctx.execute("print('before'); 1 / 0", session="inner", check=False)
    return [said.stdout, said.stderr, long.stdout[-6:], long.printed_from, len(long.stdout), bad.stdout]


async def test_a_function_reads_what_its_cell_printed(place: str) -> None:
    async with durable.open(place) as engine:
        handle = await engine.start(reading, id="r1")
        total = sum(len(f"{i}\n") for i in range(20_000))
        expected = ["hi\n", "no\n", "19999\n"[-6:], total - 32 * 1024, 32 * 1024, "before\n"]
        assert await handle.result() == expected


BROKEN = {
    "descriptors used up": "import os, resource\nheld = []\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    "try:\n    while True: held.append(os.open('/dev/null', 0))\nexcept OSError: pass\nbig = b'x' * 3_000_000\n",
    "no sys.stderr": "import sys\ndel sys.stderr\n",
    "pickle is broken": "import pickle\npickle.dumps = None\nclass A: pass\na = A()\n",
    "the capture's own code": "import checkpoint.capture.incremental_capture as c\nc.survey_namespace = None\n",
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_capture_that_fails_settles_its_cell_and_says_so(tmp_path: Path, what: str) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        async with asyncio.timeout(60):
            result = await session.execute(f"{BROKEN[what]}x = 2\n'value'")
        assert result.value == "value"
        if what in ("no sys.stderr", "descriptors used up") and not result.not_saved:
            return  # it can be saved all the same
        assert result.not_saved
        assert [event.reason for event in seen if isinstance(event, NotSaved)] == [result.not_saved]
        assert (await session.execute("x", journal=False)).value == 2, "the session goes on"
        os.kill([event.pid for event in seen if isinstance(event, WorkerStarted)][-1], signal.SIGKILL)
        after = await session.execute("x")
        assert (after.value, after.not_saved) == (1, "")
        assert any("desk@2" in text and "not saved" in text for text in after.failures), after.failures
    async with durable.open(tmp_path / "w.db") as engine:
        again = await (await engine.session("desk")).result("desk@2")
        assert again.not_saved == result.not_saved


async def test_an_engine_that_is_killed_after_a_capture_failed_says_so_too(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        await session.execute(f"{BROKEN['pickle is broken']}x = 2")
        shown = await asyncio.to_thread(terminal.durable, "ps")
        assert "desk@2 was not saved: " in shown.out + shown.err
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        after = await (await engine.session("desk")).execute("x")
        assert after.value == 1
        assert any("desk@2" in text and "not saved" in text for text in after.failures), after.failures


async def test_a_restore_that_clears_begins_the_history_anew(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        await session.checkpoint("one")
        await session.execute("history = Out\n42")
        await session.restore("one", clear_existing=True)
        result = await session.execute("(_, list(Out), list(In), 'history' in globals(), x, Out is _oh, In is _ih)")
        code = "(_, list(Out), list(In), 'history' in globals(), x, Out is _oh, In is _ih)"
        assert result.value == [None, [], [code], False, 1, True, True]


async def test_imports_are_told_after_a_restore(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute("from math import pi, tau as t\nimport os.path as p, json\nfrom collections import deque")
        before = await session.sources()
        assert {"from math import pi", "from math import tau as t", "from collections import deque"} <= {
            *before.imports
        }
    async with durable.open(tmp_path / "w.db") as engine:
        assert await (await engine.session("desk")).sources() == before


async def test_input_reads_what_stands_in_the_place_of_stdin(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        code = "import sys, io\nsys.stdin = io.StringIO('7\\n8\\n')\n[input('n? '), input()]"
        result = await session.execute(code)
        assert (result.value, result.stdout) == (["7", "8"], "n? ")
        assert (await session.execute("input()")).error is not None
        execution = await session.submit("sys.stdin = sys.__stdin__\ninput('who? ')")
        await engine.answer((await first_prompt(engine)).id, "ada")
        assert (await session.result(execution.id)).value == "ada"


async def test_prints_of_reducers_during_captures_are_nobodys(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        code = (
            "class Loud:\n    def __reduce__(self):\n        print('reduced')\n        display(1)\n"
            "        return Loud, ()\n"
            "a = Loud()\nprint('mine')"
        )
        for journal in (True, False):
            result = await session.execute(code, journal=journal, transaction="rollback_always")
            assert (result.stdout, result.displays) == ("mine\n", ())
        first = await session.execute(code, checkpoint="auto")
        assert (first.stdout, first.displays) == ("mine\n", ())
        second = await session.execute("big = b'x' * 30_000_000\nprint('next')")
        assert (second.stdout, second.earlier) == ("next\n", "")


async def test_text_before_a_lone_carriage_return_is_kept(place: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        for journal in (True, False):
            result = await session.execute("print('abc\\rdef')\nprint('one\\r\\ntwo\\r')", journal=journal)
            assert result.stdout == "abc\rdef\none\r\ntwo\r\n"


async def test_code_that_asks_the_host_is_journaled_by_the_adapter(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        adapter = durable.MigrationAdapter(await engine.session("desk", grants=["kv"]))
        for code in ("kv.set('x', 1)", "kv.get('x')", "v = [kv.get(k) for k in 'x']", "ask('who?')", "input()"):
            assert adapter.journals(code), code
        for code in ("1 + 1", "d = {}\nd.get('x')", "key = 'kv.get'"):
            assert not adapter.journals(code), code


async def test_a_cell_that_is_cancelled_while_its_worker_is_made_ready_never_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()
    functions, stop = Permits.new_functions, Pass.stop

    async def slow(permits: Permits, called: Collection[str] = ()) -> list[str | dict[str, Any]] | None:
        found = await functions(permits, called)
        if not asked.is_set():
            asked.set()
            await stopped.wait()
        return found

    def noted(found: Pass) -> None:
        stop(found)
        stopped.set()

    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("begun = []")
        monkeypatch.setattr(Permits, "new_functions", slow)
        monkeypatch.setattr(Pass, "stop", noted)
        first = await session.submit("begun.append(1)")
        await asked.wait()
        await first.cancel()
        assert (await session.execute("begun")).value == []
