"""Threads of steps tell whatever a step comes to; a step that changes what it was given is seen."""

from __future__ import annotations

import array
import asyncio
import threading
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

import durable
from durable.functions.step import LOOKED_AT_MAX, Arguments, StepThreads, Stopping, under_way


class OwnExit(BaseException):
    pass


def raises(error: BaseException) -> Any:
    def step() -> None:
        raise error

    return step


@pytest.mark.parametrize(
    "error",
    [
        GeneratorExit("x"),
        StopAsyncIteration(1),
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError("mine"),
        OwnExit("x"),
        ValueError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_step_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    threads = StepThreads()
    seen: list[BaseException] = []

    async def body() -> str:
        try:
            await threads.run(raises(error))
        except BaseException as caught:
            seen.append(caught)
            return "recorded"
        return "nothing"

    try:
        assert await asyncio.wait_for(body(), 10) == "recorded"
        assert seen == [error]
        assert await threads.run(lambda: 5) == 5
    finally:
        threads.close()


async def test_stop_iteration_is_told_as_coroutines_do() -> None:
    threads = StepThreads()
    with pytest.raises(RuntimeError, match="the step raised StopIteration: 5") as caught:
        await threads.run(raises(StopIteration(5)))
    assert isinstance(caught.value.__cause__, StopIteration)
    threads.close()


async def test_a_thread_that_cannot_be_started_is_an_error_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = StepThreads()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await threads.run(lambda: 1)
    assert await asyncio.wait_for(threads.run(lambda: 2), 10) == 2
    threads.close()


async def test_a_step_can_ask_whether_it_is_cancelled() -> None:
    assert durable.cancelled() is False
    found, told, begun, seen = Stopping(stopped=False), threading.Event(), threading.Event(), []
    threads = StepThreads()

    def step() -> str:
        seen.append(durable.cancelled())
        begun.set()
        assert told.wait(10)
        return "stopped" if durable.cancelled() else "went on"

    token = under_way.set(found)
    running = asyncio.create_task(threads.run(step))
    under_way.reset(token)
    await asyncio.to_thread(begun.wait, 10)
    found.stopped = True
    told.set()
    assert await running == "stopped"
    assert seen == [False]
    assert durable.cancelled() is False
    threads.close()


@dataclass
class Box:
    items: list[int] = field(default_factory=list)


class Plain:
    def __init__(self) -> None:
        self.inside = {"a": [1]}


def nest(value: list[Any]) -> None:
    value[0]["rows"].append(4)


CHANGES: list[tuple[Any, Any]] = [
    ([1, 2], lambda value: value.clear()),
    ([3, 1], lambda value: value.sort()),
    ({"a": 1}, lambda value: value.update(a=2)),
    ({"a": 1}, lambda value: value.update(b=2)),
    ({1, 2}, lambda value: value.add(3)),
    ([{"rows": [1, 2, 3]}], nest),
    (([],), lambda value: value[0].append(1)),
    (Box(), lambda value: value.items.append(1)),
    (Plain(), lambda value: value.inside["a"].append(2)),
    (bytearray(b"abc"), lambda value: value.reverse()),
    (array.array("i", [1, 2]), lambda value: value.append(3)),
    ([True], lambda value: value.__setitem__(0, "True")),
    ([1], lambda value: value.__setitem__(0, 1.0)),
]


@pytest.mark.parametrize(("value", "change"), CHANGES, ids=lambda item: type(item).__name__)
def test_a_change_of_an_argument_is_seen(value: Any, change: Any) -> None:
    positional, named = Arguments((1, value), {}), Arguments((), {"rows": value})
    assert positional.changed() == named.changed() == ()
    change(value)
    assert positional.changed() == ("argument 2",)
    assert named.changed() == ("argument 'rows'",)


def test_what_cannot_change_is_not_looked_at() -> None:
    arguments = Arguments((1, "x" * 10**6, None, date(2026, 1, 1), b"raw"), {"a": 10**5000})
    assert arguments._before == []


def test_large_and_endless_arguments_are_looked_at_as_far_as_the_limit() -> None:
    large = list(range(10**6))
    endless: list[Any] = []
    endless += [endless, endless, 10**6000, object(), "\ud800", lambda: 1, Arguments]
    arguments = Arguments((large, endless), {})
    assert arguments.changed() == ()
    large[LOOKED_AT_MAX * 2] = -1  # beyond what is looked at
    assert arguments.changed() == ()
    large.append(1)  # lengths are seen all the same
    large[0] = 5
    assert arguments.changed() == ("argument 1",)


def test_objects_that_refuse_to_be_looked_at_do_no_harm() -> None:
    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            raise RuntimeError

    assert Arguments((Hostile(), [Hostile()]), {}).changed() == ()
