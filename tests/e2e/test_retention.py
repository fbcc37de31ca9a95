"""How long executions are kept, by function and state, wherever the store is (specs/store.md, G8 and G9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from durable.core.errors import StoreRefused
from durable.core.events import Event, ExecutionsExpired
from durable.core.limits import SWEEP_ROWS
from durable.store.port import StoreFace, open_direct
from durable.store.upkeep import expiry, gc
from tests.waiting import in_state

from .cli_process import Terminal


@durable.function(name="gone", retention=0)
async def gone(ctx: durable.Context, text: str) -> str:
    await ctx.run(str.upper, text)
    return text


@durable.function(name="by-state", retention={"completed": 0, "failed": None})
async def by_state(ctx: durable.Context, text: str) -> str:
    if text == "fails":
        raise ValueError(text)
    return await ctx.signal("go") if text == "waits" else text


@durable.function(name="says-nothing")
async def says_nothing(ctx: durable.Context) -> str:
    return "kept"


@durable.function(name="parent", retention=0)
async def parent(ctx: durable.Context) -> str:
    child = ctx.start(gone, "child")
    await child.result()
    return str(await ctx.signal("go"))


@durable.actor
class Tally:
    counted: int = 0

    async def count(self, ctx: durable.ActorContext) -> int:
        self.counted += 1
        return self.counted


async def sweep(store: StoreFace, place: str, tmp_path: Path) -> gc.Collected:
    """What an engine's housekeeping does; where the store is served, its server would."""
    if store.local is not None:
        return await last(gc.expire(store.local))
    assert place.startswith("http")
    beside = await open_direct(tmp_path / "work.db", create=False)
    try:
        return await last(gc.expire(beside))
    finally:
        await beside.close()


async def last(totals: AsyncIterator[gc.Collected]) -> gc.Collected:
    found = gc.Collected()
    async for each in totals:
        found = each
    return found


async def ids(engine: durable.Engine) -> set[str]:
    return {row.id for row in await engine.executions(limit=1000)}


async def test_what_is_kept_and_what_goes(place: str, tmp_path: Path) -> None:
    async with durable.open(place) as engine:
        for function, name, text in ((gone, "a", "a"), (by_state, "done", "done"), (by_state, "failed", "fails")):
            execution = await engine.start(function, text, id=name)
            await in_state(engine, execution, "completed", "failed")
        waits = await engine.start(by_state, "waits", id="waits")
        await in_state(engine, waits, "waiting")
        await (await engine.start(says_nothing, id="kept")).result()
        tree = await engine.start(parent, id="tree")
        await in_state(engine, tree, "waiting")
        child = "tree@@1"
        assert await ids(engine) == {"a", "done", "failed", "waits", "kept", "tree", child}
        await asyncio.sleep(0.005)  # 0 is no age in the same millisecond
        done = await sweep(engine.store, place, tmp_path)
        assert (done.executions, done.promises >= 2) == (2, True)
        assert await ids(engine) == {"failed", "waits", "kept", "tree", child}, "a child stays with its parent"
        await engine.signal("tree", "go", "on")
        assert await tree.result() == "on"
        fork = await engine.fork_execution("tree", step=2, new_id="fork")
        await in_state(engine, fork, "waiting")
        await asyncio.sleep(0.005)
        await sweep(engine.store, place, tmp_path)
        assert await ids(engine) == {"failed", "waits", "kept", "fork"}
        await engine.signal("fork", "go", "alone")
        assert await fork.result() == "alone", "a fork needs its source no more"
        assert await (await engine.start(gone, "b", id="a")).result() == "b", "its id is free"


async def test_rules_follow_the_code(place: str, tmp_path: Path) -> None:
    async with durable.open(place, retention={"completed": 0}) as engine:
        rules = (await engine.store.request("retention.list", {})).data["rules"]
        assert rules["*"] == {"completed": 0}
        assert rules[gone.id] == dict.fromkeys(("completed", "failed", "lost", "cancelled", "timed_out"), 0)
        assert rules[by_state.id] == {"completed": 0, "failed": None}
        await (await engine.start(says_nothing, id="by-default")).result()
        await asyncio.sleep(0.005)
        assert (await sweep(engine.store, place, tmp_path)).executions == 1
    kept, gone.retention = gone.retention, None
    try:
        async with durable.open(place, retention={}) as engine:
            rules = (await engine.store.request("retention.list", {})).data["rules"]
            assert (gone.id in rules, rules["*"]) == (False, {}), "code that says nothing any more"
            await (await engine.start(gone, "a", id="a")).result()
            await asyncio.sleep(0.005)
            assert (await sweep(engine.store, place, tmp_path)).executions == 0
    finally:
        gone.retention = kept


