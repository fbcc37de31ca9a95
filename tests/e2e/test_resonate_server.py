"""Durable functions on servers of the Resonate protocol alone; the TypeScript SDK works on the same promises."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import durable
from durable.store.port import open_store
from tests.conftest import Node
from tests.e2e.resonate_servers import RESONATE_PG, resonate_pg, sdk_server

from .cli_process import Terminal
from .test_serve_node import node_command, said, start

JOBS = """
import durable
from pathlib import Path

async def note(name):
    with Path("journal").open("a") as journal:
        journal.write(f"{name}\\n")
    return name.upper()

async def breaks_twice():
    await note("try")
    if Path("journal").read_text().count("try") < 3:
        raise ValueError("not yet")
    return "at last"

@durable.function
async def nested(ctx, name):
    first = await ctx.run(note, f"{name}1")
    await ctx.sleep(0.2)
    return first + await ctx.run(note, f"{name}2")

@durable.function
async def order(ctx: durable.Context, name: str) -> list[str]:
    first = await ctx.run(note, name)
    both = await ctx.run(nested, "n")
    answer = await ctx.ask("Go on?", choices=["yes", "no"])
    last = await ctx.options(retry=durable.Retry(max_retries=5)).run(breaks_twice)
    return [first, both, answer, last]

@durable.function
async def in_session(ctx: durable.Context) -> int:
    return (await ctx.execute("1 + 1", session="s")).value
"""


@pytest.fixture(params=["sdk", "resonate-pg"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a server that has no request of ours."""
    if request.param == "sdk":
        with sdk_server(request.getfixturevalue("node_js")) as url:
            yield url
        return
    schema = os.environ.get(RESONATE_PG)
    if not schema:
        pytest.skip(f"{RESONATE_PG} names no file: it is resonate.sql of github.com/resonatehq/resonate-pg")
    with resonate_pg(request.getfixturevalue("postgres_server"), Path(schema)) as url:
        yield url


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.write("jobs.py", JOBS)
    return found


def test_a_function_that_commands_bring_to_its_end(server: str, terminal: Terminal) -> None:
    """Each command is a process of its own: what was recorded goes on in the next."""
    store = ("--store", server)
    asked = terminal.durable(*store, "run", "jobs.py::order", "a", "--id", "o1")
    assert asked.code == 4, asked
    assert f"durable answer --store {server} exec:o1:input:1 VALUE" in asked.err, asked
    assert terminal.durable(*store, "show", "o1", "--json").data["state"] == "waiting"
    done = terminal.durable(*store, "answer", "exec:o1:input:1", "yes", "--by", "ana")
    assert (done.code, done.out.strip()) == (0, '["A", "N1N2", "yes", "at last"]'), done
    again = terminal.durable(*store, "run", "jobs.py::order", "a", "--id", "o1")
    assert again.code == 0, again
    assert json.loads(again.out) == ["A", "N1N2", "yes", "at last"]
    assert (terminal.directory / "journal").read_text().split() == ["a", "n1", "n2", "try", "try", "try"]
    steps = terminal.durable(*store, "tree", "o1")
    assert "nested" in steps.out, steps


def test_what_a_server_of_promises_has_not_is_named(server: str, terminal: Terminal) -> None:
    store = ("--store", server)
    terminal.durable(*store, "exec", "s", "1 + 1").failed(1, "is a Resonate server, which has no sessions")
    inside = terminal.durable(*store, "run", "jobs.py::in_session", "--id", "i")
    assert inside.code == 1, inside
    assert "is a Resonate server, which has no sessions" in inside.err, inside


async def test_two_engines_answer_cancel_and_go_on(server: str) -> None:
    @durable.function(name="two_engines")
    async def waits(ctx: durable.Context) -> str:
        return str(await ctx.ask("Which?", schema=str))

    async with durable.open(server) as one, durable.open(server, serve=False) as two:
        execution = await one.start(waits, id="w")
        while (change := one.changed()) and not (prompts := await one.prompts()):
            await change
        waiting = asyncio.ensure_future((await two.get("w")).result())
        assert await two.answer(prompts[0].id, "this", by="bea")
        async with asyncio.timeout(10):
            assert await waiting == await execution.result() == "this"
        with pytest.raises(durable.Conflict, match="answered with 'this' by bea"):
            await one.answer(prompts[0].id, "that")
        with pytest.raises(durable.StoreLacks) as lacking:
            await one.session("s")
        assert lacking.value.lacking == "sessions"

        other = await one.start(waits, id="x")
        assert await two.cancel("x", "no more")
        with pytest.raises(durable.ExecutionCancelled, match="no more"):
            await other.result()
        await one.start(waits, id="y")
        while (change := one.changed()) and await (await one.get("y")).state() != "waiting":
            await change
        assert await two.interrupt("y")
        with pytest.raises(durable.Halted):
            await (await one.get("y")).result(timeout=20)
        assert await two.resume("y")


async def test_a_workflow_of_the_typescript_sdk_and_an_engine_share_promises(node_js: Node, tmp_path: Path) -> None:
    """On the SDK's own server: resonate-pg lets nobody wait for the promise that the program makes."""
    with sdk_server(node_js) as server:
        process = await start(node_command(node_js), server, tmp_path / "journal")
        question = await said(process, "question")
        store = await open_store(server)
        try:
            data = base64.b64encode(json.dumps({"more": 8, "by": "python"}).encode()).decode()
            await store.request("promise.settle", {"id": question, "state": "resolved", "value": {"data": data}})
            result = await said(process, "result")
            assert result == {"first": 21, "doubled": 42, "last": 50, "by": "python"}
            assert (await store.settled("order-1")).value == result
        finally:
            await store.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_function_that_nobody_here_knows_is_not_tried_without_pause(server: str) -> None:
    """The server gives its task to whoever listens in the group: the engine hands it back, each time later."""
    store = await open_store(server)
    try:
        async with durable.open(server):
            promise = {
                "id": "exec:strange",
                "timeoutAt": 2**52,
                "param": {"data": base64.b64encode(b'{"func": "strange", "args": [], "version": 1}').decode()},
                "tags": {"resonate:target": "poll://any@default", "resonate:origin": "exec"},
            }
            await store.request("promise.create", promise)
            await asyncio.sleep(2.5)
            task = (await store.request("task.get", {"id": "exec:strange"})).data["task"]
            assert 1 <= task["version"] <= 3
            assert (await store.request("promise.get", {"id": "exec:strange"})).data["promise"]["state"] == "pending"
    finally:
        await store.close()


async def test_a_schedule_starts_executions(node_js: Node, terminal: Terminal) -> None:
    with sdk_server(node_js) as url:
        made = terminal.durable("--store", url, "schedule", "create", "s", "* * * * *", "jobs.py::order", "a", "--json")
        assert made.code == 0, made
        due = _milliseconds(made.data["next_run_at"])
        await envelope(url, "debug.tick", {"time": due})
        found = await envelope(url, "promise.get", {"id": f"exec:s-{due}"})
        assert found["promise"]["state"] == "pending"
        waited = terminal.durable("--store", url, "wait", f"s-{due}")
        assert waited.code == 4, waited
        terminal.durable("--store", url, "schedule", "list").failed(1, "schedule.search")
        assert terminal.durable("--store", url, "schedule", "delete", "s").code == 0


async def envelope(url: str, kind: str, data: dict[str, Any]) -> Any:
    async with aiohttp.ClientSession() as client, client.post(url, json={"kind": kind, "head": {}, "data": data}) as it:
        return (await it.json())["data"]


def _milliseconds(moment: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(moment).timestamp() * 1000)
