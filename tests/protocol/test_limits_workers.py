"""Limits of a worker, cold and forked alike (specs/isolation.md, Limits)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.confine.confinement import Confinement
from bridge.confine.host_limits import execute_within
from bridge.confine.limits import Limits
from bridge.launch.launcher import WorkerLauncher
from bridge.protocol.messages import Error, Result
from durable.core.errors import ResourceExceeded, Unenforceable, WorkerDied
from tests.e2e.isolated import need
from tests.protocol.desk import Desk

type Start = Callable[..., "asyncio.Future[Desk]"]


FORKS = "import os, time\nn = 0\nwhile True:\n    if not os.fork(): time.sleep(60)\n    n += 1"


class Held(Desk):
    """A desk whose worker is confined."""

    def __init__(self, launcher: WorkerLauncher, confinement: Confinement) -> None:
        super().__init__(("fetch",), launcher)
        self.limits = confinement.limits
        self.session.confinement = confinement

    async def within(self, code: str, waits: Callable[[], bool] = lambda: False) -> Result | Error | ResourceExceeded:
        async with asyncio.timeout(60):
            return await execute_within(self.session, self.request(code), self.limits, waits)

    async def exceeded(self, code: str) -> tuple[str, float]:
        found = await self.within(code)
        assert isinstance(found, ResourceExceeded), found
        assert found.limit == getattr(self.limits, found.resource)
        return found.resource, found.used


@asynccontextmanager
async def held(launcher: WorkerLauncher, confinement: Confinement) -> AsyncIterator[Held]:
    desk = Held(launcher, confinement)
    try:
        await desk.session.start()
        yield desk
    finally:
        desk.session.kill()
        await desk.session.wait_ended()


def opened(**limits: float) -> Confinement:
    return Confinement("open", Limits(**limits))  # type: ignore[arg-type]


async def test_memory_ends_in_an_error_and_the_same_worker_goes_on(launcher: WorkerLauncher) -> None:
    async with held(launcher, opened(memory=200 * 2**20)) as desk:
        pid = desk.session.pid
        resource, used = await desk.exceeded("b = bytearray(2**30)")
        assert resource == "memory"
        assert 2**20 < used < 200 * 2**20  # what it had in memory; more was refused
        assert (await desk.exceeded("import mmap; m = mmap.mmap(-1, 2**30)"))[0] == "memory"
        assert await desk.value("b = bytearray(2**20); len(b)") == 2**20
        assert desk.session.pid == pid


async def test_a_limit_cannot_be_raised_again(launcher: WorkerLauncher) -> None:
    async with held(launcher, opened(memory=200 * 2**20, files=64, cpu=30)) as desk:
        for which in ("RLIMIT_DATA", "RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_CPU"):
            code = f"import resource\nresource.setrlimit(resource.{which}, (resource.RLIM_INFINITY,) * 2)"
            assert (await desk.error(code)).exception_type in ("ValueError", "PermissionError"), which


async def test_cpu_is_counted_for_each_execution(launcher: WorkerLauncher) -> None:
    burn = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    async with held(launcher, opened(cpu=1)) as desk:
        for _ in range(3):
            assert isinstance(await desk.within(burn), Result)
        resource, used = await desk.exceeded("while True: pass")
        assert resource == "cpu"
        assert used >= 1
        with pytest.raises(WorkerDied):
            await desk.within("1")
        await desk.session.restart()
        assert await desk.value("1 + 1") == 2


async def test_cpu_of_children_and_of_code_that_ignores_the_signal(launcher: WorkerLauncher) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    async with held(launcher, opened(cpu=1)) as desk:
        assert (await desk.exceeded(deaf))[0] == "cpu"


async def test_wall_leaves_out_waiting(launcher: WorkerLauncher) -> None:
    async with held(launcher, opened(wall=0.5)) as desk:
        waiting = asyncio.get_running_loop().create_task(desk.within("fetch()", lambda: bool(desk.waitings)))
        await desk.until(lambda: bool(desk.waitings))
        await asyncio.sleep(1)  # twice what the code may run
        assert not waiting.done()
        desk.answer(desk.calls[0], "answer")
        assert isinstance(await waiting, Result)
        resource, used = await desk.exceeded("import time; time.sleep(60)")
        assert resource == "wall"
        assert 0.5 <= used < 30


async def test_output_in_bytes(launcher: WorkerLauncher) -> None:
    async with held(launcher, opened(output=1_000)) as desk:
        assert isinstance(await desk.within("print('ü' * 499)"), Result)
        assert (await desk.exceeded("print('ü' * 501)"))[0] == "output"
        await desk.session.wait_ended()
        await desk.session.restart()
        assert (await desk.exceeded("import os\nwhile True: os.write(1, b'x' * 100)"))[0] == "output"


async def test_files(launcher: WorkerLauncher) -> None:
    async with held(launcher, opened(files=48)) as desk:
        resource, _ = await desk.exceeded("l = [open('/dev/null') for _ in range(99)]")
        assert resource == "files"
        assert await desk.value("1 + 1") == 2


async def test_processes_of_an_isolated_session(launcher: WorkerLauncher, tmp_path: Path) -> None:
    need("limits of processes and disk (isolated)")
    confinement = Confinement("isolated", Limits(processes=8), str(tmp_path))
    async with held(launcher, confinement) as desk, held(launcher, confinement) as other:
        assert (await desk.exceeded(FORKS))[0] == "processes"
        made = await desk.value("n")
        assert isinstance(made, int)
        assert 8 <= made <= 12
        assert await other.value("import os\nfor _ in range(8): os.fork() or os._exit(0)\n8") == 8  # has its own


async def test_nothing_that_it_started_outlives_it(launcher: WorkerLauncher, tmp_path: Path) -> None:
    need("profile isolated")
    async with held(launcher, Confinement("isolated", Limits(), str(tmp_path))) as desk:
        code = (
            "import os, time\nr, w = os.pipe()\nfor _ in range(3):\n    if not os.fork(): time.sleep(600)\nos.getpgrp()"
        )
        group = await desk.value(code)
        desk.session.kill()
        await desk.session.wait_ended()
        assert isinstance(group, int)
        async with asyncio.timeout(20):
            while group_lives(group):  # noqa: ASYNC110  # processes of another parent: nothing to wait on
                await asyncio.sleep(0.01)


def group_lives(group: int) -> bool:
    """Whether the group has processes that are not just waiting to be collected."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                return True
    return False