async def test_messages_to_actors_are_kept(place: str, tmp_path: Path) -> None:
    async with durable.open(place, retention={"completed": 0}) as engine:
        tally = engine.actor(Tally, "a")
        assert await tally.count() == 1
        await asyncio.sleep(0.005)
        assert (await sweep(engine.store, place, tmp_path)).executions == 0
        assert len(await ids(engine)) == 1


async def test_no_engine_can_declare_a_time_that_is_none(place: str) -> None:
    async with durable.open(place) as engine:
        for age_ms in (-1, 10**30):
            rule = {"engine": engine.engine_id, "functions": [], "retention": {"f@1": {"completed": age_ms}}}
            with pytest.raises(StoreRefused):
                await engine.store.request("engine.serve", rule)


async def test_an_engine_forgets_by_itself_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "SWEEP_ROWS", 4)
    monkeypatch.setattr(expiry, "EXPIRY_LOOK_S", 0.05)
    assert SWEEP_ROWS > 4
    forgotten: asyncio.Queue[int] = asyncio.Queue()

    def observe(event: Event) -> None:
        if isinstance(event, ExecutionsExpired):
            forgotten.put_nowait(event.executions)

    async with durable.open(tmp_path / "work.db", durability="process", observer=observe) as engine:
        for number in range(10):
            await engine.start(gone, "a", id=f"a{number}")
        await (await engine.start(says_nothing, id="kept")).result()
        count = 0
        async with asyncio.timeout(30):
            while count < 10:
                count += await forgotten.get()
        assert await ids(engine) == {"kept"}


async def test_gc_applies_rules_and_shows_them(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        for function, name, text in ((gone, "a", "a"), (by_state, "failed", "fails")):
            await in_state(engine, await engine.start(function, text, id=name), "completed", "failed")
        await (await engine.start(says_nothing, id="old")).result()
        await asyncio.sleep(0.005)
    assert terminal.durable("gc", "--rules", "--json").data["by-state@1"] == {"completed": 0, "failed": None}
    assert terminal.durable("gc", "--keep", "3", "--older-than", "0s", "--json").data["executions"] == 0
    assert terminal.durable("gc", "--dry-run", "--json").data["executions"] == 1
    assert terminal.durable("gc", "--older-than", "0s", "--json").data["executions"] == 2
    assert [row["id"] for row in terminal.durable("list", "--json").data] == ["failed"]


@durable.function(name="two-in-one")
async def two_in_one(ctx: durable.Context) -> str:
    await ctx.stream("s").write("item")
    await ctx.publish(key="value")
    return str(await ctx.start(says_nothing, id="its-child").result()) + str(await ctx.signal("go"))


async def test_one_execution_is_forgotten_at_once(place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        execution = await engine.start(two_in_one, id="one", tags={"a": "b"})
        await in_state(engine, execution, "waiting")
        await in_state(engine, await engine.get("its-child"), "completed")
        for name, why in (("one", "has not ended: cancel it first"), ("its-child", "still needed")):
            with pytest.raises(durable.Conflict, match=why):
                await engine.delete(name)
        await execution.signal("go", "on")
        assert await execution.result(20) == "kepton"
        await engine.delete("one")
        for gone_now in (
            engine.delete("one"),
            engine.get("one"),
            engine.published("one", "key"),
            engine.delete("one.1"),
        ):
            with pytest.raises(durable.NotFound):
                await gone_now
        assert [row.id for row in await engine.executions()] == ["its-child"], "it is an execution of its own"
        assert list(await engine.executions(tag=("a", "b"))) == []
        again = await engine.start(two_in_one, id="one")
        await again.signal("go", "anew")
        assert await again.result(20) == "keptanew", "nothing of the first one is there"


async def test_many_are_forgotten_by_a_command(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        await in_state(engine, await engine.start(by_state, "waits", id="waits"), "waiting")
        for number in range(3):
            await (await engine.start(says_nothing, id=f"old-{number}")).result(20)
    terminal.durable("delete", "waits").failed(6, "cancel it first")
    terminal.durable("delete", "nothing").failed(3, "no execution 'nothing'")
    terminal.durable("delete").failed(2)
    chosen = terminal.durable("cancel", "--until", "0s", "--limit", "1", "--dry-run", "--json").data
    assert [row["id"] for row in chosen] == ["waits"], "the limit counts what has not ended"
    assert len(terminal.durable("delete", "--function", "says-nothing", "--dry-run", "--json").data) == 3
    assert terminal.durable("delete", "old-0", "--json").data == [{"id": "old-0", "state": "deleted"}]
    assert terminal.durable("delete", "--until", "0s").err.endswith("2 executions of 2 deleted\n")
    assert [row["id"] for row in terminal.durable("list", "--json").data] == ["waits"]


def test_what_retention_takes() -> None:
    for given, words in ((-1, "seconds or a timedelta"), ({"ended": 1}, "'ended' is none of them"), ("1d", "by state")):
        with pytest.raises(durable.BadArguments, match=words):
            durable.function(name="never", retention=given)(says_nothing.fn)  # type: ignore[arg-type]
