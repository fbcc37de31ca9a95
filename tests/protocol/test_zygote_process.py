"""The zygote: its life, its end, its replacement (specs/zygote.md)."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.launch.zygote import Zygote
from bridge.launch.zygote_protocol import Forked, Reaped, Warm
from durable.core.errors import EngineClosed, WorkerDied
from durable.core.events import Event, ZygoteEnded
from tests.protocol.desk import Desk


class Started:
    """A zygote and the desks whose workers it forked."""

    def __init__(self, **options: object) -> None:
        self.events: list[Event] = []
        self.zygote = Zygote(observer=self.events.append, **options)  # type: ignore[arg-type]
        self.desks: list[Desk] = []

    async def desk(self) -> Desk:
        desk = Desk((), self.zygote)
        await desk.session.start()
        self.desks.append(desk)
        return desk

    async def close(self) -> None:
        await self.zygote.close()
        for desk in self.desks:
            desk.session.kill()  # it may have been started cold
            await desk.session.wait_ended()


@pytest.fixture
async def warm() -> AsyncIterator[Started]:
    one = Started()
    yield one
    await one.close()


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> None:
    async with asyncio.timeout(10):
        while any(map(alive, pids)):  # noqa: ASYNC110  # other processes' children: nothing tells of their end
            await asyncio.sleep(0.005)


async def test_workers_are_its_children_and_it_starts_once(warm: Started) -> None:
    desks = [await warm.desk() for _ in range(3)]
    pids = {desk.session.pid for desk in desks}
    assert len(pids) == 3
    assert {await desk.value("import os\nos.getppid()") for desk in desks} == {warm.zygote.pid}


async def test_fifty_at_once(warm: Started) -> None:
    desks = await asyncio.gather(*(warm.desk() for _ in range(50)))
    assert await asyncio.gather(*(desk.value(f"{i} + 1") for i, desk in enumerate(desks))) == list(range(1, 51))
    assert len({desk.session.pid for desk in desks}) == 50


async def test_the_engine_learns_exit_codes_and_signals_and_nothing_stays_behind(warm: Started) -> None:
    desks = [await warm.desk() for _ in range(2)]
    before = set(os.listdir("/proc/self/fd"))
    for code, how in (("import os\nos._exit(7)", "exited with code 7"), ("import os\nos.abort()", "SIGABRT")):
        desk = await warm.desk()
        with pytest.raises(WorkerDied, match=how):
            await desk.run(code)
        assert not Path(f"/proc/{desk.session.pid}").exists(), "it is still a zombie"
    assert set(os.listdir("/proc/self/fd")) == before
    assert await desks[0].value("1") == 1


async def test_a_dead_zygote_takes_its_workers_along_and_is_replaced(warm: Started) -> None:
    desk = await warm.desk()
    first = warm.zygote.pid
    task = desk.start("import time\ntime.sleep(600)")
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="ended with the zygote"):
        await task
    await desk.session.restart()
    assert await desk.value("1 + 1") == 2
    assert warm.zygote.pid not in (0, first)
    assert [one.reason for one in warm.events if isinstance(one, ZygoteEnded)] == ["was killed by SIGKILL"]


async def test_launches_survive_the_end_of_the_zygote_that_they_wait_for(warm: Started) -> None:
    warm.zygote.start()
    desks = [asyncio.ensure_future(warm.desk()) for _ in range(5)]
    await asyncio.sleep(0)
    os.kill(warm.zygote.pid, signal.SIGKILL)
    assert [await (await desk).value("1") for desk in desks] == [1] * 5


async def test_one_that_does_not_answer_is_retired_and_its_workers_live_on(
    warm: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await warm.desk()
    stuck = warm.zygote.pid
    os.kill(stuck, signal.SIGSTOP)
    monkeypatch.setattr("bridge.launch.zygote_process.FORK_S", 0.2)
    after = await warm.desk()
    assert await after.value("1") == 1
    assert warm.zygote.pid != stuck
    assert await before.value("2") == 2
    os.kill(stuck, signal.SIGCONT)


async def test_cold_where_there_is_no_zygote_to_be_had(warm: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object, **_options: object) -> int:
        raise OSError("no more processes of this kind")

    monkeypatch.setattr("bridge.launch.zygote_start.spawn", none)
    desk = await warm.desk()
    assert await desk.value("import os\nos.getppid()") == os.getpid()


async def test_a_launch_that_nobody_waits_for_leaves_nothing(warm: Started) -> None:
    await (await warm.desk()).session.heartbeat()
    before = set(os.listdir("/proc/self/fd"))
    children = Path(f"/proc/{warm.zygote.pid}/task/{warm.zygote.pid}/children")
    left = children.read_text().split()
    os.kill(warm.zygote.pid, signal.SIGSTOP)
    tasks = [asyncio.ensure_future(warm.zygote.launch("s")) for _ in range(5)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    os.kill(warm.zygote.pid, signal.SIGCONT)
    await warm.desk()
    async with asyncio.timeout(10):
        while len(children.read_text().split()) != len(left) + 1:  # noqa: ASYNC110  # grandchildren tell us nothing
            await asyncio.sleep(0.005)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 4


async def test_a_launch_cancelled_when_its_worker_is_there_already_leaves_nothing(warm: Started) -> None:
    await warm.desk()
    before = set(os.listdir("/proc/self/fd"))
    children = Path(f"/proc/{warm.zygote.pid}/task/{warm.zygote.pid}/children")
    left = children.read_text()
    process = warm.zygote._process
    assert process is not None
    take = process._take

    def take_and_cancel(message: Warm | Forked | Reaped, descriptors: list[int]) -> None:
        take(message, descriptors)
        task.cancel()  # before the launch itself hears of its worker

    process._take = take_and_cancel  # type: ignore[method-assign]
    task = asyncio.ensure_future(warm.zygote.launch("s"))
    await asyncio.wait([task])
    assert task.cancelled()
    async with asyncio.timeout(10):
        while children.read_text() != left or set(os.listdir("/proc/self/fd")) != before:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_closing_ends_what_is_left_and_refuses_more(warm: Started) -> None:
    desk = await warm.desk()
    child = await desk.value("import subprocess\np = subprocess.Popen(['sleep', '600'])\np.pid")
    zygote, worker = warm.zygote.pid, desk.session.pid
    await warm.zygote.close()
    await desk.session.wait_ended()
    assert isinstance(child, int)
    await gone(zygote, worker, child)
    assert warm.zygote.pid == 0
    with pytest.raises(EngineClosed):
        await warm.zygote.launch("s")
    assert not [one for one in warm.events if isinstance(one, ZygoteEnded)]


async def test_workers_end_in_time_where_the_engine_says_nothing_later_and_the_zygote_goes_on(warm: Started) -> None:
    """Z8."""
    desk = await warm.desk()
    child = await desk.value("import subprocess\np = subprocess.Popen(['sleep', '600'])\np.pid")
    zygote, worker = warm.zygote.pid, desk.session.pid
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    warm.zygote.alive_until(now + 0.3)
    warm.zygote.alive_until(now + 600)
    assert await desk.value("import time\ntime.sleep(0.4)\n'on'") == "on"
    warm.zygote.alive_until(now + 0.5)
    await desk.session.wait_ended()
    assert isinstance(child, int)
    await gone(worker, child)
    assert await (await warm.desk()).value("1+1") == 2
    assert warm.zygote.pid == zygote


async def test_a_zygote_that_is_started_later_knows_until_when_its_workers_may_live(warm: Started) -> None:
    """Z8."""
    warm.zygote.alive_until(time.clock_gettime(time.CLOCK_BOOTTIME) + 600)
    desk = await warm.desk()
    warm.zygote.alive_until(time.clock_gettime(time.CLOCK_BOOTTIME))
    await desk.session.wait_ended()
    early = Started()
    early.zygote.alive_until(time.clock_gettime(time.CLOCK_BOOTTIME) + 1)  # it forks before, however busy
    try:
        late = await early.zygote.launch("s")
        try:
            assert late.reap.func.__self__ is early.zygote._process  # type: ignore[attr-defined]  # forked, not cold
            ended, _, _ = await asyncio.to_thread(select.select, [late.pidfd], [], [], 30)
            assert ended
        finally:
            late.socket.close()
            for descriptor in (late.pidfd, late.stdout, late.stderr):
                os.close(descriptor)
    finally:
        await early.close()


async def test_preloaded_modules_are_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import os\npid = os.getpid()\nprint('imported')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    warm = Started(preload=("slow_to_import", "numpy"))
    try:
        desk = await warm.desk()
        assert await desk.value("import sys\n'numpy' in sys.modules") is True
        assert await desk.value("import slow_to_import\nslow_to_import.pid") == warm.zygote.pid
        assert await desk.value("import numpy\nfloat((numpy.ones((200, 200)) @ numpy.ones((200, 200))).sum())") == 8e6
        assert await desk.value("'slow_to_import' in globals()") is True
        assert desk.text() == ""
    finally:
        await warm.close()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit('leave')", "SystemExit: leave"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "a thread"),
        ("import os\nos._exit(5)", "exited with code 5"),
    ],
)
async def test_a_preload_that_fails_fails_the_launch_with_its_reason(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "preloaded.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    warm = Started(preload=("preloaded",))
    try:
        with pytest.raises(WorkerDied, match=says):
            await warm.desk()
    finally:
        await warm.close()


ENGINE = """
import asyncio, os, sys, time
from bridge.protocol.messages import Execute
from bridge.host.worker_session import WorkerSession
from bridge.launch.zygote_protocol import Forked, Reaped, Warm
from bridge.launch.zygote import Zygote
async def no(message): return None
async def main():
    zygote = Zygote()
    session = WorkerSession("s", on_call=no, on_checkpoint=no, launcher=zygote)
    await session.start()
    code = "import subprocess\\nsubprocess.Popen(['sleep', '600']).pid"
    child = (await session.execute(Execute(code=code, checkpoint="none"))).value
    asyncio.create_task(session.execute(Execute(code=sys.argv[1], checkpoint="none")))
    holder = os.fork()
    if holder == 0:
        time.sleep(600)
    print(holder, zygote.pid, session.pid, child, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(600)", "input()"])
async def test_all_end_with_the_engine_even_when_a_child_of_it_holds_its_socket(code: str) -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, code], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert engine.stdout is not None
    holder, *pids = map(int, engine.stdout.readline().split())
    try:
        engine.kill()
        engine.wait()
        await gone(*pids)
    finally:
        os.kill(holder, signal.SIGKILL)
        engine.stdout.close()


async def test_a_killed_worker_is_noticed_at_once(warm: Started) -> None:
    desk = await warm.desk()
    fd = os.pidfd_open(desk.session.pid)
    task = desk.start("while True: pass")
    await asyncio.sleep(0.05)
    os.kill(desk.session.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        await task
    assert select.select([fd], [], [], 0)[0]
    os.close(fd)
