"""Histories are replayed against today's code, and nothing is performed (specs/testing.md)."""

from __future__ import annotations

import json
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import durable
from durable import testing

_done: list[str] = []


def act(name: str) -> str:
    _done.append(name)
    return name.upper()


def fail(name: str) -> str:
    raise ValueError(name)


@durable.function
async def inner(ctx: durable.Context, name: str) -> str:
    return await ctx.run(act, name) + await ctx.run(act, name)


async def code(ctx: durable.Context, changed: str) -> object:
    first = await ctx.run(act, "other" if changed == "argument" else "a")
    if changed == "more":
        await ctx.run(act, "more")
    nested = "" if changed == "less" else await ctx.run(inner, "n")
    chosen = await ctx.ask("Which?", choices=["x", "y"])
    await ctx.sleep(timedelta(days=1))
    both = [await each for each in [ctx.run(act, "p"), ctx.run(act, "q")]]
    token = str(ctx.uuid()) if changed != "value" else "another"
    try:
        await ctx.run(fail, "boom")
    except ValueError as error:
        caught = str(error)[:15]
    if changed == "goes on":
        await ctx.run(act, "end")
    if changed == "raises":
        raise ValueError("another end")
    return [first, nested, chosen, both, token, caught, ctx.now().isoformat()]


@durable.function
async def flow(ctx: durable.Context) -> object:
    return await code(ctx, "")


@durable.function
async def fails(ctx: durable.Context) -> object:
    await ctx.run(act, "a")
    return await ctx.run(fail, "for good")


@pytest.fixture
async def history(tmp_path: Path) -> Path:
    async with testing.open(answers={"Which?": "x"}) as engine:
        await (await engine.start(flow, id="flow")).result()
        await testing.record(engine, "flow", tmp_path / "flow.history.json")
    _done.clear()
    return tmp_path / "flow.history.json"


def changed(kind: str) -> durable.Function[..., Any]:
    @durable.function(name=f"changed {kind}")
    async def other(ctx: durable.Context) -> object:
        return await code(ctx, kind)

    return other


async def test_a_history_replays_with_the_code_that_it_is_of_and_nothing_is_performed(history: Path) -> None:
    replayed = testing.replay(history)
    assert (replayed.execution, replayed.ended) == ("flow", True)
    assert replayed.operations == 9
    assert testing.replay(json.loads(history.read_text()), flow) == replayed
    assert testing.replay(history, changed("")).ended
    assert _done == []


@pytest.mark.parametrize("kind", ["argument", "more", "less"])
def test_code_that_does_other_operations_is_told_where(history: Path, kind: str) -> None:
    with pytest.raises(durable.NonDeterminism):
        testing.replay(history, changed(kind))
    assert _done == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [("value", "'another'"), ("goes on", "begins step 'act' as flow.7"), ("raises", "ValueError: another end")],
)
def test_code_that_comes_to_another_end_is_told(history: Path, kind: str, said: str) -> None:
    with pytest.raises(testing.ReplayDiffers, match=said):
        testing.replay(history, changed(kind))
    assert _done == []


async def test_histories_of_what_failed_and_of_what_still_waits(tmp_path: Path) -> None:
    async with testing.open() as engine:
        failed, open_ = await engine.start(fails, id="fails"), await engine.start(flow, id="open")
        with pytest.raises(durable.ExecutionError):
            await failed.result()
        await engine.until_idle()
        await testing.record(engine, "fails", tmp_path / "fails.history.json")
        await testing.record(engine, open_.id, tmp_path / "open.history.json")
        with pytest.raises(durable.NotFound):
            await testing.record(engine, "none", tmp_path / "none")
    _done.clear()
    assert testing.replay(tmp_path / "fails.history.json").ended
    assert not testing.replay(tmp_path / "open.history.json").ended
    assert not testing.replay(tmp_path / "open.history.json", changed("goes on")).ended, "what comes later may change"
    with pytest.raises(testing.ReplayDiffers, match="fails failed with ValueError: for good"):
        testing.replay(tmp_path / "fails.history.json", ends_well)
    assert _done == []


@durable.function(name="ends well")
async def ends_well(ctx: durable.Context) -> object:
    await ctx.run(act, "a")
    try:
        return await ctx.run(fail, "for good")
    except ValueError:
        return "well"


async def test_the_file_of_the_function_is_found_beside_the_history(tmp_path: Path, monkeypatch: Any) -> None:
    program = tmp_path / "src" / "jobs_of_history.py"
    program.parent.mkdir()
    program.write_text(
        textwrap.dedent("""
            import durable

            @durable.function
            async def job(ctx):
                return await ctx.run(len, [1])
        """)
    )
    from durable.cli.load_target import load

    async with testing.open() as engine:
        await (await engine.start(load(str(program)).job, id="job")).result()
        await testing.record(engine, "job", tmp_path / "job.history.json")
    text = (tmp_path / "job.history.json").read_text()
    assert str(tmp_path) not in text, "the file is the same on every machine"
    assert testing.replay(tmp_path / "job.history.json").function.endswith("jobs_of_history.py::job@1")


def test_what_is_no_history_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    with pytest.raises(durable.BadArguments, match="no record"):
        testing.replay(tmp_path / "x")
