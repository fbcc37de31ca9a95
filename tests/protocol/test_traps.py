"""Traps of workers of this kind, where no other test of this directory holds one (specs/session.md E1-E11)."""

from __future__ import annotations

import asyncio

from tests.protocol.desk import Desk

LATE = ("type X = (await y)", "class C:\n    x = await y", "x = (yield)", "lambda: (yield await y)")


async def test_what_cannot_await_at_the_top_level_runs_nothing(desk: Desk) -> None:
    for late in LATE:
        error = await desk.error(f"ran = True\n{late}")
        assert (error.exception_type, error.mode) == ("SyntaxError", "unknown"), late
        assert await desk.value("'ran' in globals()") is False


async def test_recursion_comprehensions_and_closures_see_one_mapping(desk: Desk) -> None:
    code = (
        "def fact(n): return 1 if n < 2 else n * fact(n - 1)\nk = 3\nclass C:\n    each = [fact(k) for _ in range(2)]\n"
        "def later():\n    global made\n    made = [k * i for i in range(k)]\n    return lambda: made\nlater()()"
    )
    assert await desk.value(code) == [0, 3, 6]
    assert await desk.value("[fact(5), C.each, made, locals() is globals()]") == [120, [6, 6], [0, 3, 6], True]


async def test_a_pool_of_spawned_processes(desk: Desk) -> None:
    code = (
        "import multiprocessing, math\nwith multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    roots = pool.map(math.sqrt, [4, 9])\nroots"
    )
    assert await desk.value(code) == [2.0, 3.0]


async def test_threads_that_go_on_do_not_delay_the_end(desk: Desk) -> None:
    await desk.run("import threading\nt = threading.Thread(target=threading.Event().wait)\nt.start()")
    async with asyncio.timeout(5):
        await desk.session.shutdown()
    assert "SIGKILL" not in desk.session.end_reason
    assert "SIGTERM" not in desk.session.end_reason
