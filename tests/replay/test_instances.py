"""Methods of registered objects as durable functions: each object serves its own (specs/execution.md, Identity)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.functions import definition
from tests.waiting import in_state


@dataclass  # which has no hash
class Mailer:
    host: str

    @durable.function
    async def send(self, ctx: durable.Context, to: str, signed: bool = True) -> str:
        posted = await ctx.run(self.post, to)
        return posted + (await ctx.run(self.sign, "me") if signed else "")

    @durable.function(version=3, retry=durable.Retry(max_retries=1, delay=0.01))
    async def sign(self, ctx: durable.Context, what: str) -> str:
        await ctx.signal("pen", timeout=0.01, default=None)
        return f" {what}@{self.host}"

    @durable.function(name="wait")
    async def waits(self, ctx: durable.Context) -> str:
        return f"{await ctx.signal('go')} {self.host}"

    def post(self, to: str) -> str:
        return f"{to} via {self.host}"


class Louder(Mailer):
    def post(self, to: str) -> str:
        return super().post(to).upper()


@pytest.fixture
def registered() -> Iterator[dict[str, Any]]:
    before = dict(definition._registered)
    yield {
        "eu": durable.register(Mailer("eu.example"), "eu"),
        "us": durable.register(Mailer("us.example"), "us"),
        "loud": durable.register(Louder("eu.example"), "loud"),
    }
    for id in set(definition._registered) - set(before):
        forget(definition._registered[id].object)


def forget(instance: object) -> None:
    """As in a process that registers no such object."""
    for function in definition._registered.pop(id(instance)).functions.values():
        for each in function.ids:
            del definition.KNOWN[each]


async def test_each_object_serves_its_own_methods(registered: dict[str, Any], place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        eu, us, loud = registered["eu"], registered["us"], registered["loud"]
        assert await (await engine.start(eu.send, "ana", id="a")).result(10) == "ana via eu.example me@eu.example"
        assert await (await engine.start(us.send, "bob", signed=False)).result(10) == "bob via us.example"
        assert await (await engine.start(loud.send, "cy")).result(10) == "CY VIA EU.EXAMPLE me@eu.example"
        assert await (await engine.start(eu.send, "ana", id="a")).result(10) == "ana via eu.example me@eu.example"
        with pytest.raises(durable.Conflict, match=r"Mailer\(us\)\.send"):
            await engine.start(us.send, "ana", id="a")
        row = await (await engine.get("a")).info()
        assert row.function == "tests.replay.test_instances::Mailer(eu).send@1"
        assert [each.id for each in await engine.executions(function="Mailer(eu).send")] == ["a"]


async def test_what_waits_goes_on_only_where_its_object_is(registered: dict[str, Any], place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        execution = await engine.start(registered["eu"].waits, id="w")
        await in_state(engine, execution, "waiting")
        assert (await execution.info()).function == "wait(eu)@1"
    forget(registered["eu"])
    async with durable.open(place, durability="process") as engine:
        execution = await engine.get("w")
        await execution.signal("go", "gone")
        other = await engine.start(registered["us"].send, "bob")
        await other.result(10)
        row = await execution.info()
        assert (row.engine, row.settled_at, row.attempts) == (None, None, 0), "no engine has that object"
        again = durable.register(Mailer("moved.example"), "eu")
        registered["eu"] = again
        assert await execution.result(10) == "gone moved.example"


def test_what_cannot_be_registered_or_started_is_told(registered: dict[str, Any]) -> None:
    eu = registered["eu"]
    assert durable.register(eu, "eu") is eu
    with pytest.raises(durable.Conflict, match="another Mailer is registered as 'eu'"):
        durable.register(Mailer("other"), "eu")
    with pytest.raises(durable.Conflict, match="registered already, as 'eu'"):
        durable.register(eu, "second")
    for name in ("", "a b", "a(b)", "x" * 65, "ü", 5):
        with pytest.raises(durable.BadArguments, match="cannot be the name"):
            durable.register(Mailer("x"), name)  # type: ignore[arg-type]
    with pytest.raises(durable.BadArguments, match="object has no durable methods"):
        durable.register(object(), "x")
    with pytest.raises(durable.BadArguments, match="aliases"):

        class Aliased:
            @durable.function(aliases=["old"])
            async def run(self, ctx: durable.Context) -> None: ...

    assert repr(Mailer.send) == "<durable method Mailer.send>"


async def test_an_object_that_is_not_registered_has_plain_methods(registered: dict[str, Any]) -> None:
    plain = Mailer("plain.example")

    @durable.function
    async def outer(ctx: durable.Context) -> str:
        return str(await ctx.run(registered["eu"].sign, "outer"))

    async with durable.open(":memory:") as engine:
        for method in (plain.send, Mailer.send):
            with pytest.raises(durable.BadArguments, match=r"durable\.register\(Mailer"):
                await engine.start(method, "x")
        assert await (await engine.start(outer)).result(10) == " outer@eu.example"


def test_a_method_with_a_name_of_its_own_has_it_once_for_each_name_of_an_object(registered: dict[str, Any]) -> None:
    known = dict(definition.KNOWN)
    with pytest.raises(durable.Conflict, match=r"wait\(us\) is a method of a Mailer already"):
        durable.register(Louder("us.example"), "us")
    assert known == definition.KNOWN, "nothing of it is left"


def test_a_class_that_is_loaded_anew_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
import durable

class Service:
    @durable.function
    async def host(self, ctx):
        return "HOST"

service = durable.register(Service(), "one")
"""
    (tmp_path / "services_of_instances.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("services_of_instances")
    first = module.service
    (tmp_path / "services_of_instances.py").write_text(text.replace("HOST", "another"))
    second = importlib.reload(module).service
    assert isinstance(second.host, durable.Function)
    assert not isinstance(first.host, durable.Function), "the newest counts"
    assert definition.known_as(second.host.id) is second.host
    forget(second)
