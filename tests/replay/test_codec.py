"""Encryption and compression of values: nothing plain in the store, rotation, wrong keys by id (specs/codec.md)."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core import value_codec
from durable.executions.forking import fork_each
from tests.waiting import first_prompt, in_state

SECRET = "the launch is on tuesday"
KEY, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture(autouse=True)
def no_keys() -> Iterator[None]:
    """Each test has the keys that it names: a process remembers all that it was given."""
    before = dict(value_codec._known)
    value_codec._known.clear()
    yield
    value_codec._known.clear()
    value_codec._known.update(before)


async def leak(text: str) -> str:
    return f"{text} again"


async def fails(text: str) -> str:
    raise ValueError(text)


@durable.function
async def keeps(ctx: durable.Context, text: str) -> dict[str, Any]:
    out = [await ctx.run(leak, text)]
    await ctx.stream("s").write(text, text)
    await ctx.publish(said=text)
    try:
        await ctx.options(retry=durable.Retry(max_retries=1, delay=0)).run(fails, text)
    except ValueError as error:
        out.append(str(error).removeprefix("ValueError: "))
    out.append(await ctx.ask(text))
    out.append(await ctx.signal("word", timeout=1000))
    out.append(await ctx.start(inner, text))
    return {"out": out}


@durable.function
async def inner(ctx: durable.Context, text: str) -> str:
    return text


async def through(engine: durable.Engine, id: str, client: durable.Engine | None = None) -> Any:
    client = client or engine
    execution = await client.start(keeps, SECRET, id=id)
    prompt = await first_prompt(client)
    assert prompt.question == SECRET
    await client.answer(prompt.id, SECRET)
    await client.signal(id, "word", SECRET)
    found = await execution.result(20)
    assert [item.value async for item in client.stream(id, "s", 1)] == [SECRET]
    assert await client.published(id, "said") == SECRET
    return found


async def test_nothing_of_a_value_is_plain_in_the_store(tmp_path: Path) -> None:
    codec = durable.ValueCodec({"k1": KEY}, current="k1")
    async with durable.open(tmp_path / "s.db", durability="process", codec=codec) as engine:
        found = await through(engine, "sealed")
        assert found == {"out": [f"{SECRET} again", SECRET, SECRET, SECRET, SECRET]}
        fork = await engine.fork_execution("sealed", step=7, new_id="forked")
        assert (await fork.result(20))["out"][-1] == SECRET
    for path in tmp_path.iterdir():
        if path.is_file():
            data = path.read_bytes()
            for part in ("tuesday", "launch"):
                assert part.encode() not in data, path
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        values = file.execute("SELECT id, param_data, value_data FROM promises").fetchall()
    plain = [id for id, *data in values for each in data if each and not each.startswith(value_codec.SEALED)]
    for id in plain:  # offsets of writes are the store's own
        assert id in ("exec:sealed.2", "exec:sealed.3", "exec:forked.2", "exec:forked.3"), id
    assert b"1" * 32 not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


async def test_every_kind_of_store_takes_sealed_values(place: str) -> None:
    codec = durable.ValueCodec({"k1": KEY}, current="k1")
    async with durable.open(place, durability="process", codec=codec) as engine:
        await through(engine, "anywhere")
        promise = (await engine.store.request("promise.get", {"id": "exec:anywhere"})).data["promise"]
        assert promise["param"]["data"].startswith(value_codec.SEALED)
        assert promise["value"]["data"].startswith(value_codec.SEALED)
        row = await engine.store.reads.get_execution("anywhere")
        assert row is not None
        assert row.param["args"] == [SECRET]


async def test_keys_are_rotated_and_old_values_are_read(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "s.db", codec=durable.ValueCodec({"k1": KEY}, current="k1")) as engine:
        execution = await engine.start(keeps, SECRET, id="rotated")
        await in_state(engine, execution, "waiting")
    both = durable.ValueCodec({"k1": KEY, "k2": OTHER}, current="k2")
    async with durable.open(tmp_path / "s.db", codec=both) as engine:
        found = await through(engine, "rotated")
        assert found["out"][-1] == SECRET
        values = [(await engine.store.request("promise.get", {"id": each})).data for each in ("exec:rotated",)]
        promise = values[0]["promise"]
    ids = [base64.b64decode(promise[name]["data"])[6:8] for name in ("param", "value")]
    assert ids == [b"k1", b"k2"]


async def test_without_the_key_an_execution_is_halted_by_its_id_and_goes_on_with_it(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "s.db", codec=durable.ValueCodec({"k1": KEY}, current="k1")) as engine:
        execution = await engine.start(keeps, SECRET, id="halted")
        await in_state(engine, execution, "waiting")
        prompt = await first_prompt(engine)
    sealing = durable.ValueCodec({"k1": KEY}, current="k1")
    async with durable.open(tmp_path / "s.db", codec=sealing, serve=False) as client:  # which goes on with nothing
        await client.answer(prompt.id, SECRET)
    for codec, part in (
        (durable.ValueCodec(), "not here"),
        (durable.ValueCodec({"k1": OTHER}, current="k1"), "another key"),
    ):
        value_codec._known.clear()
        value_codec._remember(codec._keys)
        async with durable.open(tmp_path / "s.db", codec=codec) as engine:
            execution = await engine.get("halted")
            await engine.resume("halted")
            with pytest.raises(durable.Halted, match="'k1'") as told:
                await execution.result(20)
            assert part in str(told.value)
            assert (await execution.info()).attempts == 0
    value_codec._known.clear()
    right = durable.ValueCodec({"k1": KEY}, current="k1")
    async with durable.open(tmp_path / "s.db", codec=right) as engine:
        await engine.resume("halted")
        await engine.signal("halted", "word", SECRET)
        execution = await engine.get("halted")
        assert len((await execution.result(20))["out"]) == 5
    value_codec._known.clear()
    async with durable.open(tmp_path / "s.db", serve=False) as client:
        with pytest.raises(durable.KeyUnavailable, match="'k1', which is not here") as missing:
            await (await client.get("halted")).result(5)
        assert missing.value.key_id == "k1"
        with pytest.raises(durable.KeyUnavailable):
            await client.published("halted", "said")


@durable.function
async def fails_once(ctx: durable.Context) -> str:
    return await ctx.run(fails, "it")


async def test_a_failure_that_cannot_be_opened_keeps_no_other_from_its_retry(tmp_path: Path) -> None:
    for name, codec in (("sealed", durable.ValueCodec({"k1": KEY}, current="k1")), ("plain", None)):
        async with durable.open(tmp_path / "s.db", codec=codec) as engine:
            with pytest.raises(durable.ExecutionError):
                await (await engine.start(fails_once, id=name)).result(20)
    value_codec._known.clear()
    async with durable.open(tmp_path / "s.db", serve=False) as client:
        found = await fork_each(client.store, await client.executions(), None, dry_run=True)
        assert [(each.source, "'k1'" in each.problem, each.begun_again) for each in found] == [
            ("plain", False, ["plain.1"]),
            ("sealed", True, []),
        ]
        outcome = await client.bulk("retry", function="fails_once", dry_run=True)
        assert [(each.id, each.able) for each in outcome.items] == [("plain", True), ("sealed", False)]


def test_a_codec_says_what_is_wrong_and_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = base64.b64encode(KEY).decode()
    for keys, current in (({"a": b"short"}, "a"), ({"a": KEY}, None), ({"a": KEY}, "b"), ({"a:b": KEY}, "a:b")):
        with pytest.raises(durable.BadArguments) as told:
            durable.ValueCodec(keys, current=current)
        assert secret not in str(told.value)
        assert "111" not in str(told.value)
    assert "1111" not in repr(durable.ValueCodec({"a": KEY}, current="a"))
    other = base64.b64encode(OTHER).decode()
    for entries, why in (
        (f"k1:{secret},k2:no base64!", "entry 2"),
        ("k1", "entry 1"),
        (f"k1:{secret},k1:{other}", "two keys with the id 'k1'"),
    ):
        monkeypatch.setenv("DURABLE_KEYS", entries)
        with pytest.raises(durable.BadArguments, match=why) as told:
            durable.ValueCodec.from_environment()
        assert secret not in str(told.value)
    monkeypatch.setenv("DURABLE_KEYS", f"k1:{secret}, k2:{other}")
    found = durable.ValueCodec.from_environment()
    assert found is not None
    assert found.current == "k1"


@pytest.mark.parametrize("size", [0, 1, 100, 1_023, 1_024, 100_000])
@pytest.mark.parametrize("compress", [True, False])
def test_what_is_sealed_opens_and_what_was_changed_does_not(size: int, compress: bool) -> None:
    codec = durable.ValueCodec({"k": KEY}, current="k", compress=compress)
    for data in (b'"' + b"x" * size + b'"', b'"' + base64.b64encode(os.urandom(size)) + b'"'):
        sealed = codec.seal(data)
        assert value_codec.unseal(sealed) == data
        assert codec.seal(sealed) == sealed, "nothing is sealed twice"
        assert codec.seal(data) != sealed, "equal values do not look equal"
        for place in range(4, len(sealed), max(1, len(sealed) // 50)):
            changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
            with pytest.raises(durable.KeyUnavailable):
                value_codec.unseal(changed)
    only_compressed = durable.ValueCodec(compress=True)
    assert value_codec.unseal(only_compressed.seal(b"[" + b"1," * size + b"1]")) == b"[" + b"1," * size + b"1]"
