"""Values and errors of steps through a real store: the same live and replayed (specs/execution.md, V1-V9)."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import durable
from durable.functions.definition import Retry


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    async with durable.open(place, durability="process") as engine:
        yield engine


RAW = b"\xff\x00raw"


@dataclass
class Row:
    key: bytes
    at: bytes | str
    score: float


def maybe() -> bytes | None:
    return RAW


def either() -> bytes | str:
    return "AAE="


def row() -> Row:
    return Row(RAW, "text", math.nan)


@durable.function
async def keeps(ctx: durable.Context, given: bytes | None, table: dict[Any, Any]) -> dict[str, Any]:
    found = {
        "given": given,
        "table": table,
        "maybe": await ctx.run(maybe),
        "either": await ctx.run(either),
        "row": (await ctx.run(row)).key,
        "nan": math.isnan((await ctx.run(row)).score),
        "raw": await ctx.run(lambda: {"a": [RAW]}),
        "keys": await ctx.run(lambda: {1: "a", "1": "b", (1, 2): "c"}),
        "large": await ctx.run(lambda: 10**5000),
    }
    await ctx.sleep(0.01)  # the next pass has all of it from the record
    return found


async def test_values_are_what_they_were_live_and_replayed(engine: durable.Engine) -> None:
    execution = await engine.start(keeps, RAW, {1: "a", "1": "b"}, id="keeps")
    assert await execution.result(30) == {
        "given": RAW,
        "table": {1: "a", "1": "b"},
        "maybe": RAW,
        "either": "AAE=",
        "row": RAW,
        "nan": True,
        "raw": {"a": [RAW]},
        "keys": {1: "a", "1": "b", (1, 2): "c"},
        "large": 10**5000,
    }


def endless() -> Iterator[int]:
    while True:
        yield 1


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


REFUSED: dict[str, Callable[[], Any]] = {
    "generator": endless,
    "map": lambda: map(str, endless()),
    "keys": lambda: {b"a": object()},
    "deep": deep,
    "surrogate": lambda: {"a": "\ud800"},
    "object": lambda: {"items": [object()]},
}

tries: list[str] = []


@durable.function
async def refused(ctx: durable.Context) -> dict[str, str]:
    found = {}
    for name, make in REFUSED.items():

        def step(name: str = name, make: Callable[[], Any] = make) -> Any:
            tries.append(name)
            return make()

        try:
            await ctx.run(step)
        except durable.NotEncodable as error:
            found[name] = str(error)
    await ctx.sleep(0.01)
    return found


async def test_what_cannot_be_kept_fails_its_step_once_and_nothing_else(engine: durable.Engine) -> None:
    tries.clear()
    found = await (await engine.start(refused)).result(30)
    assert set(found) == set(REFUSED)
    assert tries == list(REFUSED)
    assert "return a list" in found["generator"]
    assert "result.items[0]" in found["object"]


@durable.function
async def gives_a_generator(ctx: durable.Context) -> Any:
    return endless()


async def test_a_function_that_returns_what_cannot_be_kept_fails_once(engine: durable.Engine) -> None:
    execution = await engine.start(gives_a_generator)
    with pytest.raises(durable.NotEncodable, match="return a list"):
        await execution.result(30)
    assert await execution.state() == "failed"


def chained() -> None:
    error: BaseException = ValueError("first")
    for n in range(1500):
        outer = ValueError(str(n))
        outer.__cause__ = error
        error = outer
    raise error


def nested() -> None:
    error: Exception = ValueError("in")
    for _ in range(5000):
        error = ExceptionGroup("g", [error])
    raise error


class OwnExit(BaseException):
    pass


class MissingRow(KeyError):
    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def raises(error: BaseException) -> Callable[[], Any]:
    def step() -> None:
        raise error

    return step


RAISED: dict[str, tuple[Callable[[], Any], type[BaseException]]] = {
    "json": (lambda: json.loads("{"), ValueError),
    "address": (raises(socket.gaierror(-2, "unknown")), OSError),
    "own": (raises(MissingRow(5)), KeyError),
    "chained": (chained, ValueError),
    "nested": (nested, ExceptionGroup),
    "generator": (raises(GeneratorExit()), durable.ExecutionError),
    "stop": (raises(StopIteration()), RuntimeError),
    "stop async": (raises(StopAsyncIteration()), durable.ExecutionError),
    "exit": (raises(SystemExit(3)), durable.ExecutionError),
    "interrupt": (raises(KeyboardInterrupt()), durable.ExecutionError),
    "cancelled": (raises(asyncio.CancelledError()), durable.ExecutionError),
    "own exit": (raises(OwnExit()), durable.ExecutionError),
}


def check(name: str, error: BaseException) -> None:
    assert isinstance(error, durable.ExecutionError)
    if name == "own":
        assert durable.raised(error, f"{__name__}.MissingRow")
        assert (error.args, error.attributes) == ((5,), {"row": 5})
    if name == "address":
        assert isinstance(error, OSError)
        assert error.errno == -2


@durable.function
async def fails_often(ctx: durable.Context) -> list[str]:
    seen = []
    for name, (step, kind) in RAISED.items():
        try:
            await ctx.run(step)
        except kind as error:
            check(name, error)
            seen.append(name)
    await ctx.sleep(0.01)
    return seen


async def test_every_failure_of_a_step_is_recorded_and_caught_as_what_it_was(engine: durable.Engine) -> None:
    assert await (await engine.start(fails_often)).result(60) == list(RAISED)


async def fails_in_parts() -> None:
    raise ExceptionGroup("parts", [MissingRow(1), OSError(5, "io")])


@durable.function
async def takes_groups_apart(ctx: durable.Context) -> list[Any]:
    seen: list[BaseException] = []
    try:
        await ctx.run(fails_in_parts)
    except* KeyError as keys:
        seen += keys.exceptions
    except* OSError as errors:
        seen += errors.exceptions
    missing, failed = seen
    assert isinstance(missing, durable.ExecutionError)
    assert isinstance(failed, OSError)
    return [missing.attributes["row"], failed.errno]


async def test_a_group_of_a_step_is_taken_apart(engine: durable.Engine) -> None:
    assert await (await engine.start(takes_groups_apart)).result(30) == [1, 5]


@durable.function
async def retries(ctx: durable.Context) -> list[str]:
    seen = []
    policy = Retry(max_retries=2, delay=0, retry_on=(OSError, durable.Fatal), give_up_on="socket.gaierror")
    for name, error in {
        "value": ValueError(),
        "reset": ConnectionResetError(),
        "address": socket.gaierror(-2, "x"),
        "fatal": durable.Fatal("no"),
        "after": durable.RetryAfter(0),
    }.items():

        def step(name: str = name, error: Exception = error) -> None:
            tries.append(name)
            raise error

        try:
            await ctx.options(retry=policy).run(step)
        except durable.ExecutionError as caught:
            seen.append(caught.exception_type)
    return seen


async def test_a_policy_says_which_errors_are_tried_again(engine: durable.Engine) -> None:
    tries.clear()
    assert await (await engine.start(retries)).result(30) == [
        "ValueError",
        "ConnectionResetError",
        "socket.gaierror",
        "durable.Fatal",
        "durable.RetryAfter",
    ]
    assert tries == ["value", *["reset"] * 3, "address", "fatal", *["after"] * 3]


@durable.function
async def nested_of_no_use(ctx: durable.Context) -> None:
    raise ValueError("it would raise again")


@durable.function
async def retries_a_function(ctx: durable.Context) -> None:
    await ctx.options(retry=Retry(max_retries=1)).run(nested_of_no_use)


async def test_a_retry_for_a_nested_function_is_refused_and_not_forgotten(engine: durable.Engine) -> None:
    with pytest.raises(durable.BadArguments, match=r"nested_of_no_use.*Give retry to the steps inside it"):
        await (await engine.start(retries_a_function)).result(30)


@durable.function
async def defaults(ctx: durable.Context, a: int, b: int = 2, *, c: bytes | None = None) -> list[Any]:
    return [a, b, c]


async def test_defaults_written_out_attach_to_the_same_execution(engine: durable.Engine) -> None:
    first = await engine.start(defaults, 1, id="defaults")
    for args, kwargs in [((1, 2), {}), ((1,), {"b": 2, "c": None}), ((), {"a": 1})]:
        again = await engine.start(defaults, *args, id="defaults", **kwargs)  # type: ignore[arg-type]
        assert await again.result(30) == await first.result(30) == [1, 2, None]
    with pytest.raises(durable.Conflict):
        await engine.start(defaults, 1, 3, id="defaults")


async def test_an_execution_recorded_with_its_defaults_written_out_is_attached_to(engine: durable.Engine) -> None:
    """As versions before recorded it: the digest of the call as it was written."""
    from durable.records.values import digest

    data = {"func": defaults.key, "args": [1, 2], "kwargs": {}, "version": 1}
    old = digest((1, 2), {})
    await engine._executions.start("old", defaults, data, old, None, lambda _: False, {})
    for args in [(1,), (1, 2)]:
        assert await (await engine.start(defaults, *args, id="old")).result(30) == [1, 2, None]


# -- what no record can hold, given to the operations themselves ------------------------------------------------------

BAD = "caf\udce9.txt"
"""The name of a file that is not UTF-8, as `os.listdir` gives it."""


@durable.function
async def doubles(ctx: durable.Context, value: Any) -> Any:
    return value * 2


OPERATIONS: dict[str, Callable[[durable.Context], Any]] = {
    "question": lambda ctx: ctx.ask(f"Delete {BAD}?"),
    "context": lambda ctx: ctx.ask("Delete it?", context=BAD),
    "options": lambda ctx: ctx.choose("Which?", ["a", BAD]),
    "title": lambda ctx: ctx.approve("delete", title=BAD),
    "document": lambda ctx: ctx.review(BAD),
    "code": lambda ctx: ctx.execute(f"open({BAD!r})".replace("\\udce9", "\udce9"), session="desk"),
    "input": lambda ctx: ctx.execute("1", session="desk", inputs={"a": BAD}),
    "name of an input": lambda ctx: ctx.execute("1", session="desk", inputs={BAD: 1}),
    "name of a step": lambda ctx: ctx.options(name=BAD).run(len, "a"),
    "long name of a step": lambda ctx: ctx.options(name="n" * 70_000).run(len, "a"),
    "signal": lambda ctx: ctx.signal(BAD),
    "signal with NUL": lambda ctx: ctx.signal("a\0"),
    "stream": lambda ctx: ctx.stream(BAD).write(1),
    "patch": lambda ctx: ctx.patched(BAD),
    "tag": lambda ctx: ctx.tag(file=BAD),
    "published": lambda ctx: ctx.publish(file=BAD),
    "argument of a child": lambda ctx: ctx.start(doubles, BAD),
}


@durable.function
async def gives_what_is_refused(ctx: durable.Context) -> dict[str, str]:
    found = {}
    for name, begin in OPERATIONS.items():
        try:
            operation = begin(ctx)
            if not isinstance(operation, bool):
                await operation
        except (durable.NotEncodable, durable.BadArguments) as error:
            found[name] = type(error).__name__
    found["at the end"] = str(await ctx.run(len, "ab"))
    return found


async def test_what_no_record_can_hold_is_refused_in_its_line(engine: durable.Engine) -> None:
    """V6: not where the engine records it, as an error of its own that ends the execution after some attempts."""
    await engine.session("desk")
    execution = await engine.start(gives_what_is_refused, id="refused")
    found = await execution.result(30)
    assert found.pop("at the end") == "2"
    assert set(found) == set(OPERATIONS)
    assert {name for name, error in found.items() if error == "BadArguments"} == {
        "long name of a step", "signal with NUL", "tag"
    }  # fmt: skip
    assert (await execution.info()).starts == 1
    with pytest.raises(durable.BadArguments, match="no NUL and no lone surrogates"):
        await engine.signal("refused", BAD)
    session = await engine.session("desk")
    with pytest.raises(durable.NotEncodable, match="the name of an input"):
        await session.execute("1", inputs={BAD: 1})
    assert (await session.execute("1", inputs={"b": 1})).value == 1
