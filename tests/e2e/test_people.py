"""Questions to people, in cells and durable functions: forms, who may answer, several approvers, deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

import durable
from capabilities.prompts.prompt import prompt_for
from tests.waiting import first_prompt


class Order(BaseModel):
    sku: str
    count: int

    @field_validator("count")
    @classmethod
    def even(cls, count: int) -> int:
        if count % 2:
            raise ValueError("they come in pairs")
        return count


CELL = """
import durable
from pydantic import BaseModel, field_validator
class Order(BaseModel):
    sku: str
    count: int
    @field_validator("count")
    @classmethod
    def even(cls, count):
        if count % 2:
            raise ValueError("they come in pairs")
        return count
order = ask("What?", schema=Order, initial={"sku": "a"}, context="**bold**")
many = await choose("Which?", ["x", 2, True], many=True)
one = choose("One?", ["x", 2])
decision = approve("Ship it?", {"n": 1}, quorum=2, to=["ana", "ben", "eve"])
seen = await review(order, Order)
try:
    approve("Burn it?")
    denied = ""
except durable.Denied as error:
    denied = str(error)
shown = [type(order).__name__, order.count, many, one, bool(decision), decision.by, [a.by for a in decision.answers]]
[*shown, seen.outcome, seen.document.count, denied]
"""


@durable.function
async def everything(ctx: durable.Context) -> list[Any]:
    order = await ctx.ask("What?", schema=Order, initial={"sku": "a"}, context="**bold**")
    many = await ctx.choose("Which?", ["x", 2, True], many=True)
    one = await ctx.choose("One?", ["x", 2])
    decision = await ctx.approve("Ship it?", {"n": 1}, 2, to=["ana", "ben", "eve"])
    seen = await ctx.review(order, Order)
    denied = ""
    try:
        await ctx.approve("Burn it?")
    except durable.Denied as error:
        denied = str(error)
    names = [given.by for given in decision.answers]
    shown = [type(order).__name__, order.count, many, one, bool(decision), decision.by, names]
    return [*shown, seen.outcome, seen.document.count, denied]


EXPECTED = [
    "Order", 2, ["x", True], 2, True, "eve", ["ana", "eve"], "edited", 4, "'Burn it?' was denied by ana: too hot",
]  # fmt: skip


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        yield engine


async def answer_all(engine: durable.Engine) -> None:
    """What `everything` and CELL are told, with what is refused on the way."""
    what = await first_prompt(engine, "What?")
    assert (what.prompt.initial, what.prompt.context) == ({"sku": "a"}, "**bold**")
    with pytest.raises(durable.InvalidAnswer, match="count: 'x' is not of type 'integer'"):
        await engine.answer(what.id, {"sku": "a", "count": "x"})
    assert await engine.answer(what.id, {"sku": "a", "count": 1}, by="ana")  # fits the schema, not the code
    again = await first_prompt(engine, "What?")
    assert again.id != what.id
    assert (again.prompt.reason or "").endswith("count: they come in pairs")
    await engine.answer(again.id, {"sku": "a", "count": 2})
    which = await first_prompt(engine, "Which?")
    for bad in (["y"], ["x", "x"], "x", [1]):
        with pytest.raises(durable.InvalidAnswer):
            await engine.answer(which.id, bad)
    await engine.answer(which.id, ["x", True])
    await engine.answer((await first_prompt(engine, "One?")).id, 2)
    ship = (await first_prompt(engine, "Ship it?")).id
    with pytest.raises(durable.NotAsked, match=r"joe is not asked .* it asks ana, ben, eve"):
        await engine.answer(ship, True, by="joe")
    with pytest.raises(durable.BadArguments, match="who answers: give a name"):
        await engine.answer(ship, True)
    assert await engine.answer(ship, True, by="ana") is False
    with pytest.raises(durable.Conflict, match=r"ana answered .* already; it waits for others"):
        await engine.answer(ship, False, by="ana")
    assert [given.by for given in await engine.answers(ship)] == ["ana"]
    assert await engine.answer(ship, {"approve": True, "why": "paid"}, by="eve") is True
    with pytest.raises(durable.Conflict, match=r"answered with .* by eve"):
        await engine.answer(ship, True, by="ben")
    history = await engine.answers(ship)
    assert [(given.by, given.via, given.at > 0) for given in history] == [("ana", "api", True), ("eve", "api", True)]
    right = await first_prompt(engine, "Is this right?")
    with pytest.raises(durable.InvalidAnswer, match="document"):
        await engine.answer(right.id, {"action": "edit"})
    await engine.answer(right.id, {"action": "edit", "document": {"sku": "a", "count": 4}}, by="ana")
    await engine.answer((await first_prompt(engine, "Burn it?")).id, {"approve": False, "why": "too hot"}, by="ana")


async def test_every_form_in_a_cell(engine: durable.Engine) -> None:
    session = await engine.session("desk")
    running = asyncio.create_task(session.execute(CELL))
    await answer_all(engine)
    result = await running
    assert result.error is None, result.error
    assert result.value == EXPECTED


async def test_every_form_in_a_function(engine: durable.Engine) -> None:
    execution = await engine.start(everything)
    await answer_all(engine)
    assert await execution.result(timeout=30) == EXPECTED


@durable.function
async def deadlines(ctx: durable.Context) -> list[Any]:
    soon = timedelta(milliseconds=1)
    found: list[Any] = [await ctx.ask("a", default="d", timeout=soon)]
    for on_timeout in ("deny", "fail"):
        try:
            await ctx.ask("b", default="d", timeout=soon, on_timeout=on_timeout)
        except (durable.Denied, TimeoutError) as error:
            found.append(type(error).__name__)
    found.append((await ctx.review("text", timeout=soon, on_timeout="deny")).outcome)
    found.append((await ctx.approve("c", default=True, timeout=soon)).by)
    return found


async def test_what_a_deadline_does(engine: durable.Engine) -> None:
    execution = await engine.start(deadlines, id="d")
    assert await execution.result(timeout=30) == ["d", "Denied", "ExecutionTimedOut", "declined", None]
    with pytest.raises(durable.AnswerLate, match="passed its deadline"):
        await engine.answer("exec:d:input:1", "late")
    session = await engine.session("desk")
    result = await session.execute("""
