"""State of a core module from call to call of a durable function (specs/sandbox.md, I1-I5)."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

import durable
from capabilities.permissions.manifest import read_manifest
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.wasm.runtime import wat
from durable.core.errors import BadArguments, ExecutionError
from durable.sandbox.wasm_instance import call_instance
from tests.e2e import sandbox_kills
from tests.e2e.sandbox_kills_job import COUNTER, SIX, charge, refund

GRANTED = ComponentManifest("counter", SIX, read_manifest({"grant": ["charge"]}))


pytestmark = pytest.mark.usefixtures("cached")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", capabilities=[charge, refund]) as made:
        await made.sandbox.add(GRANTED, COUNTER)
        yield made


@durable.function
async def begun_at_once(ctx: durable.Context) -> list[int]:
    calls = [ctx.component("counter", "add", n, instance="a") for n in (1, 2, 3)]
    apart = ctx.component("counter", "add", 50, instance="b")
    without = await ctx.component("counter", "add", 7)
    return [*await asyncio.gather(*calls), await apart, without]


@durable.function
async def fails_between(ctx: durable.Context) -> list[int]:
    first = await ctx.component("counter", "add", 1, instance="a")
    with pytest.raises(ExecutionError, match="unreachable"):
        await ctx.component("counter", "break", instance="a")
    return [first, await ctx.component("counter", "add", 2, instance="a")]


@durable.function
async def from_two_tasks(ctx: durable.Context) -> str:
    await ctx.component("counter", "add", 1, instance="a")

    async def other() -> None:
        await ctx.component("counter", "add", 1, instance="a")

    with pytest.raises(BadArguments, match="called by another task"):
        await asyncio.create_task(other())
    return "refused"


async def test_calls_go_on_from_each_other_in_the_order_they_were_begun(engine: durable.Engine) -> None:
    assert await (await engine.start(begun_at_once)).result() == [1, 3, 6, 50, 7]


async def test_a_call_that_fails_leaves_the_state_as_it_was(engine: durable.Engine) -> None:
    assert await (await engine.start(fails_between)).result() == [1, 3]


async def test_one_task_calls_it(engine: durable.Engine) -> None:
    assert await (await engine.start(from_two_tasks)).result() == "refused"


async def test_a_component_has_no_instances(engine: durable.Engine) -> None:
    await engine.sandbox.add(ComponentManifest("whole", SIX, GRANTED.permissions), wat("(component)"))
    with pytest.raises(durable.DurableError, match="only core modules have instances"):
        await engine.sandbox.call_instance("whole", "run", execution="x", instance="a", kept=None)


async def test_a_state_is_of_one_call_one_name_and_one_module(engine: durable.Engine) -> None:
    components = engine.sandbox._known()

    async def add(execution: str, kept: tuple[str, bytes] | None, instance: str = "a") -> tuple[int, bytes]:
        outcome, state = await call_instance(
            components, "counter", "add", 5, execution_id=execution, instance=instance, kept=kept
        )
        return outcome.value, state

    first, state = await add("one", None)
    second, _ = await add("two", ("one", state))
    assert (first, second) == (5, 10)
    for wrong in (("two", state), ("one", state[:-1]), ("one", state[:60] + bytes([state[60] ^ 1]) + state[61:])):
        with pytest.raises(durable.DurableError, match="not as it was made"):
            await add("three", wrong)
    with pytest.raises(durable.DurableError, match="not as it was made"):
        await add("three", ("one", state), "b")
    await engine.sandbox.add(GRANTED, COUNTER + b"\0\x02\x01x")  # a section that says nothing: another version of it
    with pytest.raises(durable.DurableError, match="of another module"):
        await add("three", ("one", state))


def test_a_state_that_somebody_changed_in_the_store_is_refused(tmp_path: Path) -> None:
    case, select = "instance, ctx.component", "SELECT id, value_data FROM promises WHERE id='exec:killed.1'"
    assert sandbox_kills.life(tmp_path, case, None, "engine:8").returncode == -9
    with closing(sqlite3.connect(tmp_path / "work.db")) as connection, connection:
        ((promise, value),) = connection.execute(select).fetchall()
        connection.execute("UPDATE promises SET value_data=? WHERE id=?", (changed(value), promise))
    done = sandbox_kills.life(tmp_path, case, None)
    assert done.returncode == 1
    assert "SnapshotRefused: the snapshot is not as it was made; nothing of it was loaded" in done.stderr


def test_killed_before_and_after_a_record_it_goes_on_from_its_state(tmp_path: Path) -> None:
    case = "instance, ctx.component"
    expected = sandbox_kills.whole(case, None)
    assert json.loads(expected.said) == [1, 3, 6, 10, 15, 21]
    for at in ("before promise.settle killed.2:charge:1", "after promise.settle killed.3:charge:1", "end"):
        folder = tmp_path / at.replace(" ", "-")
        folder.mkdir()
        sandbox_kills.killed(folder, case, None, expected.points.index(at) + 1, expected)


def changed(stored: str) -> str:
    value = json.loads(base64.b64decode(stored))
    state = bytearray(base64.b64decode(value["state"]))
    state[-1] ^= 1
    value["state"] = base64.b64encode(state).decode()
    return base64.b64encode(json.dumps(value).encode()).decode()
