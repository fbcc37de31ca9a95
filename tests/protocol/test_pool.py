"""The pool with real workers (specs/pool.md)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

import durable
from bridge.launch.circuit_breaker import FAILURES_MAX
from bridge.launch.launcher import WorkerProcess
from bridge.launch.pool import Pool, WorkerPool, _answers
from bridge.launch.zygote import Zygote
from tests.protocol.desk import running


@asynccontextmanager
async def opened(settings: Pool, *, python: str = sys.executable) -> AsyncIterator[WorkerPool]:
    before = _descriptors()
    pool = WorkerPool(Zygote(python=python), Zygote(python=python, environment=lambda: {"PATH": "/bin"}), settings)
    pool.start()
    yield pool
    await pool.close()
    assert pool.metrics().live == 0
    assert _descriptors() == before


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


async def until(condition: Callable[[], bool]) -> None:
    """The kernel tells the pool, and the pool nobody: look whether it heard."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def end(process: WorkerProcess) -> None:
    """What the transport does with a worker that has ended."""
    process.kill_group()
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.pidfd, gone.set)
    await gone.wait()
    loop.remove_reader(process.pidfd)
    collected: asyncio.Future[str] = loop.create_future()
    process.reap(collected.set_result)
    await collected
    for fd in (process.pidfd, process.stdout, process.stderr):
        os.close(fd)
    process.socket.close()


async def test_ready_workers_are_taken_and_made_anew() -> None:
    async with opened(Pool(min_idle=2)) as pool:
        await until(lambda: pool.metrics().idle == 2)
        async with running((), pool) as first, running((), pool) as second:
            assert await first.value("x = 1; x") == 1
            assert (await second.error("x")).exception_type == "NameError"
            await until(lambda: pool.metrics().idle == 2)
            found = pool.metrics()
            assert (found.hits, found.misses, found.live, found.hit_rate) == (
                2,
                found.misses,
                4,
                2 / (2 + found.misses),
            )
        await until(lambda: pool.metrics().live == 2)


async def test_a_ready_worker_that_is_not_as_a_new_one_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(Pool(min_idle=1)) as pool:
        await until(lambda: pool.metrics().idle == 1)
        monkeypatch.chdir(tmp_path)
        async with running((), pool) as desk:
            assert await desk.value("import os; os.getcwd()") == str(tmp_path)
        await until(lambda: pool.metrics().idle == 1)
        monkeypatch.setenv("ADDED", "yes")
        async with running((), pool) as desk:
            assert await desk.value("import os; os.environ['ADDED']") == "yes"
        await until(lambda: pool.metrics().idle == 1)
        stopped = pool._ready[0].process.pid
        os.kill(stopped, signal.SIGSTOP)
        await until(lambda: not _answers(stopped))
        async with running((), pool) as desk:
            assert await desk.value("1") == 1
        assert (pool.metrics().hits, pool.metrics().replaced) == (0, 3)
        await until(lambda: pool.metrics().idle == 1)
        os.kill(pool._ready[0].process.pid, signal.SIGKILL)
        await until(lambda: pool.metrics().replaced == 4 and pool.metrics().idle == 1)


async def test_a_ready_worker_that_nobody_takes_is_replaced_by_and_by() -> None:
    async with opened(Pool(min_idle=1, idle_timeout=0.05)) as pool:
        await until(lambda: pool.metrics().replaced >= 2)


async def test_places_are_given_in_the_order_of_asking() -> None:
    async with opened(Pool(max=1)) as pool:
        holder = await pool.launch("holder")
        served: list[int] = []

        async def ask(n: int) -> None:
            process = await (pool.launch_isolated if n == 1 else pool.launch)(str(n))
            served.append(n)
            assert pool.metrics().live == 1
            await end(process)

        asking = [asyncio.create_task(ask(n)) for n in range(4)]
        await until(lambda: pool.metrics().waiting == 4)
        asking[2].cancel()  # it leaves its place in the queue to the others
        await end(holder)
        await asyncio.wait(asking)
        assert served == [0, 1, 3]
        assert pool.metrics().live == 0


async def test_waiting_has_an_end_and_costs_no_place() -> None:
    async with opened(Pool(max=1, acquire_timeout=0.01)) as pool:
        holder = await pool.launch("holder")
        with pytest.raises(durable.PoolExhausted, match="all 1 are other sessions'"):
            await pool.launch("late")
        assert (pool.metrics().timed_out, pool.metrics().live) == (1, 1)
        await end(holder)


async def test_a_place_that_comes_with_the_cancellation_goes_to_the_next() -> None:
    async with opened(Pool(max=1)) as pool:
        holder = await pool.launch("holder")
        waiting = asyncio.create_task(pool.launch("cancelled"))
        await until(lambda: pool.metrics().waiting == 1)
        waiter = pool._waiters[0]
        waiter.add_done_callback(lambda _: waiting.cancel())
        await end(holder)  # the place comes, and the cancellation with it
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await end(await pool.launch("next"))


async def test_what_cannot_be_started_is_not_tried_for_ever(tmp_path: Path) -> None:
    missing = str(tmp_path / "python")
    async with opened(Pool(), python=missing) as pool:
        for _ in range(FAILURES_MAX):
            with pytest.raises(durable.WorkerDied, match="No such file"):
                await pool.launch("s")
        with pytest.raises(durable.WorkerDied, match="the next attempt is in"):
            await pool.launch("s")
        assert pool.metrics().failed == FAILURES_MAX


async def test_closing_refuses_who_waits() -> None:
    async with opened(Pool(max=1)) as pool:
        holder = await pool.launch("holder")
        waiting = asyncio.create_task(pool.launch("late"))
        await until(lambda: pool.metrics().waiting == 1)
        closing = asyncio.create_task(pool.close())
        with pytest.raises(durable.EngineClosed):
            await waiting
        await closing
        await end(holder)


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"min_idle": -1},
        {"min_idle": 3, "max": 2},
        {"max": 0},
        {"idle_timeout": 0},
        {"acquire_timeout": -1},
    ):
        with pytest.raises(durable.BadArguments, match="expected"):
            Pool(**wrong)