found = [ask("a", default=None, timeout=0.001)]
for on_timeout in ("deny", "fail"):
    try:
        ask("b", timeout=0.001, on_timeout=on_timeout)
    except (PermissionError, TimeoutError) as error:
        found.append(type(error).__name__)
found + [review("text", timeout=0.001, on_timeout="deny").outcome]
""")
    assert result.value == [None, "Denied", "TimeoutError", "declined"]


@durable.function
async def approved(ctx: durable.Context, quorum: Any, to: list[str]) -> str:
    try:
        return f"yes {(await ctx.approve('Go?', quorum=quorum, to=to)).by}"
    except durable.Denied as error:
        return str(error)


@pytest.mark.parametrize(
    ("quorum", "to", "said", "end"),
    [
        ("all", ["a", "b"], "a+ b+", "yes b"),
        ("all", ["a", "b", "c"], "a+ b-", "'Go?' was denied by b: no"),
        (2, ["a", "b", "c"], "a- b+ c+", "yes c"),
        (2, ["a", "b", "c"], "a- b-", "'Go?' was denied by b: no"),
        (2, ["team:ops"], "a- b+ c-", "'Go?' was denied by c: no"),
        ("any", ["a", "b"], "b+", "yes b"),
    ],
)
async def test_several_approvers(engine: durable.Engine, quorum: Any, to: list[str], said: str, end: str) -> None:
    execution = await engine.start(approved, quorum, to)
    prompt = await first_prompt(engine)
    done = [
        await engine.answer(prompt.id, {"approve": word[1] == "+", "why": "no"}, by=word[0], teams=["ops"])
        for word in said.split()
    ]
    assert done == [False] * (len(done) - 1) + [True]
    assert await execution.result(timeout=30) == end
    assert [given.by for given in await engine.answers(prompt.id)] == [word[0] for word in said.split()]


async def test_approvers_at_once_from_two_engines_are_each_recorded_once(
    engine: durable.Engine, tmp_path: Path
) -> None:
    people = [f"p{n}" for n in range(12)]
    execution = await engine.start(approved, 10, people)
    prompt = await first_prompt(engine)
    async with durable.open(tmp_path / "work.db", durability="process", serve=False) as other:
        said = [one.answer(prompt.id, True, by=name) for name in people for one in (engine, other)]
        found = await asyncio.gather(*said, return_exceptions=True)
    assert found.count(True) == 1
    assert found.count(False) == 9
    assert sum(isinstance(each, durable.Conflict) for each in found) == 14
    assert (await execution.result(timeout=30)).startswith("yes p")
    assert len(await engine.answers(prompt.id)) == 10


async def test_an_escalation_lets_others_answer(engine: durable.Engine) -> None:
    @durable.function
    async def escalates(ctx: durable.Context, after: float) -> Any:
        return await ctx.ask("?", to=["ana"], escalate=after, escalate_to=["team:leads"])

    await engine.start(escalates, 3600.0, id="later")
    with pytest.raises(durable.NotAsked):
        await engine.answer((await first_prompt(engine)).id, "x", by="joe", teams=["team:leads"])
    await engine.cancel("later")
    with pytest.raises(durable.Conflict, match="was cancelled"):
        await engine.answer("exec:later:input:1", "x", by="ana")
    prompt = prompt_for("?", to=("ana",), escalate_s=1, escalate_to=("team:leads",))
    assert prompt.may_answer(1000, 1999) == ("ana",)
    assert prompt.may_answer(1000, 2000) == ("ana", "team:leads")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ask('')", "cannot be empty"),
        ("ask('q', schema={'type': 5})", "no JSON Schema"),
        ("ask('q', schema=5)", "neither a JSON Schema nor a type"),
        ("ask('q', on_timeout='default')", "needs a default="),
        ("ask('q', timeout=-1)", "more than 0 seconds"),
        ("choose('q', [])", "1 to 1000 choices"),
        ("approve('q', quorum='all')", "needs to="),
        ("approve('q', quorum=3, to=['a', 'b'])", "3 are to approve, 2 are asked"),
        ("approve('q', nobody=1)", "unexpected keyword argument 'nobody'"),
        ("ask('q', escalate_to=['a'])", "needs escalate="),
    ],
)
async def test_questions_that_cannot_be_asked(engine: durable.Engine, call: str, message: str) -> None:
    result = await (await engine.session("desk")).execute(call)
    assert result.error is not None
    assert result.error.exception_type == "TypeError"
    assert message in result.error.exception_message


async def test_what_is_not_granted_is_not_there(engine: durable.Engine) -> None:
    session = await engine.session("desk", level="restricted")
    result = await session.execute(
        "import builtins; [hasattr(builtins, n) for n in ('ask', 'choose', 'approve', 'review')]"
    )
    assert result.value == [True, True, False, False]
    nothing = await engine.session("nothing", level="sandbox")
    assert (await nothing.execute("import builtins; hasattr(builtins, 'ask')")).value is False


async def test_a_hidden_question_and_help(engine: durable.Engine) -> None:
    session = await engine.session("desk")
    running = asyncio.create_task(session.execute("import getpass; len(getpass.getpass('Secret? '))"))
    prompt = await first_prompt(engine)
    assert prompt.prompt.secret
    await engine.answer(prompt.id, "four")
    assert (await running).value == 4
    shown = (await session.execute("help(approve)")).stdout
    assert "approve(action: " in shown
    assert "quorum" in shown


async def test_a_callback_is_told_of_each_question_once(engine: durable.Engine, tmp_path: Path) -> None:
    execution = await engine.start(asks_each, 2)
    await first_prompt(engine, "q0")
    told: list[str] = []
    async with durable.open(tmp_path / "work.db", durability="process", serve=False) as other:

        async def answers(prompt: durable.OpenPrompt) -> None:
            told.append(prompt.question)
            await other.answer(prompt.id, prompt.question.upper(), by="bot")

        stop = other.on_prompt(answers)
        assert await execution.result(timeout=30) == ["Q0", "Q1"]
        stop()
    assert told == ["q0", "q1"]


@durable.function
async def asks_each(ctx: durable.Context, count: int) -> list[str]:
    return [await ctx.ask(f"q{n}") for n in range(count)]
