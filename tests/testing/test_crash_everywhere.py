"""A function killed at every write does what it does undisturbed, or the difference is told (specs/testing.md)."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

import durable
from durable import testing

_ledger: list[str] = []
_memory: dict[str, int] = {}


def charge(item: str) -> str:
    _ledger.append(f"{item} {durable.call_id()}")
    return f"charged {item}"


async def ship(item: str) -> str:
    await asyncio.sleep(0)
    _ledger.append(f"ship {durable.call_id()}")
    return f"shipped {item}"


@durable.function
async def order(ctx: durable.Context, item: str) -> list[object]:
    paid = await ctx.run(charge, item)
    approved = await ctx.ask("Ship?", schema=bool)
    await ctx.sleep(timedelta(days=1))
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(ctx.run(ship, each)) for each in ("a", "b")]
    return [paid, approved, [each.result() for each in both], str(ctx.uuid()), ctx.now().isoformat()]


def charged_under_one_key() -> None:
    keys = Counter(line.partition(" ")[0] for line in set(_ledger))
    assert keys == {"book": 1, "ship": 2}, keys


def test_a_sound_function_comes_to_the_same_wherever_it_is_killed() -> None:
    answers = {"Ship?": True}
    report = testing.crash_everywhere(order, "book", answers=answers, before=_ledger.clear, check=charged_under_one_key)
    assert report.state == "completed"
    assert report.value[:3] == ["charged book", True, ["shipped a", "shipped b"]]
    assert report.points >= 2 * 6
    assert set(report.performed_again) == {"charge", "ship"}, "killed between the effect and its record"
    assert report.by_chance == ()


@durable.function
async def remembers(ctx: durable.Context) -> int:
    await ctx.run(charge, "book")
    _memory["n"] = _memory.get("n", 0) + 1
    await ctx.run(charge, "pen")
    return _memory["n"]


@durable.function
async def changes_its_mind(ctx: durable.Context) -> str:
    await ctx.run(charge, "book")
    return await ctx.run(charge, f"pen {uuid.uuid4()}")


def test_a_function_that_counts_its_own_replays_is_told_of() -> None:
    with pytest.raises(AssertionError, match=r"killed after commit \d+: it came to 2, not 1") as raised:
        testing.crash_everywhere(remembers, before=_memory.clear)
    assert "only='" in str(raised.value)
    assert isinstance(raised.value, testing.CrashDiffers)
    point = raised.value.crashes[0].removeprefix("killed ").partition(":")[0]
    assert any("at 1 points" in _differs_at(point) for _ in range(20))  # another grouping of writes has other points


def _differs_at(point: str) -> str:
    try:
        testing.crash_everywhere(remembers, before=_memory.clear, only=point)
    except testing.CrashDiffers as again:
        return str(again)
    return ""


def test_a_function_that_does_something_else_when_replayed_is_told_of() -> None:
    with pytest.raises(testing.CrashDiffers, match=r"it is halted, not completed: .*pen"):
        testing.crash_everywhere(changes_its_mind)


def test_the_check_of_the_test_is_asked_after_each_run() -> None:
    def once() -> None:
        assert len(_ledger) == 3, _ledger

    with pytest.raises(testing.CrashDiffers, match="check raised AssertionError"):
        testing.crash_everywhere(order, "book", answers={"Ship?": True}, before=_ledger.clear, check=once, every=2)
    with pytest.raises(ZeroDivisionError):
        testing.crash_everywhere(draws, check=lambda: 1 // 0)


def draw() -> str:
    return uuid.uuid4().hex


@durable.function
async def draws(ctx: durable.Context) -> dict[str, str]:
    return {"name": "x", "drawn": await ctx.run(draw)}


async def test_it_may_be_called_where_a_loop_runs() -> None:
    assert testing.crash_everywhere(draws, every=5).state == "completed"


def test_what_is_left_to_chance_is_no_difference_unless_it_is_compared() -> None:
    report = testing.crash_everywhere(draws)
    assert report.by_chance == ("draw",)
    assert testing.crash_everywhere(draws, compare=lambda value: value["name"], every=4).state == "completed"
    with pytest.raises(testing.CrashDiffers, match="it came to"):
        testing.crash_everywhere(draws, compare=lambda value: value, every=4)


@durable.function
async def fails(ctx: durable.Context) -> None:
    ctx.compensate(charge, "undo")
    await ctx.run(charge, "book")
    raise ValueError("sold out")


@durable.function
async def waits_for_ever(ctx: durable.Context) -> None:
    await ctx.signal("never")


def test_failures_and_waits_are_outcomes_too() -> None:
    report = testing.crash_everywhere(fails, every=3)
    assert (report.state, report.value) == ("failed", "ValueError: sold out")
    assert testing.crash_everywhere(waits_for_ever, every=2).state == "stuck"


def note(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


@durable.function
async def notes(ctx: durable.Context, path: str) -> int:
    await ctx.run(note, path, "one")
    _memory["n"] = _memory.get("n", 0) + 1
    await ctx.sleep(3600)
    await ctx.run(note, path, "two")
    return _memory.get("n", 0)


@durable.function
async def keeps(ctx: durable.Context, path: str) -> str:
    await ctx.run(note, path, "one")
    await ctx.sleep(3600)
    return await ctx.run(draw)


def test_processes_are_really_killed_and_lose_what_they_had_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    report = testing.crash_everywhere(
        keeps,
        str(path),
        processes=True,
        every=3,
        before=lambda: path.unlink(missing_ok=True),
        check=lambda: path.read_text(),
    )
    assert report.state == "completed"
    assert report.points >= 5
    with pytest.raises(testing.CrashDiffers, match="it came to 1, not 2"):
        testing.crash_everywhere(notes, str(path), processes=True, every=3, before=_memory.clear)


CODE = "total = globals().get('total', 0) + 1\ntotal"


@durable.function
async def in_session(ctx: durable.Context) -> list[object]:
    return [(await ctx.execute(CODE, session="s")).value for _ in range(2)]


async def make_session(engine: testing.EngineUnderTest) -> None:
    await engine.session("s")


def test_code_in_sessions_is_killed_with_its_engine() -> None:
    report = testing.crash_everywhere(in_session, prepare=make_session, every=9)
    assert report.value == [1, 2]


def test_what_is_not_durable_is_refused() -> None:
    with pytest.raises(durable.BadArguments, match="not durable"):
        testing.crash_everywhere(charge, "x")  # type: ignore[arg-type]
    with pytest.raises(durable.BadArguments, match="no point"):
        testing.crash_everywhere(draws, only="after commit 99")
