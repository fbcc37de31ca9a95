"""A forked worker is like a cold one, and like no other worker (specs/zygote.md Z2-Z4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.launch.launcher import ColdLauncher
from bridge.launch.zygote import Zygote
from tests.protocol.desk import Desk, running

ABOUT = """
import gc, os, signal, sys, threading
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def kind(fd):
    try: return os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
    except OSError: return None
{
    "descriptors": sorted(filter(None, map(kind, os.listdir("/proc/self/fd")))),
    "inheritable": [fd for fd in range(50) if kind(fd) and os.get_inheritable(fd)],
    "signals": [int(status[name], 16) & ~(3 << 31) for name in ("SigBlk", "SigIgn", "SigCgt")],  # 32, 33: libc's own
    "threads": [status["Threads"].strip(), threading.active_count()],
    "main thread": threading.main_thread().native_id == threading.get_native_id() == os.getpid(),
    "leader": os.getpid() == os.getsid(0) == os.getpgid(0),
    "umask": status["Umask"].strip(),
    "argv": sys.argv, "path": sys.path, "flags": [int(flag) for flag in sys.flags],
    "cwd": os.getcwd(), "environment": dict(os.environ),
    "main": [sorted(vars(sys.modules["__main__"])), vars(sys.modules["__main__"]) is globals()],
    "streams": [type(s).__name__ for s in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__)],
    "stdin": os.read(0, 1).decode(),
    "gc": [gc.isenabled(), gc.get_threshold()],
    "recursion": sys.getrecursionlimit(),
    "filters": list(map(str, __import__("warnings").filters)),
    "wakeup": signal.set_wakeup_fd(-1),
    "cpu": os.times().user < 1,
}
"""

DRAWN = """
import multiprocessing, random, secrets, tempfile, uuid
import numpy
[random.random(), random.getrandbits(64), secrets.token_hex(), str(uuid.uuid4()), tempfile.mktemp(),
 float(numpy.random.random()), float(numpy.random.default_rng().random()),
 multiprocessing.current_process().authkey.hex()]
"""


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    one = Zygote(preload=("multiprocessing", "numpy", "random", "tempfile", "uuid", "secrets"))
    yield one
    await one.close()


async def test_a_fresh_forked_worker_is_as_a_cold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zygote = Zygote()
    async with running((), zygote) as first:
        assert await first.value("1") == 1
    # What the engine changed since the zygote was started holds for workers started after.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADDED", "yes")
    monkeypatch.delenv("HOME")
    async with running((), ColdLauncher()) as cold, running((), zygote) as forked:
        reference, found = await cold.value(ABOUT), await forked.value(ABOUT)
    await zygote.close()
    assert isinstance(found, dict)
    assert found == reference
    assert found["cwd"] == str(tmp_path)
    assert found["leader"] is True


AHEAD = """
import os
del os.environ["PYTHONHASHSEED"]  # as a kernel does, which is started with it
from bridge.launch.zygote_start import fork_ahead
fork_ahead()
import asyncio, json, sys
from bridge.launch.launcher import ColdLauncher
from bridge.launch.zygote import Zygote
from bridge.launch.zygote_start import _ahead
from tests.protocol.desk import running
async def main():
    forked_pid, zygote, spawned = _ahead[0].pid, Zygote(), Zygote()
    zygote.start()
    async with running((), ColdLauncher()) as cold, running((), zygote) as ahead, running((), spawned) as usual:
        abouts = [await desk.value(sys.argv[1]) for desk in (cold, ahead)]
        modules = [await desk.value("import sys\\n[*sys.modules]") for desk in (usual, ahead)]
    assert zygote.pid == forked_pid and spawned.pid != forked_pid
    print(json.dumps([abouts, modules]))
    for each in (zygote, spawned):
        await each.close()
asyncio.run(main())
"""


def test_a_worker_of_a_zygote_that_its_engine_forked_is_as_a_cold_one() -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-P", "-c", AHEAD, ABOUT]
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, stdin=subprocess.PIPE, capture_output=True, text=True, check=True)
    (cold, ahead), (usual, modules) = json.loads(done.stdout)
    assert ahead == cold
    assert set(modules) - set(usual) == {"bridge.launch.zygote_start"}, "what only the engine needs"
    assert done.stderr == ""


async def test_it_starts_where_a_cold_one_does_when_the_directory_is_gone(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    async with running((), zygote) as desk:
        assert await desk.value("1 + 1") == 2


async def test_no_two_draw_the_same(zygote: Zygote) -> None:
    async def drawn() -> list[object]:
        async with running((), zygote) as desk:
            value = await desk.value(DRAWN)
            assert isinstance(value, list)
            return value

    first, second = await drawn(), await drawn()
    assert [a for a, b in zip(first, second, strict=True) if a == b] == []


async def test_no_worker_holds_another_ones_descriptors(zygote: Zygote) -> None:
    """Else a worker's end would not be the end of its socket, and one could write into the other's."""
    desks = [Desk((), zygote) for _ in range(4)]
    try:
        for desk in desks:
            await desk.session.start()
        seen = []
        for desk in desks:
            held = await desk.value(
                "import os\nfound = []\nfor n in os.listdir('/proc/self/fd'):\n"
                "    try: found.append(os.readlink(f'/proc/self/fd/{n}'))\n    except OSError: pass\nfound"
            )
            assert isinstance(held, list)
            seen.append({one for one in held if one.startswith(("socket:", "pipe:"))})
        assert all(len(one) == 5 for one in seen), seen  # socket, two pipes (both ends are one inode), the loop's pair
        assert len(set.union(*seen)) == sum(map(len, seen))
        ours = {os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) < 3}
        assert not set.union(*seen) & ours
    finally:
        for desk in desks:
            desk.session.kill()
            await desk.session.wait_ended()


async def test_settings_of_user_code_stay_in_its_worker(zygote: Zygote) -> None:
    async with running((), zygote) as one, running((), zygote) as other:
        await one.run(
            "import os, random, signal, sys\nrandom.seed(7)\nn = signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "os.environ['X'] = '1'\nsys.path.append('/x')\nimport builtins\nbuiltins.x = 1\nos.umask(0o77)"
        )
        code = (
            "import os, signal, sys\n[signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, 'X' in os.environ, "
            "'/x' in sys.path, 'x' in dir(__builtins__), os.umask(0o22) == 0o77]"
        )
        assert await other.value(code) == [True, False, False, False, False]
    async with running((), zygote) as later:
        assert await later.value(code) == [True, False, False, False, False]
