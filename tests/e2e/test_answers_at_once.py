"""Answers from several processes at once, and answers that cannot count: the same errors from Python, on the command
line and over HTTP (specs/prompt.md, Q2, Q3, Q6, Q7)."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

import durable
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.sqlite.store import Store
from tests.conftest import TOKEN
from tests.e2e.cli_process import Terminal
from tests.e2e.hooks import post
from tests.waiting import first_prompt
from tests.warm_python import PYTHON


@durable.function
async def asks(ctx: durable.Context, timeout: float | None = None) -> Any:
    return await ctx.ask("How many?", schema=int, to=["ana", "ben"], timeout=timeout, default=0)


@durable.function
async def chooses(ctx: durable.Context) -> Any:
    return await ctx.choose("Which?", ["x", "y"])


@durable.function
async def approves(ctx: durable.Context) -> Any:
    decision = await ctx.approve("Go?", quorum=2, to=["ana", "ben", "eve"])
    return sorted(each.by or "" for each in decision.answers)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        yield engine


class Pair:
    """Two processes that answer when they are told to, at once."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def answer(self, prompt: str, answers: list[tuple[Any, str]]) -> list[dict[str, Any]]:
        """What became of each."""
        for process, (value, by) in zip(self._processes, answers, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps([prompt, value, by]).encode() + b"\n")
        return [json.loads(await line(process)) for process in self._processes]


async def line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return await process.stdout.readline()


@pytest.fixture
async def pair(engine: durable.Engine, tmp_path: Path) -> AsyncIterator[Pair]:
    command = (PYTHON, "-m", "tests.e2e.answering", str(tmp_path / "work.db"))
    processes = [await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE) for _ in range(2)]
    for process in processes:
        assert await line(process) == b"ready\n"
    yield Pair(processes)
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0


async def test_one_of_two_answers_wins_and_the_other_is_told_who_won(engine: durable.Engine, pair: Pair) -> None:
    for function, values in ((asks, (1, 2)), (chooses, ("x", "y"))):
        for _ in range(5):
            execution = await engine.start(function)
            prompt = await first_prompt(engine)
            found = await pair.answer(prompt.id, [(values[0], "ana"), (values[1], "ben")])
            won = next(n for n, each in enumerate(found) if each.get("settled"))
            assert found[1 - won]["error"] == "Conflict"
            winner = ("ana", "ben")[won]
            assert found[1 - won]["message"].endswith(f"answered with {values[won]!r} by {winner}")
            assert await execution.result(timeout=30) == values[won]
            assert [given.by for given in await engine.answers(prompt.id)] == [winner]
    for _ in range(3):  # of several each counts once, and one decides
        execution = await engine.start(approves)
        prompt = await first_prompt(engine)
        found = await pair.answer(prompt.id, [(True, "ana"), (True, "ana")])
        assert [each["settled"] for each in found if "settled" in each] == [False]
        (lost,) = (each for each in found if "error" in each)
        assert lost["error"] == "Conflict"
        assert "ana answered" in lost["message"]
        assert [prompt.id] == [each.id for each in await engine.prompts()]
        found = await pair.answer(prompt.id, [(True, "ben"), (True, "eve")])
        winner = ("ben", "eve")[next(n for n, each in enumerate(found) if each.get("settled"))]
        (lost,) = (each for each in found if "error" in each)
        assert lost["error"] == "Conflict"
        assert lost["message"].endswith(f"by {winner}")
        assert await execution.result(timeout=30) == ["ana", winner]


async def test_two_terminals_at_once(engine: durable.Engine, tmp_path: Path) -> None:
    execution = await engine.start(asks)
    prompt = await first_prompt(engine)
    terminal = Terminal(tmp_path)
    command = ("--store", "work.db", "answer", prompt.id)
    done = await asyncio.gather(
        *(asyncio.to_thread(terminal.durable, *command, str(n), "--by", by) for n, by in ((1, "ana"), (2, "ben")))
    )
    assert sorted(each.code for each in done) == [0, 6]
    won = 0 if done[0].code == 0 else 1
    done[1 - won].failed(6, f"answered with {won + 1} by {('ana', 'ben')[won]}")
    assert await execution.result(timeout=30) == won + 1


DEEP = json.loads("[" * 400 + "]" * 400)

