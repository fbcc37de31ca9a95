"""Engines that do not know a capability of the user's own that a session was made with (specs/capability.md, C9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from durable.core import events
from tests.contract.served import TOKEN, served
from tests.waiting import first_prompt


@durable.capability
def lookup(sku: str) -> str:
    return sku.upper()


async def test_execute_says_what_is_missing_and_what_is_queued_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with durable.open(path, capabilities=[lookup]) as engine:
        desk = await engine.session("desk", grants=["lookup"])
        asked = await desk.submit("found = lookup(input('Which?'))\nfound")
        prompt = await first_prompt(engine)
    seen: list[events.Event] = []
    async with durable.open(path, observer=seen.append) as engine:
        desk = await engine.session("desk")
        for refused in (
            desk.execute("lookup('b2')"),
            desk.execute("1", journal=False),
            anext(aiter(desk.stream("1"))),
        ):
            with pytest.raises(
                durable.NotServed, match=rf"'lookup' \(defined in {__name__}\).*capabilities=\[lookup\]"
            ):
                await refused
        assert [row.id for row in await engine.store.reads.list_executions(session="desk")] == [asked.id]
        with pytest.raises(durable.NotServed):
            await engine.fork("desk", "copy")
        assert [row.name for row in await engine.store.reads.sessions()] == ["desk"]
        assert await engine.answer(prompt.id, "a1")
        queued = await desk.submit("lookup('c3')")
    async with durable.open(path, observer=seen.append) as engine:
        info = await (await engine.get(asked.id)).info()
        assert (info.engine, info.attempts, info.settled_at) == (None, 0, None), info
        assert not [event for event in seen if isinstance(event, events.AttemptFailed)], "it was not even offered"
    async with durable.open(path, capabilities=[lookup]) as engine:
        desk = await engine.session("desk")
        assert (await desk.result(asked.id)).value == "A1"
        assert (await desk.result(queued.id)).value == "C3"
        assert (await desk.execute("found")).value == "A1"


@pytest.fixture(params=["file", "url"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "file":
        yield str(tmp_path / "s.db")
        return
    async with served(tmp_path / "s.db") as there:
        yield there.url


async def test_another_engine_that_is_alive_serves_it(target: str) -> None:
    knowing = durable.open(target, capabilities=[lookup], token=TOKEN)
    async with knowing as knows, durable.open(target, token=TOKEN) as other:
        await knows.session("desk", grants=["lookup"])
        desk = await other.session("desk")
        assert (await desk.execute("lookup('a1')")).value == "A1"
        await knows.close()
        with pytest.raises(durable.NotServed):
            await desk.execute("lookup('b2')")


@durable.capability
def price(sku: str) -> int:
    return len(sku)


async def test_each_of_two_engines_that_knows_half_serves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with durable.open(path, capabilities=[lookup, price]) as engine:
        await engine.session("desk", grants=["lookup", "price"])
    async with durable.open(path, capabilities=[lookup]) as one, durable.open(path, capabilities=[price]) as two:
        for engine, missing in ((one, "price"), (two, "lookup")):
            with pytest.raises(durable.NotServed, match=missing):
                await (await engine.session("desk")).execute("price(lookup('a1'))")


async def test_a_spawned_session_needs_only_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with durable.open(path, capabilities=[lookup]) as engine:
        desk = await engine.session("desk", grants=["lookup", "spawn_session"])
        code = "child = spawn_session('child', grants=[])\nspawn_session.execute('child', '1 + 1')"
        assert (await desk.execute(code)).value == 2
    async with durable.open(path) as engine:
        assert (await (await engine.session("child")).execute("2 + 2")).value == 4
        with pytest.raises(durable.NotServed):
            await (await engine.session("desk")).execute("2 + 2")


async def test_a_manifest_that_grants_it_counts_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    manifest = {"level": "restricted", "grant": ["lookup"]}
    async with durable.open(path, capabilities=[lookup]) as engine:
        await engine.session("desk", permissions=manifest)
    async with durable.open(path) as engine:
        desk = await engine.session("desk")
        waits = await desk.submit("lookup('a1')")
        assert (await waits.info()).state == "pending"
        with pytest.raises(durable.NotServed, match="lookup"):
            await desk.execute("1")
    async with durable.open(path, capabilities=[lookup]) as engine:
        assert (await (await engine.session("desk")).result(waits.id)).value == "A1"
