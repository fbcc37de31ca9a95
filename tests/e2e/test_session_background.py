"""Threads and tasks of a session: output is the running cell's, else it is kept (specs/session.md, B)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import durable
from durable.core.events import Event, WorkFailed
from tests.e2e.cli_process import Terminal
from tests.waiting import first_prompt, until

POOL = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
ROWS = "list(pool.map(lambda i: print('row', i), range(2)))"
TICKER = "import threading\ngo = threading.Event()\ndef tick(text):\n    go.wait()\n    print(text)\n"


def printed(session: durable.Session) -> object:
    """Looks for text that was printed between executions."""

    async def look() -> str:
        events = await session.output()
        return "".join(one.data for one in events if isinstance(one, durable.OutputEvent) and one.stream == "stdout")

    return look


@pytest.mark.parametrize("journal", [True, False])
async def test_a_pool_that_is_used_again_prints_in_the_cell_that_uses_it(place: str, journal: bool) -> None:
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        assert (await session.execute(POOL + ROWS, journal=journal)).stdout == "row 0\nrow 1\n"
        assert (await session.execute(ROWS, journal=journal)).stdout == "row 0\nrow 1\n"


@pytest.mark.parametrize(
    "late",
    [
        "import logging\nlogging.getLogger('x').warning('logged')",
        "import asyncio\nawait asyncio.to_thread(lambda: display({'a': 1}))",
        "await task",
        "t.start()\nt.join()",
    ],
)
async def test_logs_displays_and_tracebacks_are_of_the_cell_that_runs(tmp_path: Path, late: str) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute(
            "import asyncio, threading, sys\nasync def work(): print('logged', file=sys.stderr)\n"
            "go = asyncio.Event()\nasync def later():\n    await go.wait()\n    await work()\n"
            "task = asyncio.create_task(later())\nt = threading.Thread(target=lambda: 1 / 0, name='divider')"
        )
        result = await session.execute(f"go.set()\n{late}")
        shown = result.stderr + "".join(display.text for display in result.displays)
        assert "logged" in shown or "{'a': 1}" in shown or "ZeroDivisionError" in shown
        if "t.start" in late:
            assert result.failures == ("thread 'divider' ended with ZeroDivisionError: division by zero",)


async def test_what_is_printed_while_nothing_runs_is_shown_with_the_next_cell(place: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        code = f"import threading\ndef wait():\n    open({str(gate)!r}).read()\n    print('while idle')\n"
        await session.execute(code + "threading.Thread(target=wait).start()")
        gate.write_text("go")
        await until(engine, printed(session))  # type: ignore[arg-type]
        first = await session.execute("print('mine')")
        assert (first.stdout, first.earlier) == ("mine\n", "while idle\n")
        assert (await session.execute("1")).earlier == ""
        assert await session.output() == [durable.OutputEvent("stdout", "while idle\n", 0)]
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        assert (await session.execute("1")).earlier == ""
        assert (await session.result(first.id)).earlier == "while idle\n"
        assert len(await session.output()) == 1


async def test_logs_of_a_session(tmp_path: Path) -> None:
    terminal, gate = Terminal(tmp_path), tmp_path / "gate"
    os.mkfifo(gate)
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        session = await engine.session("desk")
        code = f"import threading\ndef wait():\n    open({str(gate)!r}).read()\n    print('while idle')\n    1 / 0\n"
        await session.execute(code + "threading.Thread(target=wait, name='waiter').start()")
        gate.write_text("go")
        await until(engine, lambda: _failed(session))
        await session.execute("1")
    shown = await asyncio.to_thread(terminal.durable, "logs", "desk")
    assert shown.code == 0
    assert shown.out == "while idle\n"
    assert "ZeroDivisionError" in shown.err
    assert "thread 'waiter' ended with ZeroDivisionError: division by zero" in shown.err
    assert "[shown with desk@2]" in shown.err
    assert (await asyncio.to_thread(terminal.durable, "logs", "desk@9")).code == 3


async def _failed(session: durable.Session) -> list[str]:
    events = await session.output()
    return [one.data for one in events if isinstance(one, durable.OutputEvent) and one.stream == "failure"]


async def test_a_task_that_fails_unseen_is_an_event_and_in_the_next_result(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute("import asyncio\nasync def f(): raise ValueError('boom')\nt = asyncio.create_task(f())")
        await until(engine, lambda: _failed(session))
        result = await session.execute("1")
        assert len(result.failures) == 1
        assert result.failures[0].endswith("(f) ended with ValueError: boom")
        assert "Task exception was never retrieved" in result.earlier
        assert [event.error for event in seen if isinstance(event, WorkFailed)] == [*result.failures]
        awaited = await session.execute("try: await t\nexcept ValueError as e: print(e)")
        assert (awaited.stdout, awaited.failures) == ("boom\n", ())
        caught = await session.execute("g = asyncio.create_task(f())\ntry: await g\nexcept ValueError: pass")
        assert caught.failures == ()
        left = await session.execute("g = asyncio.create_task(f())\nawait asyncio.sleep(0.01)")
        assert len(left.failures) == 1


async def test_a_crash_before_the_next_cell_loses_nothing_of_what_was_printed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        code = f"import threading, os\ndef wait():\n    open({str(gate)!r}).read()\n    print('while idle')\n"
        pid = (await session.execute(code + "threading.Thread(target=wait).start()\nos.getpid()")).value
        gate.write_text("go")
        await until(engine, printed(session))  # type: ignore[arg-type]
        os.kill(pid, signal.SIGKILL)
        assert (await session.execute("1")).earlier == "while idle\n"


ASKER = """
import threading, asyncio
answers, go = [], threading.Event()
def ask():
    go.wait()
    answers.append(input('who? '))
t = threading.Thread(target=ask)
t.start()
"""


async def test_a_thread_of_an_earlier_cell_may_ask_a_person(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute(ASKER)
        execution = await session.submit("go.set()\nt.join()\nanswers")
        prompt = await first_prompt(engine)
        assert prompt.execution == execution.id
        await engine.answer(prompt.id, "ada")
        assert (await session.result(execution.id)).value == ["ada"]


@pytest.mark.parametrize("journal", [True, False])
async def test_calls_made_while_nothing_runs_are_kept_for_the_next_cell(
    place: str, tmp_path: Path, journal: bool
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with durable.open(place) as engine:
        session = await engine.session("desk", grants=["kv"])
        await session.execute("kv.set('x', 41)")
        await session.execute(
            "import asyncio, threading\nfound, go, loop = [], asyncio.Event(), asyncio.get_running_loop()\n"
            "async def f():\n    await go.wait()\n    found.append(await kv.get('x'))\n"
            f"def h():\n    open({str(gate)!r}).read()\n    loop.call_soon_threadsafe(go.set)\n    print('asks')\n"
            "    found.append(kv.get('x'))\n"
            "g, t = asyncio.create_task(f()), threading.Thread(target=h)\nt.start()"
        )
        gate.write_text("go")
        await until(engine, printed(session))  # type: ignore[arg-type]
        await session.execute("1 + 1", journal=journal)
        result = await session.execute("await g\nt.join()\nfound", journal=journal)
        assert result.value == [41, 41], result.error
