"""Signals and values of promises over HTTP: what is done, and each error's status (specs/http.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from durable.records.values import pack, unpack
from tests.contract.opened import acquire, promise, root
from tests.contract.served import client, served

SCHEMA = {"schema": {"type": "integer"}}


async def test_signals_and_promises_over_http(tmp_path: Path) -> None:
    async with served(tmp_path / "s.db") as server, client() as http:
        await server.store.request("promise.create", root("run"))
        await acquire(server.store, "run")
        tags: dict[str, Any] = {"durable_signal": "n", "durable_execution": "exec:run", "resonate_external": "true"}
        for data in (
            promise("exec:run.1", **tags),
            promise("exec:run.2", durable_kind="promise", resonate_external="true"),
            promise("exec:run.3", resonate_external="true"),
        ):
            data["param"] = {"data": pack(SCHEMA)}
            action = {"kind": "promise.create", "data": data}
            await server.store.request("task.fence", {"id": "exec:run", "version": 1, "action": action})

        async def post(path: str, body: object, **headers: str) -> tuple[int, dict[str, object]]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with http.post(f"{server.url}{path}", json=body, headers=named) as response:
                return response.status, await response.json()

        signals = "/executions/run/signals/n"
        assert (await post(signals, {"value": "text"}))[0] == 422
        assert await post(signals, {"value": 7}, idempotency_key="k") == (200, {"sent": True})
        assert await post(signals, {"value": 7}, idempotency_key="k") == (200, {"sent": False})
        assert await post(signals, {"value": 7, "key": "k"}) == (200, {"sent": False})
        assert (await post(signals, {"values": 7}))[0] == 400
        assert (await post("/executions/other/signals/n", {}))[0] == 404
        assert (await post(f"/executions/run/signals/{'n' * 300}", {}))[0] == 400
        found = (await server.store.request("promise.get", {"id": "exec:run.1"})).data["promise"]
        assert unpack(found["value"]["data"]) == 7

        settle = "/promises/exec:run.2/settle"
        assert (await post(settle, {"value": []}))[0] == 422
        assert await post(settle, {"value": 8}) == (200, {"settled": True})
        assert await post(settle, {"value": 8}) == (200, {"settled": True})
        assert (await post(settle, {"value": 9}))[0] == 409
        assert (await post("/promises/exec:run.3/settle", {"value": 9}))[0] == 409
        assert (await post("/promises/exec:run.9/settle", {"value": 9}))[0] == 404
        async with http.post(f"{server.url}{settle}", json={}, headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401
