"""A server that is gone, or takes connections and says nothing: every call says so within a bound (http.md, L6)."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

import durable
from durable.core.errors import StoreError
from durable.store.remote import client, reads, store
from tests.conftest import TOKEN, end_server, start_server

BOUND_S = 0.5
LATE_S = 20.0
"""What a loaded machine may take longer."""


@durable.function(name="server_gone")
async def job(ctx: durable.Context) -> int:
    return await ctx.ask("go on?")


@pytest.fixture(autouse=True)
def _bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    for module in (store, reads):
        monkeypatch.setattr(module, "REQUEST_UNHEARD_S", BOUND_S)
    monkeypatch.setattr(store, "WAIT_UNHEARD_S", BOUND_S)
    monkeypatch.setattr(store, "OPEN_UNHEARD_S", BOUND_S)
    monkeypatch.setattr(client, "CONNECT_S", BOUND_S)


type How = Literal["killed", "stopped"]


@asynccontextmanager
async def gone(path: Path, how: How) -> AsyncIterator[tuple[durable.Engine, durable.Session, str]]:
    """An engine whose server has gone since; its session, and an execution that waits."""
    server, url = start_server(path)
    try:
        async with durable.open(url, observer=lambda _: None) as engine:
            session = await engine.session("desk", grants=["input"])
            assert (await session.execute("1 + 1")).value == 2
            await engine.start(job, id="waits")
            if how == "killed":
                server.kill()
                server.wait()
            else:
                server.send_signal(signal.SIGSTOP)
            try:
                yield engine, session, url
            finally:
                if how == "stopped":
                    server.send_signal(signal.SIGCONT)
    finally:
        if how == "stopped":
            end_server(server)
        elif server.stdout is not None:
            server.stdout.close()


async def _refusal(call: Callable[[], Awaitable[object]]) -> str:
    async with asyncio.timeout(BOUND_S * 4 + LATE_S):
        try:
            return repr(await call())
        except StoreError as error:
            return str(error)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_every_call_says_within_a_bound_that_the_server_is_gone(tmp_path: Path, how: How) -> None:
    async with gone(tmp_path / "work.db", how) as (engine, session, url):
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "start": lambda: engine.start(job),
            "get": lambda: engine.get("waits"),
            "cancel": lambda: engine.cancel("waits"),
            "interrupt": lambda: engine.interrupt("waits"),
            "resume": lambda: engine.resume("waits"),
            "prompts": engine.prompts,
            "answer": lambda: engine.answer("exec:waits:input:1", 1),
            "session": lambda: engine.session("other"),
            "execute": lambda: session.execute("2 + 2"),
            "journal=False": lambda: session.execute("2 + 2", journal=False),
            "audit": engine.audit,
            "open": durable.open(url).open,
        }
        if how == "killed":  # one that is stopped keeps its connections; it may be back in the next moment
            calls["result"] = durable.Execution(engine, "waits").result
        for name, call in calls.items():
            began = time.monotonic()
            said = await _refusal(call)
            # A cell that is not journaled may not need the server: its worker is here.
            assert (url in said and "is `durable serve` running there?" in said) or name == "journal=False", name
            assert time.monotonic() - began < BOUND_S * 4 + LATE_S, name


async def test_nothing_listens_and_the_command_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is `durable serve` running there"):
        await durable.open("http://127.0.0.1:9", token=TOKEN).open()
