"""A JavaScript session is a session: executions, questions, output, interrupts, checkpoints (specs/javascript.md)."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.sandbox.limits import MIB
from durable.sessions.ownership.javascript_image import Images
from tests.e2e import javascript_killed
from tests.e2e.isolated import need
from tests.e2e.sandboxed import LEDGER
from tests.waiting import in_state
from tests.warm_python import PYTHON

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("cached")


async def question(engine: durable.Engine) -> Any:
    while True:
        changed = engine.changed()
        found = await engine.prompts()
        if found:
            return found[0]
        await changed


async def test_state_calls_and_questions(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript", grants=["kv"])
        first = await session.execute("let n = x; console.log('hi', n); n + 1", inputs={"x": 41})
        assert (first.id, first.value, first.stdout) == ("js@1", 42, "hi 41\n")
        failed = await session.execute("function f() { throw new TypeError('deep') }\nf()")
        assert failed.error is not None
        assert "TypeError: deep" in str(failed.error)
        assert isinstance(failed.error, durable.ScriptError)
        assert failed.error.traceback.split(" (")[0] == "TypeError: deep\n    at f"
        assert "cell.py" not in failed.error.traceback  # the script's own stack, none of ours
        assert (await session.execute("kv.set('a', [n]); kv.get('a')")).value == [41]
        asking = await session.submit("const name = input('who? '); name + '!'")
        prompt = await question(engine)
        assert (prompt.id, prompt.question) == ("exec:js@4:input:1", "who?")
        await engine.answer(prompt.id, "ana")
        assert (await asking.result())["value"] == "ana!"
        with pytest.raises(durable.Conflict, match="exists in javascript"):
            await engine.session("js", language="python")


SHOWN = {
    "1 + 1": (2, "2"),
    "let n = 1": (None, ""),
    "null": (None, "null"),
    "n === 1": (True, "true"),
    "'a\\'b'": ("a'b", '"a\'b"'),
    "({a: 1, 'b-c': [true, undefined]})": ({"a": 1, "b-c": [True, None]}, '{ a: 1, "b-c": [ true, undefined ] }'),
    "function f() {}; f": (None, "[Function: f]"),
    "-0": (0.0, "-0"),
    "0 / 0": (None, "NaN"),
    "10n ** 20n": (None, "100000000000000000000n"),
    "new Map([[1, {}]])": (None, "Map { 1 => {} }"),
    "new Set([1])": ([1], "Set { 1 }"),
    "new Uint8Array([1, 2])": (None, "Uint8Array [ 1, 2 ]"),
    "new Date(0)": (None, "1970-01-01T00:00:00.000Z"),
    "new Date(NaN)": (None, "Invalid Date"),
    "class Point { x = 1 }; new Point()": ({"x": 1}, "Point { x: 1 }"),
    "Symbol('s')": (None, "Symbol(s)"),
    "/x/g": (None, "/x/g"),
    "const loop = []; loop.push(loop); loop": (None, "[ [ [ [ […] ] ] ] ]"),
    "let reads = 0; ({ get a() { if (reads++) throw 1; return 2 } })": ({"a": 2}, "[…]"),
}


async def test_values_are_shown_as_javascript_shows_them(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript")
        found = {code: await session.execute(code) for code in SHOWN}
        assert {code: (each.value, each.repr) for code, each in found.items()} == SHOWN
        many = await session.execute("Array(100).fill(Array(100).fill('x'.repeat(100)))")
        assert many.repr.startswith('[ [ "xxx')
        assert many.repr.endswith('…", … ], … ]')
        assert len(many.repr) < 100_000
        assert len(many.value) == 100
        long = await session.execute("'x'.repeat(1_000_000)")
        assert len(long.value) == 1_000_000
        assert len(long.repr) < 100_000
        assert (await session.execute("console.log('x'.repeat(100_000))")).stdout == "x" * 100_000 + "\n"


async def test_its_state_survives_engine_and_worker(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript")
        await session.execute("let n = 1; function* g() { yield 1; yield 2 }; const half = g(); half.next()")
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js")
        assert (await session.execute("n++; [n, half.next().value]")).value == [2, 2]
        fork = await engine.fork("js", "other")
        assert (await fork.execute("n += 10; n")).value == 12
        assert (await session.execute("n")).value == 2


async def test_an_interrupted_script_stops_at_once_and_keeps_its_state(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript")
        await session.execute("let n = 1")
        running = await session.submit("console.log('begun'); n = 2; while (true) {}")
        async for _ in engine.follow(running.id):
            break
        assert await engine.interrupt(running.id, raises=True)
        with pytest.raises(durable.ExecutionError, match="KeyboardInterrupt"):
            await asyncio.wait_for(running.result(), 30)
        assert (await session.execute("n")).value == 2


async def test_its_globals_are_no_names_of_python(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript")
        await session.execute("let n = 1")
        with pytest.raises(durable.BadArguments, match=r"speaks javascript.*inputs="):
            await session.update_namespace({"n": 2})
        with pytest.raises(durable.BadArguments, match="executing its name"):
            await session.namespace("n")
        with pytest.raises(durable.BadArguments):
            await session.sources()
        assert (await session.execute("n")).value == 1
        assert (await session.execute("m", inputs={"m": 5})).value == 5
        await session.clear_namespace()
        assert (await session.execute("typeof n + typeof m")).value == "undefinedundefined"


async def compiled(session: durable.Session) -> str:
    """What its worker says of the state."""
    return next(each.repr for each in await session.variables() if each.name == "javascript")


@pytest.mark.parametrize("memory", [None, 256 * MIB])
@pytest.mark.parametrize("profile", ["open", "isolated"])
async def test_its_worker_is_lent_what_the_engine_compiled(tmp_path: Path, profile: Any, memory: int | None) -> None:
    need(f"profile {profile}" if profile == "isolated" else "limits of memory, cpu and files")
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session(
            "js", language="javascript", profile=profile, limits=durable.Limits(memory=memory)
        )
        assert (await session.execute("let n = 1; n + 1")).value == 2
        assert await compiled(session) == "<the state of JavaScript, 0 modules compiled here>"
        lent = await engine._house.images.get(sparing=memory is not None)
        assert lent is not None
        with pytest.raises(PermissionError):  # sealed: nobody who has it changes what the others get
            lent.write(b"x", 0)
        for again in ("js2", "js3"):
            other = await engine.session(
                again, language="javascript", profile=profile, limits=durable.Limits(memory=memory)
            )
            assert (await other.execute("1 + 1")).value == 2
            assert await compiled(other) == "<the state of JavaScript, 0 modules compiled here>"


async def test_what_cannot_be_lent_is_compiled_by_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_images: Images, *, sparing: bool) -> None:
        assert not sparing

    monkeypatch.setattr(Images, "get", none)
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript")
        assert (await session.execute("1 + 1")).value == 2
        assert await compiled(session) == "<the state of JavaScript, 2 modules compiled here>"


GREEDY = "let held = []; try { for (;;) held.push(new Array(1000).fill(7)) } catch (e) { held = String(e) } held"


async def test_isolated_and_limited_it_gets_what_is_left_and_goes_on(tmp_path: Path) -> None:
    need("profile isolated")
    limits = durable.Limits(memory=256 * MIB, processes=8, files=32)
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript", profile="isolated", limits=limits, grants=["kv"])
        assert (await session.execute("let n = 1; kv.set('a', n); n + kv.get('a')")).value == 2
        greedy = await session.execute(GREEDY)
        assert (greedy.error, greedy.value) == (None, "InternalError: out of memory")
        assert (await session.execute("[typeof require, typeof process, n]")).value == ["undefined", "undefined", 1]
        await session.checkpoint()
    async with durable.open(tmp_path / "work.db") as engine:
        assert (await (await engine.session("js")).execute("[n, held]")).value == [1, "InternalError: out of memory"]


async def test_a_limit_that_javascript_does_not_fit_into_is_said(tmp_path: Path) -> None:
    need("limits of memory, cpu and files")
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.BadArguments, match="JavaScript begins with 134217728 bytes of memory"):
            await engine.session("js", language="javascript", limits=durable.Limits(memory=64 * MIB))
        enough = await engine.session("js", language="javascript", limits=durable.Limits(memory=128 * MIB))
        assert (await enough.execute("let n = 1; n + 1")).value == 2


@pytest.mark.parametrize(("whom", "at", "lives"), [("engine", 3, 2), ("worker", 6, 1)])
async def test_killed_in_the_middle_and_while_it_asks_it_goes_on(
    tmp_path: Path, whom: str, at: int, lives: int
) -> None:
    for _ in range(lives):
        run = await asyncio.create_subprocess_exec(
            PYTHON, "-m", "tests.e2e.javascript_killed", str(tmp_path), whom, str(at), cwd=ROOT
        )
        assert await run.wait() == -signal.SIGKILL
    charge, _ = javascript_killed.charging(tmp_path, "nobody", 0)
    async with durable.open(tmp_path / "work.db", capabilities=[charge]) as engine:
        prompt = await question(engine)
        assert prompt.id == "exec:js@2:input:1"
        await engine.answer(prompt.id, "ana")
        result = await asyncio.wait_for((await engine.session("js")).result("js@2"), 60)
        assert (result.error, result.value) == (None, [147, [1, 2, 3, 4, 5, 6], "ana"])
    effects = Counter((tmp_path / LEDGER).read_text().splitlines())
    # Killed after the effect the engine had no record of it; a worker's death does not take what was performed.
    again = 2 if whom == "engine" else 1
    assert effects == {f"exec:js@2:charge:{n} :{n} ": again if n == at else 1 for n in range(1, 7)}


async def test_its_promises_output_and_checkpoints(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript")
        await session.execute(
            "let tell, heard = ''; new Promise(done => { tell = done }).then(word => { heard = word })"
        )
        assert (await session.execute("tell('word'); heard")).value == ""
        assert (await session.execute("heard")).value == "word"
        streamed = [event async for event in session.stream("console.log('a'); console.error('b'); 7")]
        printed = [(event.stream, event.data) for event in streamed if isinstance(event, durable.OutputEvent)]
        assert printed == [("stdout", "a\n"), ("stderr", "b\n")]
        number = await session.checkpoint()
        await session.export(number, tmp_path / "file")
        await session.execute("heard = 'changed'")
        imported = await engine.import_checkpoint(tmp_path / "file", "imported")
        assert (imported.language, (await imported.execute("heard")).value) == ("javascript", "word")
        await session.restore(number)
        assert (await session.execute("heard")).value == "word"
        flood = await session.execute("for (let n = 0; n < 20000; n++) console.log('x'.repeat(1000)); 'done'")
        assert (flood.error, flood.value) == (None, "done")
        assert flood.dropped > 0
        assert len(flood.stdout) < 17 * MIB


async def test_interrupted_resumed_and_cancelled(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("js", language="javascript", grants=["kv"])
        await session.execute("let n = 1; kv.set('stop', false)")
        code = "n = 2; console.log('begun'); let turns = 0; while (!kv.get('stop')) turns++; n"
        running = await session.submit(code)
        async for _ in engine.follow(running.id):
            break
        assert await engine.interrupt(running.id)
        assert await in_state(engine, running, "interrupted") == "interrupted"
        assert await engine.resume(running.id)
        assert await in_state(engine, running, "running") == "running"
        assert await engine.cancel(running.id, "enough")
        with pytest.raises(durable.ExecutionCancelled):
            await asyncio.wait_for(running.result(), 30)
        assert (await session.execute("n")).value == 1
