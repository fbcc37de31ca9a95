"""The deterministic event loop of a function, stepped by hand (specs/execution.md, L1-L8)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durable.core.errors import StepNeeded
from durable.functions.replay import function_loop
from durable.functions.replay.function_loop import FunctionLoop, Timer, describe


class Stepped:
    """A loop, its timers, and what it reported."""

    def __init__(self) -> None:
        self.timers: list[tuple[Timer, float]] = []
        self.cancelled: list[Timer] = []
        self.reported: list[dict[str, Any]] = []
        self.loop = FunctionLoop(  # type: ignore[abstract]
            on_timer=self._begin_timer,
            on_timer_cancelled=self.cancelled.append,
            on_error=self.reported.append,
            now=100.0,
        )

    def _begin_timer(self, timer: Timer, delay: float) -> None:
        timer.ordinal = len(self.timers) + 1
        self.timers.append((timer, delay))

    def start(self, coro: Any) -> asyncio.Task[Any]:
        with self.loop.running():
            task = self.loop.create_task(coro)
            self.loop.run()
        return task

    def step(self, do: Callable[[], object]) -> None:
        with self.loop.running():
            do()
            self.loop.run()


@pytest.fixture
def stepped() -> Stepped:
    return Stepped()


def test_tasks_run_until_they_wait_and_in_the_order_of_their_making(stepped: Stepped) -> None:
    said: list[str] = []

    async def branch(name: str) -> str:
        said.append(f"{name}1")
        await asyncio.sleep(0)
        said.append(f"{name}2")
        return name

    async def main() -> list[str]:
        return list(await asyncio.gather(branch("a"), branch("b"), branch("c")))

    assert stepped.start(main()).result() == ["a", "b", "c"]
    assert said == ["a1", "b1", "c1", "a2", "b2", "c2"]


def test_time_stands_until_a_delivery_and_timers_are_told(stepped: Stepped) -> None:
    async def main() -> float:
        await asyncio.sleep(5)
        return asyncio.get_running_loop().time()

    task = stepped.start(main())
    ((timer, delay),) = stepped.timers
    assert delay == 5
    stepped.loop.advance(107)
    stepped.step(lambda: stepped.loop.fire(timer))
    assert task.result() == 107
    stepped.loop.advance(50)
    assert stepped.loop.time() == 107


def test_a_timer_that_is_cancelled_says_so(stepped: Stepped) -> None:
    event = asyncio.Event()

    async def main() -> str:
        async with asyncio.timeout(3):
            await event.wait()
        return "in time"

    task = stepped.start(main())
    ((timer, _),) = stepped.timers
    stepped.step(event.set)
    assert task.result() == "in time"
    assert stepped.cancelled == [timer]


def test_a_shielded_scope_of_anyio_in_a_cancelled_one_waits(stepped: Stepped) -> None:
    gate = asyncio.Event()

    async def main() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await gate.wait()
        return "cleaned"

    task = stepped.start(main())  # returns, though anyio schedules its cancellation again and again
    assert not task.done()
    stepped.step(gate.set)
    assert task.result() == "cleaned"


def test_a_loop_that_waits_for_nothing_is_told(stepped: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_loop, "TURNS_MAX", 1000)

    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(StepNeeded, match="waits for nothing"):
        stepped.start(main())
    stepped.loop.dispose()


def test_sets_of_what_asyncio_makes_have_one_order() -> None:
    """Whatever else is in memory: by their addresses the order would be another one at each replay."""

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def order(ballast: int) -> list[int]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        made: list[asyncio.Future[Any]] = []
        kept: list[object] = []
        makers: list[Callable[[], asyncio.Future[Any]]] = [
            loop.create_future,
            lambda: asyncio.shield(loop.create_future()),
            lambda: asyncio.gather(loop.create_future(), loop.create_future()),
            lambda: asyncio.create_task(work()),
        ]
        for make in makers * 6:
            kept += [bytearray(200) for _ in range(ballast)]
            made.append(make())
        soon = asyncio.create_task(asyncio.sleep(0))
        _, pending = await asyncio.wait([*made, soon], return_when=asyncio.FIRST_COMPLETED)
        return [next(n for n, each in enumerate(made) if each is found) for found in pending]

    orders = [Stepped().start(order(ballast)).result() for ballast in (0, 1, 7, 100)]
    assert orders == orders[:1] * 4


@pytest.mark.parametrize("factory", [None, asyncio.eager_task_factory])
def test_tasks_have_numbers_and_names_of_their_own_loop(stepped: Stepped, factory: Any) -> None:
    stepped.loop.set_task_factory(factory)
    seen: list[tuple[str, int]] = []

    async def branch() -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((task.get_name(), stepped.loop.number(task)))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(branch())

    task = stepped.start(main())
    task.result()
    assert seen == [("Task-2", 2), ("Task-3", 3), ("Task-4", 4)]


async def outside_calls(what: str) -> None:
    loop = asyncio.get_running_loop()
    match what:
        case "thread":
            await asyncio.to_thread(print)
        case "executor":
            await loop.run_in_executor(None, print)
        case "connection":
            await asyncio.open_connection("localhost", 1)
        case "server":
            await asyncio.start_server(lambda *_: None, "localhost", 1)
        case "process":
            await asyncio.create_subprocess_exec("true")
        case "signal":
            loop.add_signal_handler(1, print)
        case "nested":
            loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize("what", ["thread", "executor", "connection", "server", "process", "signal"])
def test_what_reaches_outside_names_the_line_and_what_to_do(stepped: Stepped, what: str) -> None:
    with pytest.raises(StepNeeded, match=r"test_event_loop\.py:\d+: .*Put it into a step"):
        stepped.start(outside_calls(what)).result()


def test_nothing_outside_can_wake_a_function(stepped: Stepped) -> None:
    event = asyncio.Event()
    task = stepped.start(event.wait())
    with pytest.raises(StepNeeded, match="from outside"):
        event.set()
    assert not task.done()
    stepped.loop.dispose()


def test_what_a_suspended_function_had_goes_without_a_word(stepped: Stepped) -> None:
    said: list[str] = []

    async def branch() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            said.append("closed")
            await asyncio.sleep(0)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(branch())

    stepped.start(main())
    stepped.loop.dispose()
    gc.collect()
    assert said == ["closed"] * 3
    assert stepped.reported == []


def test_a_task_that_waits_is_described_by_its_line(stepped: Stepped) -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    task = stepped.start(waits())
    assert describe(task).startswith("Task-1 waits at test_event_loop.py:")
    assert describe(task).endswith("waits in Event.wait")
    stepped.loop.dispose()


def test_a_failed_task_that_nobody_awaits_is_reported_once(stepped: Stepped) -> None:
    async def fails() -> None:
        raise ValueError("nobody looks")

    stepped.start(fails())
    assert [str(task.exception()) for task in stepped.loop.failed()] == ["nobody looks"]
    assert stepped.loop.failed() == []
    gc.collect()
    assert stepped.reported == []


class Numbers:
    """An asynchronous generator that says in which loop it was closed."""

    def __init__(self) -> None:
        self.closed_in: list[object] = []

    async def each(self) -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            self.closed_in.append(asyncio.get_running_loop())


def in_the_thread_of_an_engine(do: Callable[[], object]) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(do)
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(main())


def test_an_async_generator_that_is_left_is_closed_in_the_loop(stepped: Stepped) -> None:
    numbers = Numbers()

    async def main() -> None:
        async for _ in numbers.each():
            break

    in_the_thread_of_an_engine(lambda: stepped.start(main()).result())
    assert numbers.closed_in == [stepped.loop]


def test_an_async_generator_that_only_the_garbage_collector_finds_is_not_closed(stepped: Stepped) -> None:
    numbers = Numbers()

    async def main() -> None:
        each = numbers.each()
        await anext(each)
        circle: list[Any] = [each]
        circle.append(circle)
        del each, circle
        gc.collect()  # at another time at each replay

    in_the_thread_of_an_engine(lambda: stepped.start(main()).result())
    assert numbers.closed_in == []


def test_the_thread_keeps_its_own_ways_with_async_generators(stepped: Stepped) -> None:
    async def nothing() -> None:
        pass

    numbers = Numbers()

    async def main() -> None:
        async for _ in numbers.each():
            asyncio.get_running_loop().call_soon(lambda: stepped.start(nothing()))
            break
        for _ in range(5):
            await asyncio.sleep(0)
        assert numbers.closed_in == [asyncio.get_running_loop()]

    asyncio.run(main())
