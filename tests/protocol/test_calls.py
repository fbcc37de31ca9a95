"""Calls from everywhere in a cell, and what is reported as waiting (specs/session.md Calls, W5, W7)."""

from __future__ import annotations

import pytest

from bridge.protocol.messages import CallError, CallResult, Result
from tests.protocol.desk import Desk, running


def echo(call: object) -> object:
    return {"asked": call.arguments["args"][0]}  # type: ignore[attr-defined]


async def test_input_asks_prints_and_returns_text(desk: Desk) -> None:
    desk.answers["input"] = lambda call: "Ana"
    assert await desk.value("name = input('Who? ')\nname") == "Ana"
    assert desk.text() == "Who? "
    call = desk.calls[0]
    assert (call.capability, call.arguments, call.ordered) == ("input", {"args": ["Who? "], "kwargs": {}}, True)
    assert call.execution_id == "desk@1"


@pytest.mark.parametrize(
    "code",
    [
        "fetch(1)",
        "await fetch(1)",
        "await fetch.aio(1)",
        "import asyncio\nawait asyncio.create_task(fetch.aio(1))",
        "import asyncio\nawait asyncio.to_thread(fetch, 1)",
        "import asyncio\nasync def f(): return fetch(1)\nawait f()",
        "import asyncio\nasync def f(): return await fetch(1)\nawait asyncio.create_task(f())",
        "import asyncio\nasync def f(): return await fetch(1)\nasyncio.run(f())",
        "import asyncio\nasync def f(): return await fetch(1)\nawait asyncio.to_thread(asyncio.run, f())",
        "import threading\nr = []\nt = threading.Thread(target=lambda: r.append(fetch(1)))\nt.start()\nt.join()\nr[0]",
        "from concurrent.futures import ThreadPoolExecutor as P\nwith P() as p: r = list(p.map(fetch, [1]))\nr[0]",
        "list(map(fetch, [1]))[0]",
        "(lambda: fetch(*[1], **{}))()",
    ],
)
async def test_a_call_works_and_is_reported_from(desk: Desk, code: str) -> None:
    task = desk.start(code)
    await desk.until(lambda: bool(desk.waitings))
    assert desk.waitings[0].calls == [desk.calls[0].call]
    desk.answer(desk.calls[0], {"asked": 1})
    result = await task
    assert isinstance(result, Result), result.traceback
    assert result.value == {"asked": 1}
    assert desk.session.unknown_replies == 0


async def test_awaited_calls_do_not_block_the_loop(desk: Desk) -> None:
    code = (
        "import asyncio\nasync def tick():\n    for _ in range(3): await asyncio.sleep(0)\n    print('ticked')\n"
        "asyncio.create_task(tick())\nawait fetch(1)"
    )
    task = desk.start(code)
    await desk.until(lambda: "ticked" in desk.text() and bool(desk.calls))
    desk.answer(desk.calls[0], 5)
    assert isinstance(await task, Result)


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio\nawait asyncio.gather(*(asyncio.to_thread(fetch, i) for i in range(10)))",
        "import asyncio\nawait asyncio.gather(*(fetch.aio(i) for i in range(10)))",
        "from concurrent.futures import ThreadPoolExecutor as P\nwith P(10) as p: r = list(p.map(fetch, range(10)))\nr",
    ],
)
async def test_ten_concurrent_calls_are_reported_together_and_get_their_own_answers(desk: Desk, code: str) -> None:
    task = desk.start(code)
    await desk.until(lambda: any(len(one.calls) == 10 for one in desk.waitings))
    for call in reversed(desk.calls):
        desk.answer(call, call.arguments["args"])
    result = await task
    assert isinstance(result, Result), result.traceback
    assert result.value == [[i] for i in range(10)]
    assert all(not call.ordered for call in desk.calls)


async def test_waiting_is_not_reported_while_the_code_can_go_on(desk: Desk) -> None:
    code = (
        "import asyncio, threading\nt = threading.Thread(target=fetch, args=(1,))\nt.start()\n"
        "import time\ntime.sleep(0.2)\nawait asyncio.sleep(0.2)\nprint('went on')\nt.join()"
    )
    task = desk.start(code)
    await desk.until(lambda: bool(desk.waitings))
    assert desk.text() == "went on\n"
    desk.answer(desk.calls[0], 1)
    assert isinstance(await task, Result)


async def test_a_new_call_of_a_thread_is_a_new_set(desk: Desk) -> None:
    code = (
        "import threading, time\ndef later():\n    time.sleep(0.1)\n    fetch('second')\n"
        "t = threading.Thread(target=later)\nt.start()\nfetch('first')\nt.join()"
    )
    task = desk.start(code)
    await desk.until(lambda: any(len(one.calls) == 2 for one in desk.waitings))
    assert [len(one.calls) for one in desk.waitings] == [1, 2]
    for call in desk.calls:
        desk.answer(call, None)
    assert isinstance(await task, Result)


NEVER_SETTLED = "import bridge.worker.calls.calls\nbridge.worker.calls.SETTLE_MS = 10**8\n"


@pytest.mark.parametrize("ask", ["input('a')", "import asyncio\nawait asyncio.gather(input.aio('a'), input.aio('b'))"])
async def test_questions_are_reported_without_a_settle(desk: Desk, ask: str) -> None:
    task = desk.start(NEVER_SETTLED + ask)
    await desk.until(lambda: bool(desk.waitings) and len(desk.calls) == len(desk.waitings[0].calls))
    for call in desk.calls:
        desk.answer(call, "x")
    assert isinstance(await task, Result)
    first, *later = desk.waitings
    assert all(set(one.calls) < set(first.calls) for one in later)  # told again when one of them was answered