WRONG: dict[str, tuple[tuple[str, Any, str], type[durable.DurableError], int, int, str, str]] = {
    # what it is: (prompt, value, by), the error, exit code of `durable answer`, status over HTTP, words, state after
    "of no prompt": (("exec:none:input:1", 1, "ana"), durable.NotFound, 3, 404, "no prompt", ""),
    "of a call that is no question": (("exec:open:ask:1", 1, "ana"), durable.NotFound, 3, 404, "no prompt", ""),
    "after another": (("exec:answered:input:1", 1, "ben"), durable.Conflict, 6, 409, "with 7 by ana", "resolved"),
    "after the deadline": (
        ("exec:late:input:1", 1, "ana"), durable.AnswerLate, 6, 410, "passed its deadline", "rejected_timedout",
    ),
    "of a cancelled execution": (
        ("exec:cancelled:input:1", 1, "ana"), durable.Conflict, 6, 409, "was cancelled", "rejected_canceled",
    ),
    "by the wrong person": (("exec:open:input:1", 1, "joe"), durable.NotAsked, 6, 403, "it asks ana, ben", "pending"),
    "by no name": (("exec:open:input:1", 1, "ana\x1b[2J"), durable.BadArguments, 2, 400, "printable", "pending"),
    "nested too deeply": (
        ("exec:open:input:1", DEEP, "ana"), durable.InvalidAnswer, 2, 422, "cannot be recorded", "pending",
    ),
    "of the wrong type": (("exec:open:input:1", "x", "ana"), durable.InvalidAnswer, 2, 422, "'x' is not", "pending"),
}  # fmt: skip


async def test_what_cannot_count_is_told_alike_everywhere_and_changes_nothing(
    engine: durable.Engine, tmp_path: Path
) -> None:
    for name, timeout in (("open", None), ("answered", None), ("cancelled", None), ("late", 0.05)):
        await engine.start(asks, timeout, id=name)
        if name != "late":
            await first_prompt(engine)
    while (change := engine.changed()) and len(await engine.prompts()) < 3:
        await change
    assert await (await engine.get("late")).result(timeout=30) == 0
    await engine.answer("exec:answered:input:1", 7, by="ana")
    await engine.cancel("cancelled")
    terminal = Terminal(tmp_path)

    async def state(prompt: str) -> str:
        row = await engine.store.reads.get_promise(prompt)
        return "" if row is None else row.state

    with listen("127.0.0.1", 0) as sock:
        async with serving(Site(cast(Store, engine.store), TOKEN), sock) as url:
            for what, ((prompt, value, by), error, code, status, words, after) in WRONG.items():
                with pytest.raises(error) as raised:
                    await engine.answer(prompt, value, by=by)
                assert type(raised.value) is error, what
                assert words in str(raised.value), what
                assert await state(prompt) == after, what
                typed = ("--store", "work.db", "answer", prompt, "--json", json.dumps(value), "--by", by)
                (await asyncio.to_thread(terminal.durable, *typed)).failed(code, words)
                assert await state(prompt) == after, what
                at = f"{url}/prompts/{quote(prompt, safe='')}/answer"
                found, said = await post(at, {"value": value, "by": by}, TOKEN)
                assert (found, said["error"]["code"]) == (status, error.code), what
                assert words in said["error"]["message"], what
                assert await state(prompt) == after, what
                if error is durable.InvalidAnswer:
                    assert said["error"]["errors"] == cast(durable.InvalidAnswer, raised.value).errors
                    assert words in said["error"]["errors"][0]["msg"]
    assert await engine.answers("exec:open:input:1") == []
    assert await engine.answer("exec:open:input:1", 1, by="ana")


async def test_what_is_said_of_an_answer_is_short(engine: durable.Engine) -> None:
    session = await engine.session("desk")
    execution = await session.submit("len(ask('Text?'))")
    prompt = await first_prompt(engine)
    with pytest.raises(durable.BadArguments, match="why has at most"):
        await engine.answer(prompt.id, "x", why="y" * 10_001)
    await engine.answer(prompt.id, "x" * 10**6, by="ana")
    with pytest.raises(durable.Conflict) as raised:
        await engine.answer(prompt.id, "y")
    assert len(str(raised.value)) < 400
    assert str(raised.value).endswith("… by ana")
    assert (await session.result(execution.id)).value == 10**6
