"""The bounds of specs/isolation.md, reached for by everything that a kernel lets code hold or burn, and not passed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from bridge.confine import cgroup
from bridge.confine.cgroup import means
from bridge.confine.usage import TreeUsage
from tests.e2e.isolated import need

MEMORY = 256 * 2**20
BOUND = 320 * 2**20

HOLD = {
    "heap": "parts = []\nfor _ in range(64): parts.append(bytearray(2**24))",
    "mmap": """
import mmap
maps = []
for _ in range(64):
    maps.append(mmap.mmap(-1, 2**24))
    maps[-1].write(b"x" * 2**24)
""",
    "memfd": """
import os
for n in range(64): os.write(os.memfd_create("m"), b"x" * 2**24)
""",
    "posix shm": "for n in range(64): open(f'/dev/shm/{n}', 'wb').write(b'x' * 2**24)",
    "tmpfs": "for n in range(64): open(f'/session/{n}', 'wb').write(b'x' * 2**24)",
    "socket buffers": """
import socket
held = []
for _ in range(500):
    a, b = socket.socketpair()
    a.setblocking(False)
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**24)
    held += [a, b]
    try:
        while True: a.send(b"x" * 65536)
    except BlockingIOError: pass
""",
    "pipes": """
import os, fcntl
for _ in range(500):
    r, w = os.pipe()
    os.set_blocking(w, False)
    try: fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 2**20)
    except OSError: pass
    try:
        while True: os.write(w, b"x" * 65536)
    except BlockingIOError: pass
""",
    "stacks": """
import threading
threading.stack_size(2**24)
stop = threading.Event()
def deep(n): return deep(n - 1) if n else stop.wait()
for _ in range(64): threading.Thread(target=deep, args=(900,), daemon=True).start()
""",
    "children": """
import os, time
for _ in range(16):
    if os.fork() == 0:
        x = bytearray(2**27)
        time.sleep(60)
        os._exit(0)
""",
}
"""Each wants about a gigabyte."""

BURN = {
    "a loop": "while True: pass",
    "threads": """
import threading, hashlib
def burn():
    while True: hashlib.sha256(b"x" * 2**20).digest()
for _ in range(4): threading.Thread(target=burn, daemon=True).start()
burn()
""",
    "children": """
import os
for _ in range(4):
    if os.fork() == 0:
        while True: pass
while True: os.wait()
""",
    "a chain of forks": """
import os, time
def chain():
    while True:
        until = time.process_time() + 0.05
        while time.process_time() < until: pass
        if os.fork(): os._exit(0)
if os.fork() == 0: chain()
time.sleep(60)
""",
}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        yield engine


async def _peak(session: durable.Session, engine: durable.Engine, running: asyncio.Task[durable.Result]) -> int:
    """The most that the session's processes held, by the kernel's account, until the code ended."""
    peak = 0
    while not running.done():
        live = await engine.live(session.name)
        worker = live._worker.current
        if worker is not None and worker.pid and not worker.ended.is_set():
            found = None if worker.group is None else worker.group.memory_peak()
            peak = max(peak, found if found is not None else TreeUsage(worker.pid, isolated=True).memory_bytes())
        await asyncio.sleep(0.05)
    return peak


@pytest.mark.parametrize("what", HOLD)
@pytest.mark.parametrize("grouped", [True, False], ids=["group", "sum"])
async def test_memory_is_bounded_whatever_holds_it(
    engine: durable.Engine, what: str, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("profile isolated")
    if not grouped:
        monkeypatch.setattr(cgroup, "means", lambda: cgroup.Means(1, None, None))  # as for a user who may make none
    limits = durable.Limits(memory=MEMORY, wall=20, disk=2**30 if what == "tmpfs" else None, processes=100)
    session = await engine.session("box", profile="isolated", limits=limits)
    await session.execute("1", journal=False)
    running = asyncio.create_task(session.execute(HOLD[what] + "\nimport time\ntime.sleep(0.5)", journal=False))
    peak = await _peak(session, engine, running)
    result = await running
    assert peak > 0
    if grouped:
        assert peak <= BOUND, (what, peak, result)
    elif peak > BOUND:  # what is allocated between two looks is missed (G4), but not what is held then
        assert isinstance(result.error, durable.ResourceExceeded), (what, peak, result)
    if result.error is not None:
        assert result.error.exception_type in ("durable.ResourceExceeded", "OSError", "MemoryError"), result.error
    assert (await session.execute("1 + 1")).value == 2


IN_FLIGHT = """
import os, socket
a, b = socket.socketpair()
for _ in range(20):
    held = os.memfd_create("m")
    os.write(held, b"x" * 2**24)
    socket.send_fds(a, [b"x"], [held])
    os.close(held)