@pytest.mark.parametrize(
    "beside",
    [
        "import asyncio\nawait asyncio.gather(input.aio('a'), fetch.aio(1))",
        "import threading\nt = threading.Thread(target=fetch, args=(1,))\nt.start()\ninput('a')\nt.join()",
        "import _thread\nk = _thread.start_new_thread(fetch, (1,))\ninput('a')",
    ],
)
async def test_questions_beside_what_may_be_answered_soon_settle(desk: Desk, beside: str) -> None:
    task = desk.start(NEVER_SETTLED + beside)
    await desk.until(lambda: len(desk.calls) == 2)
    for call in desk.calls:
        desk.answer(call, "x")
    assert isinstance(await task, Result)
    soon = {call.call for call in desk.calls if call.capability == "fetch"}
    assert soon
    assert not any(soon & set(one.calls) for one in desk.waitings)


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (CallError(kind="eof", exception_message="gone"), "EOFError", "gone"),
        (CallError(kind="timeout", exception_message="late"), "TimeoutError", "late"),
        (CallError(kind="denied", exception_message="no"), "PermissionError", "no"),
        (CallError(exception_type="KeyError", exception_message="k"), "KeyError", "'k'"),
        (CallError(exception_type="KeyError", exception_message="'k'"), "KeyError", "'k'"),
        (CallError(exception_type="KeyError", exception_message="('k', 3)"), "KeyError", "('k', 3)"),
        (CallError(exception_type="KeyError", exception_message="no key"), "KeyError", "'no key'"),
        (CallError(exception_type="durable.Denied", exception_message="no"), "PermissionError", "no"),
        (CallError(exception_type="my.Error", exception_message="m"), "RuntimeError", "my.Error: m"),
        (CallError(exception_type="StopIteration", exception_message="s"), "RuntimeError", "StopIteration: s"),
        (CallError(exception_message="plain"), "RuntimeError", "plain"),
    ],
)
async def test_errors_of_calls(desk: Desk, error: CallError, raised: str, message: str) -> None:
    desk.answers["fetch"] = lambda call: error
    failed = await desk.error("fetch()")
    assert (failed.exception_type, failed.exception_message) == (raised, message)
    assert "bridge" not in failed.traceback
    assert "fetch()" in failed.traceback


async def test_a_host_that_raises_or_cannot_encode_answers_with_an_error(desk: Desk) -> None:
    def broken(call: object) -> object:
        raise LookupError("host trouble")

    desk.answers["fetch"] = broken
    failed = await desk.error("fetch()")
    assert (failed.exception_type, failed.exception_message) == ("LookupError", "host trouble")
    desk.answers["fetch"] = lambda call: 2**70
    assert "cannot be sent" in (await desk.error("fetch()")).exception_message


async def test_arguments_must_be_json(desk: Desk) -> None:
    failed = await desk.error("fetch(object())")
    assert failed.exception_type == "TypeError"
    assert desk.calls == []


async def test_what_is_not_granted_is_not_there() -> None:
    async with running() as desk:
        assert (await desk.error("fetch()")).exception_type == "NameError"
        desk.answers["fetch"] = echo
        assert await desk.value("fetch(1)", capabilities=["fetch"]) == {"asked": 1}
        assert (await desk.error("fetch()", capabilities=[])).exception_type == "NameError"


async def test_getpass_is_a_secret_question(desk: Desk) -> None:
    desk.answers["input"] = lambda call: "hidden"
    assert await desk.value("import getpass\ngetpass.getpass('Key: ')") == "hidden"
    assert desk.calls[0].arguments == {"args": ["Key: "], "kwargs": {"secret": True}}


async def test_a_forked_child_cannot_ask(desk: Desk) -> None:
    code = "import os\npid = os.fork()\nif not pid: fetch(1)\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    assert await desk.value(code) == 1
    assert "only the session's own process" in desk.text("stderr")
    assert desk.calls == []


async def test_a_second_answer_is_ignored_and_counted(desk: Desk) -> None:
    task = desk.start("fetch(1)")
    await desk.until(lambda: bool(desk.calls))
    desk.answer(desk.calls[0], "first")
    desk.answer(desk.calls[0], "second")
    result = await task
    assert isinstance(result, Result)
    assert result.value == "first"
    assert desk.session.unknown_replies == 1
    desk.session.answer(999, CallResult(call=999))
    assert desk.session.unknown_replies == 2


async def test_time_spent_waiting_is_not_execution_time(desk: Desk) -> None:
    task = desk.start("import time\nt = time.monotonic()\nfetch(1)\ntime.monotonic() - t")
    await desk.until(lambda: bool(desk.waitings))
    desk.answer(desk.calls[0], None)
    result = await task
    assert isinstance(result, Result)
    assert isinstance(result.value, float)
    assert result.execution_time < result.value


async def test_a_call_can_be_interrupted_and_its_late_answer_hurts_nobody(desk: Desk) -> None:
    task = desk.start("try:\n    fetch(1)\nexcept KeyboardInterrupt:\n    r = 'interrupted'\nr")
    await desk.until(lambda: bool(desk.waitings))
    desk.session.interrupt()
    result = await task
    assert isinstance(result, Result)
    assert result.value == "interrupted"
    desk.answer(desk.calls[0], "late")
    assert await desk.value("1 + 1") == 2
