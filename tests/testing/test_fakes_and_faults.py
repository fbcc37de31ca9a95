"""Capabilities that a test answers itself, and a store that fails it (specs/testing.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import durable
from durable import testing

CODE = """
page = fetch(url)
seen = kv.get("seen") or 0
kv.set("seen", seen + 1)
(page, seen)
"""


@durable.function
async def reads_page(ctx: durable.Context, url: str) -> object:
    return (await ctx.execute("fetch(url)['status']", session="s", inputs={"url": url})).value


@durable.capability
def charge(cents: int) -> str:
    """Charge the card."""
    raise AssertionError("the real one is not called in tests")


async def test_a_capability_is_answered_by_the_function_of_the_test() -> None:
    asked: list[object] = []

    def fetch(**given: object) -> dict[str, object]:
        asked.append(given["url"])
        return {"status": 200}

    async def charged(cents: int) -> str:
        return f"charged {cents}"

    fakes: dict[str, Callable[..., Any]] = {"fetch": fetch, "charge": charged}
    async with testing.open(fakes=fakes, capabilities=[charge]) as engine:
        await engine.session("s", grants=["fetch:example.org", "charge"])
        assert await (await engine.start(reads_page, "https://example.org")).result() == 200
        assert asked == ["https://example.org"]
        session = await engine.session("s")
        assert (await session.execute("charge(5)")).value == "charged 5"
        assert "cents" in str((await session.execute("charge('much')")).error), "arguments are checked as before"
        assert "may not" in str((await session.execute("fetch('https://example.com')")).error), "so are permissions"


async def test_one_way_to_call_a_capability_is_faked_and_the_others_are_real() -> None:
    async with testing.open(fakes={"kv.get": lambda key, **_: f"faked {key}"}) as engine:
        session = await engine.session("s", grants=["kv"])
        found = await session.execute("kv.set('a', 1)\n(kv.get('a'), kv.list())")
        assert found.error is None
        assert found.value == ["faked a", ["a"]]


@pytest.mark.parametrize(
    ("fakes", "said"),
    [({"fetsh": print}, "no capability 'fetsh'"), ({"kv.gett": print}, "it has"), ({"ask": print}, "answers=")],
)
async def test_what_cannot_be_faked_is_told(fakes: dict[str, object], said: str) -> None:
    with pytest.raises(durable.BadArguments, match=said):
        testing.open(fakes=fakes)  # type: ignore[arg-type]


# -- faults of the store --------------------------------------------------------------------------------------------

_done: list[int] = []


def act(number: int) -> int:
    _done.append(number)
    return number


@durable.function
async def three(ctx: durable.Context) -> list[int]:
    return [await ctx.run(act, number) for number in range(3)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["task.fence", "task.fulfill", "task.acquire", "task.f*"])
async def test_a_store_that_fails_once_costs_an_attempt_and_no_result(kind: str, when: testing.When) -> None:
    _done.clear()
    async with testing.open() as engine:
        fault = engine.faults.fail(kind, when=when, skip=2 if kind == "task.fence" else 0)
        execution = await engine.start(three)
        assert await execution.result() == [0, 1, 2]
        assert fault.met == (kind != "task.acquire")
        assert sorted(set(_done)) == [0, 1, 2]
        assert len(_done) <= 4, "only the step whose result was not recorded is run again"


async def test_a_request_that_is_meant_fails_and_the_error_is_the_tests() -> None:
    async with testing.open() as engine:
        engine.faults.fail("promise.create", durable.StoreError("no disk"), matching=lambda data: "no" in data["id"])
        engine.faults.fail("task.create", durable.StoreError("no disk"), times=9)
        with pytest.raises(durable.StoreError, match="no disk"):
            await engine.start(three)
        engine.faults.clear()
        engine.faults.delay("task.create", 0.05)
        assert await (await engine.start(three)).result() == [0, 1, 2]
        with pytest.raises(durable.BadArguments, match=r"no request 'task\.fulfil'"):
            engine.faults.fail("task.fulfil")
