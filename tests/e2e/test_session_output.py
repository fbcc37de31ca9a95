"""Output of sessions: what is stored, what live readers get, what ends a flood (worker-protocol.md, B1-B5, K1-K5)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

import durable
from durable.core.events import Event, WorkerStarted
from tests.e2e.cli_process import Terminal
from tests.waiting import until

LINES = "".join(f"{i:05}\n" for i in range(1_000))
BAR = "import sys\nfor i in range(101): n = sys.stderr.write(f'\\r{i:3}%')\nprint('done')"


async def read_all(engine: durable.Engine, execution_id: str, offset: int = 0) -> list[durable.OutputEvent]:
    found = [event async for event in engine.follow(execution_id, offset)]
    return [event for event in found if isinstance(event, durable.OutputEvent)]


async def test_output_is_stored_up_to_the_limit_and_streamed_whole(place: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk", output=durable.OutputRules(stored=100))
        *events, result = [event async for event in session.stream("for i in range(1_000): print(f'{i:05}')")]
        assert "".join(one.data for one in events if isinstance(one, durable.OutputEvent)) == LINES
        assert isinstance(result, durable.Result)
        assert (result.stdout, result.dropped) == (LINES[:100], len(LINES) - 100)
    async with durable.open(place, serve=False) as reader:
        late = await read_all(reader, "desk@1")
        assert "".join(one.data for one in late) == LINES[:100]
        assert late[-1] == durable.OutputEvent("stdout", "", 100, len(LINES) - 100)
        assert [one.offset for one in late[1:]] == [one.end for one in late[:-1]]
        assert [one.dropped for one in await read_all(reader, "desk@1", 5_000)] == [len(LINES) - 5_000]
        assert await read_all(reader, "desk@1", len(LINES)) == []


@durable.function
async def prints_twice(ctx: durable.Context) -> int:
    await ctx.execute("print('one'); display({'a': 1})", session="first")
    wait = "while not __import__('os').path.exists(path): pass\nprint('two')"
    await ctx.execute(wait, inputs={"path": "go"}, session="b")
    return 1


async def test_a_function_that_is_followed_gives_the_output_of_its_cells(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with durable.open(place) as engine, durable.open(place, serve=False) as elsewhere:
        execution = await engine.start(prints_twice, id="f")
        for reader in (engine, elsewhere):
            async for event in reader.follow("f"):
                if isinstance(event, durable.OutputEvent):
                    assert (event.data, event.execution) == ("one\n", "f.1")
                    break
        (tmp_path / "go").touch()
        await execution.result()
        for reader in (engine, elsewhere):
            found = [event async for event in reader.follow("f")]
            assert [event.execution for event in found] == ["f.1", "f.1", "f.2"]
            assert [event.data for event in found if isinstance(event, durable.OutputEvent)] == ["one\n", "two\n"]
            assert isinstance(found[1], durable.DisplayEvent)


async def test_logs_tell_of_what_was_not_kept(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        session = await engine.session("desk", output=durable.OutputRules(stored=5))
        await session.execute("print('x' * 1_234_567)")
    shown = await asyncio.to_thread(terminal.durable, "logs", "desk@1")
    assert (shown.out, shown.err) == ("xxxxx", "[1,234,563 characters were not kept]\n")


async def test_a_progress_bar_is_stored_as_it_ended_and_streamed_as_it_went(place: str) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        *events, result = [event async for event in session.stream(BAR)]
        live = "".join(one.data for one in events if isinstance(one, durable.OutputEvent) and one.stream == "stderr")
        assert live == "".join(f"\r{i:3}%" for i in range(101))
        assert isinstance(result, durable.Result)
        assert (result.stderr, result.stdout, result.dropped) == ("\r100%", "done\n", 0)
        quick = await session.execute(BAR, journal=False)
        assert (quick.stderr, quick.stdout) == ("\r100%", "done\n")
        rows = await engine.store.reads.output(result.id)
        assert [(row.offset, row.text, row.end) for row in rows] == [(0, "\r100%", 505), (505, "done\n", 510)]
        inside = await engine.store.reads.output(result.id, 300)
        assert (inside[0].offset, inside[0].text, inside[0].end) == (300, "\r100%", 505)


async def test_a_kill_between_two_paints_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Statement checkpoints in the middle of a bar, a gap that began: the cut is exact, what is printed again fits."""
    seen: list[Event] = []
    first = tmp_path / "first"
    code = (
        "import sys, os, pathlib\nn = sys.stderr.write('\\r 10%' * 3)\nn = sys.stderr.write('\\r 20%')\n"
        f"here = pathlib.Path({str(first)!r})\nif not here.exists():\n    n = sys.stderr.write('\\r lost')\n"
        "    sys.stderr.flush()\n    here.touch()\n    import time\n    time.sleep(600)\n"
        "n = sys.stderr.write('\\r 30%\\n')\nprint('x' * 100)"
    )
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk", output=durable.OutputRules(stored=50))
        execution = await session.submit(code, checkpoint="statement")
        await until(engine, lambda: engine.store.reads.output(execution.id, 20))
        async with asyncio.timeout(20):
            while not first.exists():  # noqa: ASYNC110  # the code's own file
                await asyncio.sleep(0.01)
        os.kill([one.pid for one in seen if isinstance(one, WorkerStarted)][-1], signal.SIGKILL)
        result = await session.result(execution.id)
        assert "lost" not in result.stderr
        assert result.stderr.endswith("\r 30%\n")
        rows = await engine.store.reads.output(execution.id)
        assert [row.offset for row in rows[1:]] == [row.end for row in rows[:-1]]
        assert rows[-1].end == 26 + 101
        assert sum(len(row.text) for row in rows) <= 50
        assert result.dropped > 50


