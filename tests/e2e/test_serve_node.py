"""A client that is not ours: the TypeScript SDK under Node against `durable serve`, its promise settled from Python."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable.store.remote.store import RemoteStore
from tests.conftest import TOKEN, Node, end_server, start_server


@pytest.fixture
def node(node_js: Node) -> list[str]:
    """The command that runs the program, beside its packages."""
    return node_command(node_js)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    server, url = start_server(tmp_path / "work.db")
    try:
        yield url
    finally:
        assert end_server(server) == 0


def node_command(node_js: Node) -> list[str]:
    return [node_js.program, str(node_js.directory / "workflow.mjs")]


async def start(node: list[str], url: str, journal: Path) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESONATE")}
    return await asyncio.create_subprocess_exec(
        *node, url, TOKEN, str(journal), stdout=asyncio.subprocess.PIPE, env=environment
    )


async def said(process: asyncio.subprocess.Process, key: str) -> Any:
    """What the program says under a key."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            found = json.loads(line)
            if key in found:
                return found[key]
    raise AssertionError(f"the program ended without {key}")


async def settle(store: RemoteStore, promise_id: str, value: object) -> None:
    data = base64.b64encode(json.dumps(value).encode()).decode()
    await store.request("promise.settle", {"id": promise_id, "state": "resolved", "value": {"data": data}})


async def test_a_workflow_of_the_typescript_sdk_ends(node: list[str], url: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    process = await start(node, url, journal)
    question = await said(process, "question")
    store = await RemoteStore.open(url)
    try:
        await settle(store, question, {"more": 8, "by": "python"})
        assert await said(process, "result") == {"first": 21, "doubled": 42, "last": 50, "by": "python"}
        assert (await store.settled("order-1")).value == {"first": 21, "doubled": 42, "last": 50, "by": "python"}
    finally:
        await store.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert journal.read_text().split() == ["first", "double", "last"]


async def test_a_workflow_whose_process_was_killed_goes_on_where_it_was(
    node: list[str], url: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    process = await start(node, url, journal)
    question = await said(process, "question")
    store = await RemoteStore.open(url)
    try:
        task = {"state": ""}
        async with asyncio.timeout(20):
            while task["state"] != "suspended":
                task = (await store.request("task.get", {"id": "order-1"})).data["task"]
        process.kill()
        await process.wait()
        await settle(store, question, {"more": 0, "by": "python"})
        again = await start(node, url, journal)
        assert (await said(again, "result"))["last"] == 42
        assert await asyncio.wait_for(again.wait(), 20) == 0
    finally:
        await store.close()
    assert journal.read_text().split() == ["first", "double", "last"]
