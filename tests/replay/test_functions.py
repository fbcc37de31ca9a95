"""Durable functions on a real store: ordinary Python around `ctx`, replayed and not (specs/execution.md, R and J)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

import durable
from tests.waiting import first_prompt, in_state


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    async with durable.open(place, durability="process") as engine:
        yield engine


async def answer_all(engine: durable.Engine, execution: durable.Execution, answers: dict[str, object]) -> object:
    """Answer prompts by their question until the execution ends; each question must be asked exactly once."""
    asked: list[str] = []
    result = asyncio.ensure_future(execution.result(30))
    while not result.done():
        change = engine.changed()
        for prompt in await engine.prompts():
            asked.append(prompt.question)
            await engine.answer(prompt.id, answers[prompt.question])
        await asyncio.wait({result, change}, return_when=asyncio.FIRST_COMPLETED)
    assert len(asked) == len(set(asked)), f"asked twice: {asked}"
    return await result


calls: list[str] = []


def note(text: str) -> str:
    calls.append(text)
    return text


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()


# -- values ----------------------------------------------------------------------------------------------------


class Item(BaseModel):
    sku: str
    made: datetime


@dataclass
class Box:
    items: list[Item]
    tags: set[str]


@durable.function
async def typed(ctx: durable.Context, box: Box) -> Box:
    def label(box: Box) -> Box:
        return Box(box.items, box.tags | {"labelled"})

    labelled = await ctx.run(label, box)
    assert isinstance(labelled, Box)
    assert isinstance(labelled.items[0], Item)
    assert isinstance(labelled.tags, set)
    return labelled


async def test_results_and_arguments_have_the_types_that_annotations_say(engine: durable.Engine) -> None:
    item = Item(sku="a1", made=datetime(2026, 1, 2, tzinfo=UTC))
    execution = await engine.start(typed, Box([item], {"new"}), id="typed")
    assert await execution.result(10) == Box([item], {"new", "labelled"})
    again = await engine.get("typed")
    assert await again.result(10) == Box([item], {"new", "labelled"})


@durable.function
async def unencodable(ctx: durable.Context) -> object:
    return await ctx.run(note, "x") and object()


async def test_a_result_that_cannot_be_encoded_fails_once_and_says_so(engine: durable.Engine) -> None:
    execution = await engine.start(unencodable)
    with pytest.raises(durable.NotEncodable, match="the result of unencodable cannot be recorded"):
        await execution.result(10)
    assert await execution.state() == "failed"
    assert calls == ["x"]


@durable.function
async def pair(ctx: durable.Context, left: int, right: int = 2) -> int:
    return left + right


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_recorded(engine: durable.Engine) -> None:
    with pytest.raises(durable.BadArguments, match="argument 'left' does not fit"):
        await engine.start(pair, "one", id="bad")
    with pytest.raises(durable.BadArguments, match="missing a required argument"):
        await engine.start(pair, id="bad")
    with pytest.raises(durable.NotFound):
        await engine.get("bad")


async def test_an_id_that_exists_is_attached_to_or_a_conflict_that_shows_both(engine: durable.Engine) -> None:
    first = await engine.start(pair, 1, id="same")
    second = await engine.start(pair, 1, id="same")
    assert await first.result(10) == await second.result(10) == 3
    with pytest.raises(durable.Conflict, match=r"pair@1\(1\).*pair@1\(5\)"):
        await engine.start(pair, 5, id="same")


@pytest.mark.parametrize("bad", ["", "a:b", "a b", "x" * 129, "a@1", "ü"])
async def test_an_id_outside_the_rule_is_refused(engine: durable.Engine, bad: str) -> None:
    with pytest.raises(durable.InvalidId):
        await engine.start(pair, 1, id=bad)


# -- failures ----------------------------------------------------------------------------------------------------


def broken(kind: str) -> None:
    note(kind)
    raise {"value": ValueError, "os": OSError, "exit": SystemExit, "interrupt": KeyboardInterrupt}[kind]("broken")


@durable.function
async def catches(ctx: durable.Context, kind: str) -> str:
    try:
        await ctx.run(broken, kind)
    except ValueError as error:
        return f"value: {error}"
    except OSError as error:
        return f"os: {error}"
    except durable.ExecutionError as error:
        return f"{error.exception_type}: {error.exception_message}"
    return "nothing"


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        ("value", "value: ValueError: broken"),
        ("os", "os: OSError: broken"),
        ("exit", "SystemExit: broken"),
        ("interrupt", "KeyboardInterrupt: broken"),
    ],
)
async def test_a_steps_error_is_caught_as_the_builtin_it_was(engine: durable.Engine, kind: str, caught: str) -> None:
    assert await (await engine.start(catches, kind)).result(10) == caught
    assert calls == [kind]


@durable.function
async def exits(ctx: durable.Context, how: str) -> None:
    await ctx.run(note, how)
    if how == "exit":
        sys.exit(3)
    if how == "cancelled":
        raise asyncio.CancelledError
    if how == "task":

        async def child() -> None:
            sys.exit(4)

        await asyncio.create_task(child())
    if how == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run(broken, "value"))
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("exit", "SystemExit"),
        ("cancelled", "asyncio.exceptions.CancelledError"),
        ("task", "SystemExit"),
        ("group", "ExceptionGroup"),
        ("interrupt", "KeyboardInterrupt"),
    ],
)
async def test_whatever_leaves_a_function_rejects_it_and_the_engine_lives(
    engine: durable.Engine, how: str, kind: str
) -> None:
    execution = await engine.start(exits, how)
    with pytest.raises(durable.ExecutionError) as caught:
        await execution.result(10)
    assert caught.value.exception_type == kind
    assert calls.count(how) == 1
    assert await (await engine.start(pair, 1)).result(10) == 3


@durable.function
async def asks_wrongly(ctx: durable.Context) -> object:
    return await ctx.ask("Which?", to="ana")


async def test_the_error_carries_the_users_own_traceback(engine: durable.Engine) -> None:
    execution = await engine.start(exits, "exit", id="traced")
    with pytest.raises(durable.ExecutionError) as caught:
        await execution.result(10)
    assert "sys.exit(3)" in caught.value.traceback
    assert "durable/functions" not in caught.value.traceback
    assert any("Execution ID: traced" in line for line in caught.value.__notes__)
    wrong = await engine.start(asks_wrongly)
    with pytest.raises(durable.ExecutionError, match=r"to= is a list of names: write to=\['ana'\]") as caught:
        await wrong.result(10)
    frames = [line for line in caught.value.traceback.splitlines() if line.startswith("  File ")]
    assert [__file__ in frame for frame in frames] == [True]


class Flaky:
    def __init__(self, failures: int) -> None:
        self.left = failures

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise ConnectionError("not yet")
        return "done"


@durable.function
async def retried(ctx: durable.Context, failures: int) -> str:
    flaky = Flaky(failures)
    return await ctx.options(name="flaky", retry=durable.Retry(max_retries=2, delay=0.001)).run(flaky)


async def test_a_step_is_retried_as_often_as_its_policy_says(engine: durable.Engine) -> None:
    assert await (await engine.start(retried, 2)).result(10) == "done"
    with pytest.raises(ConnectionError):
        await (await engine.start(retried, 3)).result(10)


# -- concurrency and suspension --------------------------------------------------------------------------------------


@durable.function
async def fan_out(ctx: durable.Context) -> list[str]:
    async def branch(name: str) -> str:
        first = await ctx.run(note, f"{name}1")
        answer = await ctx.ask(f"{name}?")
        second = await ctx.run(note, f"{name}2-{answer}")
        return f"{first} {second}"

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch(name)) for name in ("a", "b", "c")]
    return [task.result() for task in tasks]


@durable.function
async def gathered(ctx: durable.Context) -> list[str]:
    async def branch(name: str) -> str:
        answer = await ctx.ask(f"{name}?")
        return await ctx.run(note, f"{name}-{answer}")

    return list(await asyncio.gather(*(branch(name) for name in ("a", "b", "c"))))


@pytest.mark.parametrize("order", ["abc", "cba", "bac"])
async def test_a_task_group_with_prompts_asks_each_once_and_runs_each_step_once(
    engine: durable.Engine, order: str
) -> None:
    execution = await engine.start(fan_out, id=f"fan-{order}")
    result = asyncio.ensure_future(execution.result(30))
    for name in order:
        prompt = await first_prompt(engine, f"{name}?")
        await engine.answer(prompt.id, name.upper())
    assert await result == ["a1 a2-A", "b1 b2-B", "c1 c2-C"]
    assert sorted(calls) == ["a1", "a2-A", "b1", "b2-B", "c1", "c2-C"]


async def test_gather_with_prompts(engine: durable.Engine) -> None:
    execution = await engine.start(gathered)
    assert await answer_all(engine, execution, {"a?": "1", "b?": "2", "c?": "3"}) == ["a-1", "b-2", "c-3"]
    assert sorted(calls) == ["a-1", "b-2", "c-3"]


@durable.function
async def cleans_up(ctx: durable.Context) -> str:
    try:
        return await ctx.ask("go?")
    finally:
        await ctx.run(note, "cleanup")


async def test_finally_runs_its_step_after_the_answer_not_at_the_suspension(engine: durable.Engine) -> None:
    execution = await engine.start(cleans_up)
    await in_state(engine, execution, "waiting")
    assert calls == []
    assert await answer_all(engine, execution, {"go?": "yes"}) == "yes"
    assert calls == ["cleanup"]


@durable.function
async def inner(ctx: durable.Context, name: str) -> str:
    await ctx.run(note, f"{name}-inner")
    return await ctx.ask(f"{name}?")


@durable.function
async def outer(ctx: durable.Context) -> str:
    left, right = await asyncio.gather(ctx.run(inner, "l"), ctx.run(inner, "r"))
    await ctx.sleep(0.01)
    return await ctx.run(note, left + right)


async def test_nested_functions_suspend_and_go_on(engine: durable.Engine) -> None:
    assert await answer_all(engine, await engine.start(outer), {"l?": "L", "r?": "R"}) == "LR"
    assert sorted(calls) == ["LR", "l-inner", "r-inner"]


@durable.function
async def swallows(ctx: durable.Context) -> str:
    try:
        answer = await ctx.ask("go?")
    except BaseException:
        answer = await ctx.run(note, "swallowed")
    return answer


async def test_a_bare_except_cannot_make_a_suspension_into_a_result(engine: durable.Engine) -> None:
    assert await answer_all(engine, await engine.start(swallows), {"go?": "yes"}) == "yes"
    assert calls == []


@durable.function
async def fails_beside_a_prompt(ctx: durable.Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.ask("never answered"))
        group.create_task(ctx.run(broken, "value"))


async def test_a_failing_function_waits_for_nobody_and_its_prompt_is_gone(engine: durable.Engine) -> None:
    with pytest.raises(durable.ExecutionError, match="ExceptionGroup"):
        await (await engine.start(fails_beside_a_prompt)).result(10)
    assert await engine.prompts() == []


@durable.function
async def with_deadline(ctx: durable.Context, has_default: bool) -> str:
    if has_default:
        return await ctx.ask("soon?", timeout=0.05, default="default")
    return await ctx.ask("soon?", timeout=0.05)


async def test_a_prompts_deadline_answers_with_the_default_or_raises(engine: durable.Engine) -> None:
    assert await (await engine.start(with_deadline, True)).result(10) == "default"
    with pytest.raises(TimeoutError):
        await (await engine.start(with_deadline, False)).result(10)


async def test_a_declined_prompt_raises_denied(engine: durable.Engine) -> None:
    execution = await engine.start(cleans_up)
    prompt = await first_prompt(engine)
    await engine.answer(prompt.id, None, by="ana", decline=True)
    with pytest.raises(durable.ExecutionError, match="declined by ana"):
        await execution.result(10)


async def test_the_first_answer_wins_and_the_second_is_told_who(engine: durable.Engine) -> None:
    execution = await engine.start(cleans_up)
    prompt = await first_prompt(engine)
    with pytest.raises(durable.InvalidAnswer):
        await engine.answer(prompt.id, 5)
    await engine.answer(prompt.id, "yes", by="ana")
    with pytest.raises(durable.Conflict, match="'yes' by ana"):
        await engine.answer(prompt.id, "no", by="bob")
    assert await execution.result(10) == "yes"


# -- replay -----------------------------------------------------------------------------------------------------------

plan: list[str] = []


@durable.function
async def changing(ctx: durable.Context) -> list[str]:
    done = [await ctx.run(note, step) for step in plan]
    return [*done, await ctx.ask("go on?")]


@pytest.mark.parametrize("changed", [["a", "x"], ["b", "a"], ["a"], ["x", "a", "b"]])
async def test_changed_code_is_halted_and_corrected_code_resumes(engine: durable.Engine, changed: list[str]) -> None:
    plan[:] = ["a", "b"]
    execution = await engine.start(changing, id="changing")
    prompt = await first_prompt(engine)
    plan[:] = changed
    await engine.answer(prompt.id, "yes")
    await in_state(engine, execution, "interrupted")
    note_ = (await execution.info()).note
    assert note_ is not None
    assert "exec:changing." in note_
    assert "step 'note'" in note_
    plan[:] = ["a", "b"]
    assert await engine.resume("changing")
    assert await execution.result(10) == ["a", "b", "yes"]
    assert calls == ["a", "b"]


@durable.function
async def swallows_halt(ctx: durable.Context) -> str:
    try:
        for step in plan:
            await ctx.run(note, step)
        return await ctx.ask("go on?")
    except BaseException:
        return "swallowed"


async def test_a_swallowed_halt_halts_all_the_same(engine: durable.Engine) -> None:
    plan[:] = ["a"]
    execution = await engine.start(swallows_halt)
    prompt = await first_prompt(engine)
    plan[:] = ["z"]
    await engine.answer(prompt.id, "yes")
    await in_state(engine, execution, "interrupted")


async def test_an_execution_is_cancelled_for_good(engine: durable.Engine) -> None:
    execution = await engine.start(cleans_up)
    await first_prompt(engine)
    assert await execution.cancel("no longer wanted")
    assert not await execution.cancel()
    with pytest.raises(durable.ExecutionCancelled, match="no longer wanted"):
        await execution.result(10)


async def slow() -> None:
    await asyncio.sleep(600)


@durable.function
async def impatient(ctx: durable.Context) -> str:
    try:
        await ctx.options(timeout=0.05).run(slow)
    except TimeoutError as error:
        return str(error)
    return "not"


async def test_a_step_that_takes_too_long_fails_at_its_time(engine: durable.Engine) -> None:
    assert await (await engine.start(impatient)).result(10) == "TimeoutError: step slow took longer than 0.05 s"


@durable.function
async def enormous(ctx: durable.Context) -> str:
    return "x" * 20_000_000


async def test_a_result_over_the_limit_fails_with_the_limit_named(engine: durable.Engine) -> None:
    with pytest.raises(durable.NotEncodable, match="at most 12581888 fit"):
        await (await engine.start(enormous)).result(30)
