"""Engines on one database that are killed, or stopped for longer than their lease."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import durable
from durable.core.events import Event, PeerDead
from tests.e2e import stopped_engine
from tests.postgres_server import PostgresServer, rows_of
from tests.warm_python import PYTHON


@asynccontextmanager
async def _far_engine(url: str) -> AsyncIterator[Process]:
    command = (PYTHON, "-m", "tests.e2e.stopped_engine", url)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _heard(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stopped_engine.PostgresStore.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
    monkeypatch.setitem(before, "lease_ms", stopped_engine.LEASE_MS)


@pytest.mark.usefixtures("short_leases")
async def test_an_engine_that_was_stopped_for_longer_than_its_lease_changes_nothing_that_others_did_meanwhile(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.url()
    async with durable.open(url, serve=False) as client, _far_engine(url) as far, asyncio.timeout(100):
        worker = os.pidfd_open(int(await _heard(far)))
        execution = await client.start(stopped_engine.ask_who, id="asked")
        assert await _heard(far) == "begun"
        far.send_signal(signal.SIGSTOP)
        async with durable.open(url):
            assert await execution.result() == "near"
            # The session's worker is ended, though its engine stands still: another may take the session by now (E6).
            ended, _, _ = await asyncio.to_thread(select.select, [worker], [], [], 60)
            assert ended
            far.send_signal(signal.SIGCONT)
            assert far.stdin is not None
            far.stdin.write(b"go\n")
            assert await _heard(far) == "discarded asked"
        os.close(worker)
        assert await execution.result() == "near"
    assert rows_of(url, "SELECT version FROM tasks WHERE id='exec:asked'") == [(2,)]


@pytest.mark.usefixtures("short_leases")
async def test_what_a_killed_engine_ran_goes_on_elsewhere(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    async with durable.open(url, serve=False) as client, _far_engine(url) as far, asyncio.timeout(100):
        await _heard(far)
        execution = await client.start(stopped_engine.ask_who, id="asked")
        assert await _heard(far) == "begun"
        async with durable.open(url):
            far.kill()
            assert await execution.result() == "near"


@pytest.mark.usefixtures("short_leases")
async def test_what_a_stopped_engine_ran_and_nobody_took_is_its_own_when_it_goes_on(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.url()
    buried = asyncio.Event()

    def observe(event: Event) -> None:
        if isinstance(event, PeerDead):
            buried.set()

    async with (
        durable.open(url, serve=False, observer=observe) as client,
        _far_engine(url) as far,
        asyncio.timeout(100),
    ):
        await _heard(far)
        execution = await client.start(stopped_engine.ask_who, id="asked")
        assert await _heard(far) == "begun"
        far.send_signal(signal.SIGSTOP)
        await buried.wait()
        far.send_signal(signal.SIGCONT)
        assert far.stdin is not None
        far.stdin.write(b"go\n")
        assert await execution.result() == "far"
    assert rows_of(url, "SELECT version FROM tasks WHERE id='exec:asked'") == [(1,)]
