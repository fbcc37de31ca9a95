"""SIGINT by place (specs/session.md E6)."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from bridge.protocol.messages import Error, Result
from tests.protocol.desk import Desk

BUSY = {
    "a loop": "while True: pass",
    "a sleep": "import time\ntime.sleep(60)",
    "an await": "import asyncio\nawait asyncio.sleep(60)",
    "a busy coroutine": "async def f():\n    while True: pass\nawait f()",
    "a lock": "import threading\nlock = threading.Lock()\nn = lock.acquire()\nlock.acquire()",
    "asyncio.run": "import asyncio\nasyncio.run(asyncio.sleep(60))",
    "a child process": "import subprocess\nsubprocess.run(['sleep', '60'])",
    "an awaited future of a thread": "import asyncio, time\nawait asyncio.to_thread(lambda: time.sleep(1))",
}


def shown(desk: Desk, count: int) -> bool:
    return desk.text().count("there") == count


def grown(desk: Desk, size: int) -> bool:
    return len(desk.outputs) + len(desk.calls) > size


@pytest.mark.parametrize("where", BUSY)
async def test_interrupt_reaches(desk: Desk, where: str) -> None:
    *before, last = BUSY[where].splitlines(keepends=True)
    code = "".join(before) + "fetch()\n" + last if not last.startswith(" ") else BUSY[where]
    desk.answers["fetch"] = lambda call: None
    task = desk.start(code)
    await desk.until(lambda: bool(desk.calls))
    async with asyncio.timeout(10):
        while not task.done():  # the statement after the call may not have begun: then this one ends the call
            desk.session.interrupt()
            await asyncio.wait([task], timeout=0.2)
    result = await task
    assert isinstance(result, Error)
    assert result.exception_type == "KeyboardInterrupt"
    assert await desk.value("1 + 1") == 2


async def test_a_coroutine_catches_it_at_its_await_and_goes_on(desk: Desk) -> None:
    code = (
        "import asyncio\nseen = []\nfor i in range(2):\n    try:\n        print('there')\n"
        "        await asyncio.sleep(60)\n"
        "    except KeyboardInterrupt:\n        seen.append(i)\n        await asyncio.sleep(0)\nseen"
    )
    task = desk.start(code)
    for count in (1, 2):
        await desk.until(partial(shown, desk, count))
        await asyncio.sleep(0.05)  # let it reach the await; sooner would be the print, which `try` covers as well
        desk.session.interrupt()
    result = await task
    assert isinstance(result, Result)
    assert result.value == [0, 1]


async def test_children_of_the_awaiting_code_are_cancelled(desk: Desk) -> None:
    code = (
        "import asyncio\nended = []\nasync def child():\n    try:\n        print('up', flush=True)\n"
        "        await asyncio.sleep(60)\n    finally:\n        ended.append(1)\n"
        "async with asyncio.TaskGroup() as g:\n    for _ in range(2): t = g.create_task(child())"
    )
    task = desk.start(code)
    await desk.until(lambda: desk.text().count("up") == 2)
    desk.session.interrupt()
    assert isinstance(await task, Error)
    assert await desk.value("ended") == [1, 1]


async def test_a_cancelled_lock_passes_its_turn_on(desk: Desk) -> None:
    code = (
        "import asyncio\nlock = asyncio.Lock()\nawait lock.acquire()\n"
        "async def second():\n    async with lock: print('second got it')\n"
        "print('up', flush=True)\nawait lock.acquire()"
    )
    task = desk.start(code)
    await desk.until(lambda: "up" in desk.text())
    await asyncio.sleep(0.05)
    desk.session.interrupt()
    result = await task
    assert isinstance(result, Error)
    assert result.exception_type == "KeyboardInterrupt"
    await desk.run("t = asyncio.create_task(second())\nlock.release()\nawait t")
    assert "second got it" in desk.text()


async def test_between_executions_it_does_nothing(desk: Desk) -> None:
    await desk.run("x = 1")
    for _ in range(20):
        desk.session.interrupt()
        assert await desk.value("x + 1") == 2


async def test_storm_of_interrupts_never_ends_the_worker(desk: Desk) -> None:
    for i in range(150):
        task = desk.start(f"x = {i}\nprint(x)\nawait __import__('asyncio').sleep(0)\nx")
        for _ in range(i % 4):
            desk.session.interrupt()
            await asyncio.sleep(0.0003 * (i % 5))
        result = await task
        assert isinstance(result, Result) or result.exception_type == "KeyboardInterrupt"
    assert await desk.value("'alive'") == "alive"


async def test_interrupts_in_the_middle_of_floods_and_calls_never_break_a_frame(desk: Desk) -> None:
    desk.answers["fetch"] = lambda call: "x" * 1000
    for code in ("while True: print('y' * 200)", "while True: fetch('z' * 3000)", "while True: await fetch(1)"):
        for i in range(12):
            size = len(desk.outputs) + len(desk.calls)
            task = desk.start(code)
            await desk.until(partial(grown, desk, size))
            await asyncio.sleep(0.001 * i)
            async with asyncio.timeout(10):
                while not task.done():
                    desk.session.interrupt()
                    await asyncio.wait([task], timeout=0.2)
            result = await task
            assert isinstance(result, Error)
            assert result.exception_type == "KeyboardInterrupt", result.traceback
    assert await desk.value("'alive'") == "alive"


async def test_a_background_task_that_hogs_the_loop_falls_to_the_second_one(desk: Desk) -> None:
    code = (
        "import asyncio\nasync def hog():\n    print('hogging', flush=True)\n    while True: pass\n"
        "t = asyncio.create_task(hog())\nawait asyncio.sleep(60)"
    )
    task = desk.start(code)
    await desk.until(lambda: "hogging" in desk.text())
    async with asyncio.timeout(10):
        while not task.done():
            desk.session.interrupt()
            await asyncio.wait([task], timeout=0.1)
    assert isinstance(await task, Error)
    assert await desk.value("1 + 1") == 2


async def test_the_users_own_handler_rules_its_code_but_not_the_time_between(desk: Desk) -> None:
    await desk.run("import signal\nhits = []\nn = signal.signal(signal.SIGINT, lambda *_: hits.append(1))")
    desk.session.interrupt()
    task = desk.start("fetch()\nhits")
    await desk.until(lambda: bool(desk.waitings))
    desk.session.interrupt()
    await asyncio.sleep(0.05)
    desk.answer(desk.calls[0], None)
    result = await task
    assert isinstance(result, Result)
    assert result.value == [1]
