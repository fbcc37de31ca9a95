"""Values of an old key are written anew with the current one, and the old key can go (specs/codec.md, E9)."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core import value_codec
from durable.core.errors import KeyUnavailable, StoreRefused
from durable.core.value_codec import ValueCodec
from durable.executions.rekeying import keys_in_use, rekey
from durable.store.operations import sealed_values
from tests.e2e.cli_process import Terminal

pytest.importorskip("cryptography")
OLD, NEW = bytes(32), bytes([7] * 32)
LARGE = os.urandom(700_000).hex()


async def large() -> str:
    return LARGE


@durable.function
async def secretive(ctx: durable.Context, word: str) -> list[str]:
    return [word, await ctx.run(large), await ctx.signal("one"), await ctx.signal("two")]


@pytest.fixture(autouse=True)
def other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one codec of a process knows another part of it knows: here each test begins anew."""
    monkeypatch.setattr(value_codec, "_known", {})


async def waiting(execution: durable.Execution[Any], engine: durable.Engine) -> None:
    while (change := engine.changed()) and await execution.state() != "waiting":
        await change


async def test_nothing_needs_the_old_key_when_all_was_written_anew(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_values, "REKEY_ROWS", 2)
    async with durable.open(place, codec=ValueCodec({"old": OLD}, current="old")) as engine:
        execution = await engine.start(secretive, "hush", id="s")
        await waiting(execution, engine)
        await engine.signal("s", "two", "second", key="k")
        await engine.schedule("nightly", "@daily", secretive, "psst")
    both = ValueCodec({"old": OLD, "new": NEW}, current="new")
    async with durable.open(place, codec=both) as engine:
        assert await keys_in_use(engine.store) == {"old": 4}, "argument, step, signal, schedule"
        work = rekey(engine.store, both)
        await anext(work)  # ended early, while the engine goes on
        await work.aclose()
        await engine.signal("s", "one", "first")
        assert await (await engine.get("s")).result() == ["hush", LARGE, "first", "second"]
        done = [count async for count in rekey(engine.store, both)]
        assert done[-1] >= 2
        assert [count async for count in rekey(engine.store, both)][-1] == 0
        assert set(await keys_in_use(engine.store)) == {"new"}
    monkeypatch.setattr(value_codec, "_known", {})
    async with durable.open(place, codec=ValueCodec({"new": NEW}, current="new")) as engine:
        assert await (await engine.get("s")).result() == ["hush", LARGE, "first", "second"]
        assert (await engine.schedules.get("nightly")).arguments == {"args": ["psst"], "kwargs": {}}


async def test_without_the_old_key_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, codec=ValueCodec({"old": OLD}, current="old")) as engine:
        await waiting(await engine.start(secretive, "hush", id="s"), engine)
    monkeypatch.setattr(value_codec, "_known", {})
    codec = ValueCodec({"new": NEW}, current="new")
    async with durable.open(path, serve=False, codec=codec) as client:
        with pytest.raises(KeyUnavailable, match="old"):
            [count async for count in rekey(client.store, codec)]
        assert await keys_in_use(client.store) == {"old": 2}


async def test_a_page_ends_where_enough_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_values, "REKEY_BYTES", 1_000_000)
    async with durable.open(tmp_path / "work.db", serve=False) as client:
        for id in ("a", "b", "c"):
            create = {"timeoutAt": 2**53 - 1, "tags": {"resonate:external": "true"}}
            await client.store.request("promise.create", {**create, "id": id, "param": {"data": LARGE}})
        cursors, after = list[str](), ""
        while after := (await client.store.request("sealed.page", {"after": after})).data["next"]:
            cursors.append(after)
        assert cursors[:4] == ['["param",["a"]]', '["param",["b"]]', '["param",["c"]]', '["value",[]]']


@pytest.mark.parametrize(
    "after", ["x", "[]]", '["nope",[]]', '["param",[{}]]', '["param",["a","b"]]', '["signal",["a"]]']
)
async def test_a_cursor_that_somebody_made_up_is_refused(tmp_path: Path, after: str) -> None:
    async with durable.open(tmp_path / "work.db", serve=False) as client:
        with pytest.raises(StoreRefused) as refused:
            await client.store.request("sealed.page", {"after": after})
        assert refused.value.status == 400


async def test_the_command_says_which_keys_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, codec=ValueCodec({"old": OLD}, current="old")) as engine:
        await waiting(await engine.start(secretive, "hush", id="s"), engine)
    terminal = Terminal(tmp_path)
    terminal.environment["DURABLE_KEYS"] = f"new:{b64encode(NEW).decode()},old:{b64encode(OLD).decode()}"

    async def run(*words: str) -> Any:
        done = await asyncio.to_thread(terminal.durable, "--store", str(path), "--json", *words)
        assert done.code == 0, done
        return done.data

    assert await run("keys", "rekey", "--dry-run") == {"key": "new", "values": 2, "dry_run": True}
    assert await run("keys", "rekey") == {"key": "new", "values": 2, "dry_run": False}
    assert await run("keys", "list") == [
        {"key": "new", "values": 2, "here": True, "current": True},
        {"key": "old", "values": 0, "here": True, "current": False},
    ]
