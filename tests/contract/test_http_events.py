"""Streams of the HTTP API: a client that is cut off and comes back misses nothing (specs/http-api.md, Events)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.http.api.event_log import EVENTS_KEPT_MAX, EventLog

from .api_server import ApiServer, api_server
from .opened import acquire, opened, promise, root, settle


@durable.function(name="api-prints")
async def prints(ctx: durable.Context) -> int:
    for n in range(3):
        await ctx.execute(f"print('line', {n})", session="printer")
    return 3


async def settled(store: Any, name: str) -> None:
    await acquire(store, name)
    action = {"kind": "promise.settle", "data": settle(f"exec:{name}")}
    await store.request("task.fulfill", {"id": f"exec:{name}", "version": 1, "action": action})


class EventReader:
    """A client of the events, which counts what becomes of each execution and comes back behind its last event."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.last: str | None = None
        self.told: list[tuple[str, str]] = []
        self.resets = 0

    async def read(self, *, until: tuple[str, str] | None = None, count: int | None = None) -> None:
        """Read until that is told, or so many events came; then the connection is cut."""
        events = self._server.events("/events", last=self.last)
        async with asyncio.timeout(30), contextlib.aclosing(events):  # type: ignore[type-var]
            async for event in events:
                self.last = event["id"]
                if event["event"] in ("ready", "reset"):
                    self.resets += event["event"] == "reset"
                    if until is None and count is None:
                        return
                    continue
                found = (event["event"], event["data"].get("prompt") or event["data"]["execution"])
                self.told.append(found)
                if found == until or (count is not None and len(self.told) >= count):
                    return


async def test_nothing_is_lost_over_cut_connections(tmp_path: Path) -> None:
    """Executions begin and end while nobody listens, in this process and in another one on the same store."""
    async with api_server(tmp_path / "s.db", runs=False) as server, opened(tmp_path / "s.db") as other:
        reader = EventReader(server)
        await reader.read()
        names = [f"e{n}" for n in range(30)]
        for n, name in enumerate(names):
            store = server.store if n % 2 else other
            await store.request("promise.create", root(name))
            if n % 3 == 0:
                await reader.read(until=("execution.created", name))  # and cut again
            await settled(store, name)
        asked = promise("exec:e0:input:1", durable_capability="input", resonate_external="true")
        await other.request("promise.create", asked)
        await reader.read(until=("prompt.asked", "exec:e0:input:1"))
        await other.request("promise.settle", settle("exec:e0:input:1"))
        await reader.read(until=("prompt.settled", "exec:e0:input:1"))
        assert reader.resets == 0
        for kind in ("execution.created", "execution.settled"):
            found = [name for each, name in reader.told if each == kind]
            assert sorted(found) == sorted(names), kind
        for name in names:
            own = [kind for kind, each in reader.told if each == name]
            assert (own[0], own[-1]) == ("execution.created", "execution.settled")


async def test_two_readers_are_told_the_same_in_the_same_order(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        one, two = EventReader(server), EventReader(server)
        await one.read()
        two.last = one.last
        for n in range(5):
            await server.store.request("promise.create", root(f"e{n}"))
            await settled(server.store, f"e{n}")
        await one.read(until=("execution.settled", "e4"))
        await two.read(until=("execution.settled", "e4"))
        assert one.told == two.told
        assert one.last == two.last


@pytest.mark.file_only("the log is the server's")
async def test_who_cannot_go_on_is_told_to_look_anew(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        for last in ("another-server-7", "x", "-1", f"{'0' * 12}-3", "é".encode().decode("latin-1")):
            reader = EventReader(server)
            reader.last = last
            await reader.read()
            assert reader.resets == 1, last
        log: EventLog = server.site.events
        reader = EventReader(server)
        await reader.read()
        log._kept.clear()
        log._count += EVENTS_KEPT_MAX + 1
        await reader.read()
        assert reader.resets == 1


@pytest.mark.file_only("the stream is the server's")
async def test_a_stream_ends_by_its_age_and_goes_on(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        server.site.stream_s = 0.2
        last = None
        for n in range(3):
            found = [event async for event in server.events("/events", last=last)]
            last = found[-1]["id"] if found else last
            await server.store.request("promise.create", root(f"e{n}"))
        server.site.stream_s = 30.0
        reader = EventReader(server)
        reader.last = last
        await reader.read(until=("execution.created", "e2"))


async def test_output_goes_on_where_a_client_was_cut_off(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.post("/sessions", {"name": "desk"})
        code = "import time\nfor n in range(20):\n    print('line', n, flush=True)\n    time.sleep(0.02)"
        await server.post("/sessions/desk/executions", {"code": code}, idempotency_key="loop")
        text, last, cuts = "", None, 0
        async with asyncio.timeout(60):
            while True:
                events = server.events("/executions/desk@loop/output/stream", last=last)
                async with contextlib.aclosing(events):  # type: ignore[type-var]
                    async for event in events:
                        last = event["id"]
                        if event["event"] == "output":
                            assert event["data"]["offset"] == len(text)
                            text += event["data"]["text"]
                            cuts += 1
                            break  # cut off after each piece
                        assert event["event"] == "end"
                        assert event["data"]["state"] == "completed"
                        assert text == "".join(f"line {n}\n" for n in range(20))
                        assert cuts > 1
                        return


async def test_output_of_a_function_is_that_of_its_cells(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-prints", "id": "p"})
        text, last = "", None
        async with asyncio.timeout(60):
            async for event in server.events("/executions/p/output/stream"):
                text += event["data"].get("text", "")
                last = event["id"]
        assert text == "line 0\nline 1\nline 2\n"
        again = [event["event"] async for event in server.events("/executions/p/output/stream", last=last)]
        assert again == ["end"]
        status, problem = await server.call("GET", "/executions/p/output/stream", last_event_id="other:1.0")
        assert (status, problem["code"]) == (400, "BAD_ARGUMENTS")
