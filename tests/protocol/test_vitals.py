"""Vitals: what the kernel tells about a worker, and what that means (specs/session.md, Vitals)."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.host import worker_watch as pulse_module
from bridge.host.proc_vitals import DEADLOCKED, STOPPED, why_stuck
from bridge.host.worker_watch import Pulse
from bridge.protocol.messages import Error
from durable.core.errors import ProtocolError
from durable.core.events import WorkerBeat, WorkerStuck
from tests.protocol.desk import Desk

BEAT_S = 0.02
HOSTILE = Path(__file__).parent / "hostile_cell.py"

STUCK = {
    "a lock that is held": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "threads that wait for each other": """
import threading
gate = threading.Event()
other = threading.Thread(target=gate.wait, daemon=True); other.start(); other.join()
""",
    "C code that holds the GIL": """
import ctypes
libc = ctypes.PyDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex); libc.pthread_mutex_lock(mutex)
""",
}
NOT_STUCK = {
    "a loop": "while True: pass",
    "a sleep": "import time; time.sleep(1000)",
    "an await": "import asyncio; await asyncio.Event().wait()",
    "a child": "import subprocess; subprocess.run(['sleep', '1000'])",
    "a thread that sleeps": """
import threading, time
other = threading.Thread(target=time.sleep, args=(1000,), daemon=True); other.start(); other.join()
""",
    "a question": "fetch()",
}


def pulse_of(desk: Desk) -> Pulse:
    return Pulse(desk.session, lambda event: desk._note(desk.events, event), BEAT_S)


async def beats(desk: Desk, pulse: Pulse, count: int) -> asyncio.Task[None]:
    running = asyncio.create_task(pulse.run())
    before = len(desk.events)
    await desk.until(lambda: sum(isinstance(event, WorkerBeat) for event in desk.events[before:]) >= count)
    return running


async def end(desk: Desk, *tasks: asyncio.Task) -> None:
    desk.session.kill()
    for task in tasks:
        with suppress(Exception):
            await task


@pytest.mark.parametrize("code", STUCK.values(), ids=STUCK)
async def test_a_worker_that_cannot_go_on_is_named_once(desk: Desk, code: str) -> None:
    cell = desk.start(code)
    async with asyncio.timeout(20):
        while not why_stuck(desk.session.pid):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.005)
    running = await beats(desk, pulse_of(desk), 4)
    assert [event for event in desk.events if isinstance(event, WorkerStuck)] == [
        WorkerStuck("desk", desk.session.pid, DEADLOCKED)
    ]
    await end(desk, cell, running)


@pytest.mark.parametrize("code", NOT_STUCK.values(), ids=NOT_STUCK)
async def test_what_computes_sleeps_or_waits_for_others_is_not_stuck(desk: Desk, code: str) -> None:
    cell = desk.start(code)
    running = await beats(desk, pulse_of(desk), 6)
    assert not [event for event in desk.events if isinstance(event, WorkerStuck)]
    await end(desk, cell, running)


async def test_a_stopped_worker_is_named_again_after_it_went_on(desk: Desk) -> None:
    pulse = pulse_of(desk)
    for expected in (1, 2):
        os.kill(desk.session.pid, signal.SIGSTOP)
        running = await beats(desk, pulse, 4)
        running.cancel()
        found = [event for event in desk.events if isinstance(event, WorkerStuck)]
        assert found == [WorkerStuck("desk", desk.session.pid, STOPPED)] * expected
        os.kill(desk.session.pid, signal.SIGCONT)
        assert await desk.value("sum(range(10**6)) > 0")


HALF = """
from pathlib import Path
exec(Path({cell!r}).read_text())
Engine().raw((2**20).to_bytes(4, 'big') + b'x' * 50)
import time
"""


@pytest.mark.parametrize("after", ["5", "time.sleep(1000)", "import asyncio; await asyncio.Event().wait()"])
async def test_a_message_that_is_never_whole_is_given_up(
    desk: Desk, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What followed it, the result too, was taken for the rest of it, and its caller waited for ever."""
    monkeypatch.setattr(pulse_module, "HALF_S_MAX", 0.2)
    cell = desk.start(HALF.format(cell=str(HOSTILE)) + after)
    running = asyncio.create_task(pulse_of(desk).run())
    with pytest.raises(ProtocolError, match="did not end"):
        await cell
    assert desk.session._decoder.pending_bytes == 0  # the object of an ended worker may live on
    await end(desk, running)


@pytest.mark.parametrize("what", ["computes", "is stopped", "is not read"])
async def test_a_worker_that_may_still_end_its_message_is_waited_for(
    desk: Desk, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = desk.start(HALF.format(cell=str(HOSTILE)) + "while True: pass")
    async with asyncio.timeout(20):
        while not desk.session.half_at:  # noqa: ASYNC110 - half a message is nothing that anybody is told of
            await asyncio.sleep(0.005)
    monkeypatch.setattr(pulse_module, "HALF_S_MAX", 0.1)
    if what == "is stopped":
        os.kill(desk.session.pid, signal.SIGSTOP)
    elif what == "is not read":
        desk.session.pause_reading()
    elif what == "computes":  # some percent of a processor are enough, and looks are further apart than its ticks
        monkeypatch.setattr("tests.protocol.test_vitals.BEAT_S", 0.2)
    running = await beats(desk, pulse_of(desk), 8)
    assert not cell.done()
    await end(desk, cell, running)


async def test_memory_cpu_and_names_are_the_worker_s_own(desk: Desk) -> None:
    pulse = pulse_of(desk)
    before = pulse.look()
    assert before is not None
    await desk.value("big = bytearray(64 * 2**20); big[::4096] = b'x' * 16384; len(big)")
    cell = desk.start("while True: pass")
    running = await beats(desk, pulse, 20)
    last = [event for event in desk.events if isinstance(event, WorkerBeat)][-1]
    assert last.memory - before.memory > 60 * 2**20
    assert last.cpu > 0 or any(isinstance(e, WorkerBeat) and e.cpu > 0 for e in desk.events)
    desk.session.interrupt()
    assert isinstance(await cell, Error)
    names = await desk.value("len(globals())")
    running.cancel()
    running = await beats(desk, pulse, 3)
    assert [e.names for e in desk.events if isinstance(e, WorkerBeat)][-1] == names
    await end(desk, running)
    assert pulse.look() is None