import time; time.sleep(60)
"""


@pytest.mark.parametrize("grouped", [True, False], ids=["group", "sum"])
async def test_memory_files_that_nobody_has_open_count(
    engine: durable.Engine, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """640 MiB of them waited in a socket, and no sum knew of them."""
    need("profile isolated")
    if not grouped:
        monkeypatch.setattr(cgroup, "means", lambda: cgroup.Means(1, None, None))
    session = await engine.session("box", profile="isolated", limits=durable.Limits(memory=MEMORY, wall=30))
    error = (await session.execute(IN_FLIGHT, journal=False)).error
    assert isinstance(error, durable.ResourceExceeded), error
    assert error.resource == "memory"


@pytest.mark.parametrize("what", BURN)
async def test_cpu_is_bounded_whoever_burns_it(engine: durable.Engine, what: str) -> None:
    need("profile isolated")
    if means().cpu is None:
        pytest.skip("what ends between two looks is not counted without a control group; let the engine make some")
    session = await engine.session("box", profile="isolated", limits=durable.Limits(cpu=1, processes=100, wall=60))
    await session.execute("1", journal=False)
    live = await engine.live("box")
    worker = live._worker.current
    assert worker is not None
    group = worker.group
    assert group is not None
    before = group.cpu_seconds() or 0.0
    used = before
    running = asyncio.create_task(session.execute(BURN[what], journal=False))
    while not worker.ended.is_set():
        used = max(used, group.cpu_seconds() or 0.0)
        await asyncio.sleep(0.01)
    result = await running
    assert isinstance(result.error, durable.ResourceExceeded), result
    assert result.error.resource == "cpu"
    assert 0.9 < used - before <= 1.5
    async with asyncio.timeout(10):
        while group.processes():  # noqa: ASYNC110 - killed, they go when the kernel has taken them away
            await asyncio.sleep(0.01)


async def test_what_code_left_running_counts_on(engine: durable.Engine) -> None:
    need("profile isolated")
    session = await engine.session("box", profile="isolated", limits=durable.Limits(cpu=1, processes=100))
    code = "import threading\ndef burn():\n  while True: pass\nthreading.Thread(target=burn, daemon=True).start()\n1"
    assert (await session.execute(code, journal=False)).value == 1
    worker = (await engine.live("box"))._worker.current
    assert worker is not None
    async with asyncio.timeout(30):
        await worker.ended.wait()
    assert (await session.execute("1 + 1")).value == 2


async def test_what_ran_away_ends_with_its_worker(engine: durable.Engine) -> None:
    """An open session may leave its process group; the group of its limits it cannot leave."""
    if not means():
        pytest.skip("no control groups here; let the engine make some")
    session = await engine.session("loose", limits=durable.Limits(memory=MEMORY))
    code = "import os, time\nr, w = os.pipe()\nif os.fork() == 0:\n  os.setsid(); os.write(w, b'x'); time.sleep(600)\n"
    result = await session.execute(f"{code}os.read(r, 1)\nos.getpid()", journal=False)
    worker = (await engine.live("loose"))._worker.current
    assert worker is not None
    assert worker.group is not None
    runaways = [pid for pid in worker.group.processes() if pid != result.value]
    assert runaways
    descriptors = [os.pidfd_open(pid) for pid in runaways]
    worker.kill()
    await worker.wait_ended()
    for descriptor in descriptors:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        async with asyncio.timeout(10):
            await ended.wait()
        loop.remove_reader(descriptor)
        os.close(descriptor)
