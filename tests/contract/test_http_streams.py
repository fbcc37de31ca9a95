"""Streams and published values over HTTP: what is there, what is waited for, each error's status (specs/http.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from durable.records.values import pack
from tests.contract.opened import acquire, promise, root, settle
from tests.contract.served import Served, client, served


async def make(server: Served, promise_id: str, data: Any, **tags: Any) -> None:
    made = {**promise(promise_id, durable_execution="exec:run", **tags), "param": {"data": pack(data)}}
    action = {"kind": "promise.create", "data": made}
    await server.store.request("task.fence", {"id": "exec:run", "version": 1, "action": action})


async def test_streams_and_published_values_over_http(tmp_path: Path) -> None:
    async with served(tmp_path / "s.db") as server, client() as http:
        await server.store.request("promise.create", root("run"))
        await acquire(server.store, "run")

        async def get(path: str) -> tuple[int, Any]:
            async with http.get(f"{server.url}/executions/{path}") as response:
                return response.status, await response.json()

        assert (await get("other/streams/s"))[0] == 404
        assert (await get("run/streams/s?offset=-1"))[0] == 400
        assert await get("run/streams/s") == (200, {"items": [], "next_offset": 0, "ended": False})
        assert await get("run/streams/s?wait=0") == (200, {"items": [], "next_offset": 0, "ended": False})
        waiting = asyncio.create_task(get("run/streams/s?wait=20"))
        await make(server, "exec:run.1", {"items": ["a", {"b": 1}]}, durable_stream="s", durable_items="2")
        status, found = await waiting
        assert (status, [item["value"] for item in found["items"]], found["next_offset"]) == (200, ["a", {"b": 1}], 2)
        assert found["items"][0].keys() == {"offset", "value", "step", "position", "written_at"}
        _, found = await get("run/streams/s?offset=1")
        assert [item["offset"] for item in found["items"]] == [1]

        assert (await get("run/published/k"))[0] == 404
        waiting = asyncio.create_task(get("run/published/k?wait=20"))
        await make(server, "exec:run.2", {"k": [1]}, durable_publish='["k"]')
        assert await waiting == (200, {"value": [1]})
        assert await get("run/published") == (200, {"published": {"k": [1]}})
        assert (await get("other/published"))[0] == 404

        waiting = asyncio.create_task(get("run/streams/s?offset=2&wait=20"))
        missing = asyncio.create_task(get("run/published/none?wait=20"))
        await server.store.request("promise.settle", settle("exec:run"))
        assert await waiting == (200, {"items": [], "next_offset": 2, "ended": True})
        assert (await missing)[0] == 404
        headers = {"Authorization": "Bearer wrong"}
        async with http.get(f"{server.url}/executions/run/streams/s", headers=headers) as response:
            assert response.status == 401