async def test_what_cannot_be_enforced_is_refused_before_anything_runs(launcher: WorkerLauncher) -> None:
    with pytest.raises(Unenforceable, match="disk"):
        opened(disk=2**20)
    if os.getuid() != 0:
        return
    desk = Held(launcher, opened(processes=8))
    with pytest.raises(Unenforceable, match="they do not bind the user 0"):
        await desk.session.start()
    assert not desk.outputs


async def test_a_directory_that_cannot_be_had_is_named(launcher: WorkerLauncher, tmp_path: Path) -> None:
    need("profile isolated")
    (tmp_path / "file").write_text("")
    desk = Held(launcher, Confinement("isolated", Limits(), str(tmp_path / "file")))
    with pytest.raises(Unenforceable, match="a directory of its own"):
        await desk.session.start()


async def test_captures_work_in_confinement(launcher: WorkerLauncher, tmp_path: Path) -> None:
    need("limits of processes and disk (isolated)")
    limits = Limits(memory=512 * 2**20, files=64, processes=4, disk=2**20)
    async with held(launcher, Confinement("isolated", limits, str(tmp_path))) as desk:
        await desk.run("import os\nl = list(range(10_000))\nb = os.urandom(2**25)", checkpoint="auto")
        payload = desk.checkpoints[-1].data
        assert len(payload) > 2**25
        for bomb in (FORKS, "f = [open('/dev/null') for _ in range(99)]"):  # nothing is left for a child that captures
            await desk.run(bomb)
            await desk.run("b = os.urandom(2**25)", checkpoint="auto")
            assert desk.checkpoints[-1].final
            assert not desk.checkpoints[-1].problem
            assert len(desk.checkpoints[-1].data) > 2**25
        desk.session.kill()
        await desk.session.wait_ended()
        await desk.session.restart()
        await desk.session.restore(bytes(payload))
        assert await desk.value("sum(l) + len(b)") == sum(range(10_000)) + 2**25
