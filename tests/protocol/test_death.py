"""Ends of a worker: its own, ours, forced, in the middle (specs/session.md S1-S5, W8)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.host.worker_session import WorkerSession
from bridge.launch.launcher import process_start_time
from bridge.protocol.messages import Checkpoint, Error, Execute, Result
from bridge.protocol.states import WorkerState
from durable.core.errors import Busy, EngineClosed, ProtocolError, WorkerDied
from durable.core.events import InterceptorFailed, InterceptorOverran, WorkerEnded, WorkerStarted
from tests.protocol.desk import Desk


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os\nprint('last words')\nos._exit(3)", "exited with code 3"),
        ("import os, signal\nprint('last words')\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import os\nprint('last words')\nos.abort()", "killed by SIGABRT"),
        ("import ctypes\nprint('last words')\nctypes.string_at(0)", "killed by SIGSEGV"),
    ],
)
async def test_the_caller_learns_how_it_died_after_all_its_output(desk: Desk, code: str, how: str) -> None:
    with pytest.raises(WorkerDied, match=how):
        await desk.run(code)
    assert "last words" in desk.text()
    assert desk.session.state is WorkerState.TERMINATED
    assert any(isinstance(one, WorkerEnded) and how in one.reason for one in desk.events)
    with pytest.raises(WorkerDied):
        await desk.run("1")


async def test_restart_after_a_crash(desk: Desk) -> None:
    first = (desk.session.pid, desk.session.start_time)
    assert process_start_time(first[0]) == first[1]
    desk.session.kill()
    await desk.session.wait_ended()
    await desk.session.restart()
    assert await desk.value("1 + 1") == 2
    assert (desk.session.pid, desk.session.start_time) != first
    assert sum(isinstance(one, WorkerStarted) for one in desk.events) == 2


async def test_it_is_known_whether_the_last_execution_was_ever_read(desk: Desk) -> None:
    os.kill(desk.session.pid, signal.SIGSTOP)
    unread = desk.start("1")
    await asyncio.sleep(0)  # it is written in the task's first step
    desk.session.kill()
    with pytest.raises(WorkerDied) as died:
        await unread
    assert not died.value.begun
    with pytest.raises(WorkerDied) as died:
        await desk.run("1")
    assert not died.value.begun
    await desk.session.restart()
    read = desk.start("print('begun', flush=True)\nwhile True: pass")
    await desk.until(lambda: "begun" in desk.text())
    beat = asyncio.ensure_future(desk.session.heartbeat())  # unread too, but not the execution
    await asyncio.sleep(0)
    desk.session.kill()
    with pytest.raises(WorkerDied) as died:
        await read
    assert died.value.begun
    with pytest.raises(WorkerDied):
        await beat


async def test_death_is_noticed_at_once(desk: Desk) -> None:
    task = desk.start("while True: pass")
    await asyncio.sleep(0.1)
    started = time.monotonic()
    os.kill(desk.session.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await task
    assert time.monotonic() - started < 20  # its code would run for ever


def alive(stat: Path) -> bool:
    try:
        return " Z " not in stat.read_text()
    except FileNotFoundError:
        return False


async def test_children_end_with_the_worker_and_nothing_leaks(desk: Desk) -> None:
    before = set(os.listdir("/proc/self/fd"))
    code = "import subprocess\np = subprocess.Popen(['sleep', '600'])\np.pid"
    pid = await desk.value(code)
    desk.session.kill()
    await desk.session.wait_ended()
    async with asyncio.timeout(10):
        while alive(Path(f"/proc/{pid}/stat")):  # noqa: ASYNC110  # an orphan's end: nothing tells of it
            await asyncio.sleep(0.01)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


async def test_a_second_execution_is_refused_and_changes_nothing(desk: Desk) -> None:
    task = desk.start("fetch()\n'first'")
    await desk.until(lambda: bool(desk.waitings))
    with pytest.raises(Busy):
        await desk.run("1")
    with pytest.raises(Busy):
        await desk.session.checkpoint()
    desk.answer(desk.calls[0], None)
    result = await task
    assert isinstance(result, Result)
    assert result.value == "first"


async def test_the_worker_itself_refuses_a_second_execution(desk: Desk) -> None:
    seen: list[Error] = []
    desk.session.add_interceptor(lambda message: seen.append(message) if isinstance(message, Error) else None)
    task = desk.start("fetch()\n'first'")
    await desk.until(lambda: bool(desk.waitings))
    desk.session._send(Execute(id="second", code="1", checkpoint="none"))
    await desk.session.heartbeat()
    assert [(one.exception_type, one.execution_id) for one in seen] == [("Busy", "second")]
    desk.answer(desk.calls[0], None)
    result = await task
    assert isinstance(result, Result)
    assert result.value == "first"


async def test_a_caller_that_gives_up_leaves_the_execution_running(desk: Desk) -> None:
    task = desk.start("fetch()\nx = 7")
    await desk.until(lambda: bool(desk.waitings))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.session.state is WorkerState.BUSY
    desk.answer(desk.calls[0], None)
    async with asyncio.timeout(10):
        while desk.session.state is WorkerState.BUSY:
            await desk.session.heartbeat()
    assert await desk.value("x") == 7


async def test_shutdown_runs_exit_functions_and_finally_of_background_tasks(desk: Desk) -> None:
    code = (
        "import asyncio, atexit\nn = atexit.register(print, 'at exit')\n"
        "async def f():\n    try: await asyncio.sleep(600)\n    finally: print('finally')\n"
        "t = asyncio.create_task(f())\nawait asyncio.sleep(0)\n"
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    )
    await desk.run(code)
    await desk.session.shutdown()
    assert desk.text() == "finally\nat exit\n"
    assert desk.session.end_reason == "exited with code 0"
    assert desk.session.state is WorkerState.TERMINATED
    await desk.session.shutdown()


@pytest.mark.parametrize("code", ["fetch()", "fetch()\nwhile True: pass", "import time\nfetch()\ntime.sleep(600)"])
async def test_shutdown_of_a_busy_worker_cuts_its_code(desk: Desk, code: str) -> None:
    task = desk.start(f"try:\n    {code.replace(chr(10), chr(10) + '    ')}\nfinally: print('not reached')")
    await desk.until(lambda: bool(desk.waitings))
    if "\n" in code:
        desk.answer(desk.calls[0], None)
    async with asyncio.timeout(5):
        await desk.session.shutdown()
    with pytest.raises(EngineClosed):
        await task
    assert desk.text() == ""


async def test_a_worker_that_ignores_sigterm_is_killed(desk: Desk) -> None:
    await desk.run("import signal\nn = signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    task = desk.start("print('up', flush=True)\nwhile True: pass")
    await desk.until(lambda: "up" in desk.text())
    await desk.session.shutdown(grace_s=0.05)
    assert "SIGKILL" in desk.session.end_reason
    with pytest.raises(EngineClosed):
        await task


async def test_start_twice_is_refused(desk: Desk) -> None:
    with pytest.raises(ProtocolError):
        await desk.session.start()
    assert await desk.value("1 + 1") == 2


PROTOCOL_SOCKET = (
    "import gc, bridge.worker.io.channel as c\n"
    "s = next(o for o in gc.get_objects() if isinstance(o, c.Channel))._sock\n"
)


@pytest.mark.parametrize(
    "garbage",
    [
        "b'\\x7f\\xff\\xff\\xff'",
        "b'\\0\\0\\0\\4junk'",
        "b'\\0\\0\\0\\1\\x80'",
        "b'\\0\\0\\0\\0'",
        "frame({'type': 'result', 'id': 'x', 'timestamp': 1})",
        "frame({'type': 'execute', 'id': 'x', 'timestamp': 1, 'code': '1'})",
        "frame(dict(type='ready', id='x', timestamp=1, session_id='', capabilities=[], pid=1, python=''))",
        "b'\\0\\0\\x27\\x10' + b'\\x91' * 10000",
    ],
)
async def test_garbage_ends_the_session_with_a_clear_error_and_not_the_engine(desk: Desk, garbage: str) -> None:
    code = (
        f"{PROTOCOL_SOCKET}import msgspec\n"
        "def frame(m):\n    p = msgspec.msgpack.encode(m)\n    return len(p).to_bytes(4, 'big') + p\n"
        f"s.sendall({garbage})\nfetch()"
    )
    with pytest.raises(ProtocolError, match="broke the protocol"):
        await desk.run(code)
    await desk.session.restart()
    assert await desk.value("1 + 1") == 2


async def test_a_second_stream_before_the_first_is_acknowledged_ends_the_session(desk: Desk) -> None:
    code = (
        f"{PROTOCOL_SOCKET}import msgspec\n"
        "def frame(m):\n    p = msgspec.msgpack.encode(m)\n    return len(p).to_bytes(4, 'big') + p\n"
        "c = dict(type='checkpoint', timestamp=1, execution_id='desk@1', stream=1)\n"
        "s.sendall(frame(c | dict(id='a')) + frame(c | dict(id='b')))\nfetch()"
    )
    with pytest.raises(ProtocolError, match="a second checkpoint with a stream"):
        await desk.run(code)


@pytest.mark.parametrize(("size", "count", "most"), [(2_000_000, 60, 40), (0, 3_000, 1_100)])
async def test_checkpoints_without_end_do_not_pile_up(desk: Desk, size: int, count: int, most: int) -> None:
    """Over 64 MiB, or 64 of them and what one read of the socket holds, the worker is not read until they are kept."""
    go = asyncio.Event()
    seen, kept = [], []

    async def keep(message: Checkpoint) -> None:
        await go.wait()
        kept.append(message.id)

    desk.keep = keep
    desk.session.add_interceptor(lambda message: seen.append(message.id) if message.type == "checkpoint" else None)
    task = desk.start(
        f"{PROTOCOL_SOCKET}import msgspec\ndef pile():\n    for i in range({count}):\n"
        "        c = dict(type='checkpoint', id=str(i), timestamp=1, execution_id='desk@1')\n"
        f"        p = msgspec.msgpack.encode(c | dict(data=b'x' * {size}))\n"
        "        for n in range(0, len(p), 2**20):\n            part = p[n:n + 2**20]\n"
        "            more = 2**31 if n + 2**20 < len(p) else 0\n"
        "            s.sendall((len(part) | more).to_bytes(4, 'big') + part)\npile()\n'end'"
    )
    async with asyncio.timeout(20):
        while not desk.session._keeping.full:  # noqa: ASYNC110  # nothing tells but the reading itself
            await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # more would come
    assert len(seen) <= most
    assert not task.done()
    go.set()
    assert isinstance(await task, Result)
    assert kept == [str(i) for i in range(count)]


async def test_doubled_and_foreign_replies_are_counted_not_obeyed(desk: Desk) -> None:
    code = (
        f"{PROTOCOL_SOCKET}import msgspec\n"
        "def send(**m):\n    p = msgspec.msgpack.encode(m)\n    s.sendall(len(p).to_bytes(4, 'big') + p)\n"
        "r = dict(type='result', id='x', timestamp=1, value='forged', repr='', execution_time=0.0, statement=0)\n"
        "send(**r, execution_id='other@1')\n"
        "c = dict(type='call', id='x', timestamp=1, execution_id='desk@1', capability='fetch', arguments={})\n"
        "c['ordered'] = True\n"
        "send(**c, call=5)\nsend(**c, call=5)\nsend(type='restored', id='x', timestamp=1, restore='none')\n"
        "send(type='checkpoint', id='x', timestamp=1, execution_id='other@1')\n'true value'"
    )
    assert await desk.value(code) == "true value"
    assert desk.session.unknown_replies == 4
    assert len(desk.calls) == 1


async def test_interceptors_see_everything_first_and_cannot_do_harm(desk: Desk) -> None:
    seen: list[str] = []
    ran = asyncio.Event()

    async def later() -> None:
        ran.set()

    def watch(message: object) -> object:
        seen.append(message.type)  # type: ignore[attr-defined]
        return later()

    def broken(message: object) -> None:
        raise ValueError("interceptor")

    def slow(message: object) -> None:
        time.sleep(0.012)

    for one in (broken, slow, watch):
        desk.session.add_interceptor(one)  # type: ignore[arg-type]
    await desk.run("print(1)")
    await ran.wait()
    assert seen == ["output", "result"]
    assert sum(isinstance(one, InterceptorFailed) for one in desk.events) == 2
    assert any(isinstance(one, InterceptorOverran) and one.took_ms > one.budget_ms for one in desk.events)
    for one in (broken, slow, watch):
        desk.session.remove_interceptor(one)  # type: ignore[arg-type]
    await desk.run("print(1)")
    assert len(seen) == 2


async def test_heartbeat_while_idle_and_while_it_waits(desk: Desk) -> None:
    assert (await desk.session.heartbeat()).memory_usage > 2**20
    task = desk.start("fetch()")
    await desk.until(lambda: bool(desk.waitings))
    assert (await desk.session.heartbeat()).namespace_size > 0
    desk.answer(desk.calls[0], None)
    await task


ENGINE = """
import asyncio, sys
from bridge.protocol.messages import Execute
from bridge.host.worker_session import WorkerSession
async def no(message): return None
async def main():
    session = WorkerSession("s", on_call=no, on_checkpoint=no)
    await session.start()
    task = asyncio.create_task(session.execute(Execute(code=sys.argv[1], checkpoint="none")))
    print(session.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("code", ["while True: pass", "input()", "1", "import asyncio\nawait asyncio.sleep(600)"])
def test_the_worker_ends_when_the_engine_is_killed(code: str) -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, code], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    pid = int(engine.stdout.readline())
    fd = os.pidfd_open(pid)
    engine.kill()
    engine.wait()
    engine.stdout.close()
    import select

    ready, _, _ = select.select([fd], [], [], 10)
    os.close(fd)
    assert ready, "the worker outlived its engine"


async def test_a_worker_that_cannot_start() -> None:
    from bridge.launch.launcher import ColdLauncher

    async def no(_message: object) -> None:
        return None

    for python, what in (("/no/such/python", "could not be started"), ("/bin/false", "exited with code 1")):
        session = WorkerSession("s", on_call=no, on_checkpoint=no, launcher=ColdLauncher(python=python))
        with pytest.raises(WorkerDied, match=what):
            await session.start()
        assert session.state is WorkerState.TERMINATED