async def test_the_rules_are_the_sessions_and_wrong_ones_are_refused(place: str) -> None:
    async with durable.open(place) as engine:
        await engine.session("desk", output="drop_new")
        await engine.session("desk")
        await engine.session("desk", output=durable.OutputRules(policy="drop_new"))
        with pytest.raises(durable.Conflict, match="output rules"):
            await engine.session("desk", output="block")
        with pytest.raises(durable.BadArguments, match="policy"):
            await engine.session("other", output="lose")  # type: ignore[arg-type]


async def test_a_large_unjournaled_output_is_there(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        found = await session.execute("for _ in range(100): print('x' * 99_999)", journal=False)
        assert (len(found.stdout), found.dropped) == (10_000_000, 0)


FLOOD = """
def flood():
    mark.touch()
    try:
        for i in range(3_000): print(i, 'x' * 16_000, flush=True)
    finally: mark.unlink()
    return 'end'
"""


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ({"policy": "error", "drain_ms": 60_000}, durable.OutputOverflow),
        ({"policy": "drop_new", "drain_ms": 50}, durable.OutputDrainTimeout),
        ({"policy": "drop_new", "drain_ms": 50, "drain": "warn"}, None),
    ],
)
async def test_an_engine_that_stands_still(
    tmp_path: Path, rules: dict[str, object], error: type[durable.ExecutionError] | None
) -> None:
    """The engine's own loop is blocked while the code prints: the session's rules say how that ends."""
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk", output=durable.OutputRules.read(rules))
        mark = tmp_path / "on"
        await session.execute(f"import pathlib\nmark = pathlib.Path({str(mark)!r}){FLOOD}")
        execution = await session.submit("flood()")  # one statement: a checkpoint between two would wait for the reader
        async with asyncio.timeout(20):
            while not mark.exists():  # noqa: ASYNC110  # the code's own file
                await asyncio.sleep(0.001)
        while mark.exists():
            time.sleep(0.01)  # noqa: ASYNC251  # the reader really blocks
        time.sleep(0.5)  # noqa: ASYNC251
        result = await session.result(execution.id)
        if error is None:
            assert (result.value, result.error) == ("end", None)
        else:
            assert isinstance(result.error, error)
        assert result.dropped > 0
        assert (await session.execute("1 + 1")).value == 2


async def test_a_reader_beside_the_engine_is_told_what_was_taken_back(tmp_path: Path) -> None:
    """It reads ahead of what is stored; what a killed worker printed past its checkpoint is taken back all the same."""
    seen: list[Event] = []
    go = tmp_path / "go"
    code = (
        "import os\nprint('kept')\n"
        f"if os.path.exists({str(go)!r}): print('instead')\n"
        "else:\n    print('x' * 999)\n    print('lost', flush=True)\n    while True: pass"
    )
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk", output=durable.OutputRules(stored=100))
        story = ""
        async for event in session.stream(code, checkpoint="statement"):
            if isinstance(event, durable.OutputEvent):
                story += event.data
            elif isinstance(event, durable.Rewound):
                story += f"<{event.offset}>"
            else:
                assert isinstance(event, durable.Result)
                assert (event.stdout, event.dropped) == ("kept\ninstead\n", 0)
            if story.endswith("lost\n"):
                go.touch()
                os.kill([one.pid for one in seen if isinstance(one, WorkerStarted)][-1], signal.SIGKILL)
        assert story == f"kept\n{'x' * 999}\nlost\n<5>instead\n"
