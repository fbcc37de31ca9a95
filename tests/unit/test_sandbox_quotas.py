"""Quotas of one component: what its executions use together, and which begins when (A74, W7, G1)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from capabilities.sandbox import errors
from capabilities.sandbox.fair_queue import Turns
from capabilities.sandbox.front import Front, Ran, Task
from capabilities.sandbox.limits import COMPONENT, JAVASCRIPT, MIB, RESTRICTIVE
from capabilities.sandbox.quotas import Quotas, Together
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import MODULES_MAX, Runtime, wat
from tests.unit.own_errors import cancelled

SPIN = wat("""
(module
  (func (export "spin") (loop br 0))
  (func (export "work") (result i32) (local $i i32)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000000))))
    (local.get $i)))
""")


def test_cpu_time_is_paid_for_by_waiting_and_comes_back_each_second() -> None:
    now = 0.0
    together = Together(Quotas(cpu_ms_per_s=500), lambda: now)
    assert together.pace(0.5) == 0
    assert together.pace(0.25) == pytest.approx(0.5)
    now = 1.5
    assert together.pace(0.0) == 0
    assert together.pace(0.5) == 0, "a second later there is a second's worth again"
    assert together.pace(0.5) == pytest.approx(1.0)


def test_code_that_used_its_components_cpu_time_waits_in_its_thread(runtime: Runtime) -> None:
    asked: list[float] = []

    def pace(cpu_s: float) -> float:
        asked.append(cpu_s)
        return 3600.0 if sum(asked) > 0.02 else 0.0

    call = CoreCall(runtime, runtime.module(SPIN), COMPONENT.but(fuel=None, timeout_ms=24 * 3600 * 1000))
    call.guard.pace = pace
    resting = threading.Event()
    rest, guard = call.guard._rest, call.guard

    def watched(wait_s: float) -> None:
        if wait_s:
            resting.set()
        rest(wait_s)

    guard._rest = watched  # type: ignore[method-assign]
    ended = cancelled(call, lambda: call.call("spin"), lambda: resting.wait(60))  # which wakes it from an hour's rest
    assert isinstance(ended, errors.Cancelled)
    assert resting.is_set()
    used = sum(asked)
    assert 0.02 < used < 5, "measured, not told"


def test_two_threads_pay_into_one_quota(runtime: Runtime) -> None:
    spent: list[float] = []

    def call() -> None:
        made = CoreCall(runtime, runtime.module(SPIN), COMPONENT.but(fuel=None, timeout_ms=60_000))
        made.guard.pace = lambda cpu_s: spent.append(cpu_s) or 0.0  # type: ignore[func-returns-value]
        assert made.call("work").value == 100_000_000

    threads = [threading.Thread(target=call) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert sum(spent) > 0.01
    assert all(each >= 0 for each in spent)


def test_cpu_time_of_one_call_has_a_limit_of_its_own(runtime: Runtime) -> None:
    limits = COMPONENT.but(fuel=None, timeout_ms=60_000, cpu_ms=50)
    with pytest.raises(errors.CpuTimeExhausted, match="used up its 50 ms of CPU time") as caught:
        CoreCall(runtime, runtime.module(SPIN), limits).call("spin")
    assert (caught.value.tripped, caught.value.cpu_ms, caught.value.timeout_ms) == ("cpu", 50, 60_000)
    assert isinstance(caught.value, errors.CpuLimitExceeded)
    assert not isinstance(caught.value, errors.ExecutionTimeout)


async def test_executions_beyond_the_memory_of_all_wait_for_their_turn() -> None:
    together = Together(Quotas(memory=10 * MIB))
    order: list[str] = []
    end = {name: asyncio.Event() for name in "abcd"}

    async def use(name: str, size: int) -> None:
        async with together.room(size * MIB):
            order.append(name)
            await end[name].wait()

    tasks = [asyncio.create_task(use(name, size)) for name, size in zip("abcd", (6, 4, 8, 1), strict=True)]
    await asyncio.sleep(0)
    assert order == ["a", "b"], "d would fit, and does not pass c for ever"
    end["a"].set()
    await tasks[0]
    assert order == ["a", "b"]
    tasks[2].cancel()
    await asyncio.wait([tasks[2]])
    await asyncio.sleep(0)
    assert order == ["a", "b", "d"]
    for each in end.values():
        each.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert together._turns.used == 0
    with pytest.raises(errors.ResourceLimitExceeded, match="memory of all executions: 11534336 was asked for"):
        async with together.room(11 * MIB):
            raise AssertionError


async def test_turns_that_are_given_up_go_to_the_next() -> None:
    turns = Turns()
    await turns.take(1, 1)
    with pytest.raises(TimeoutError):
        await turns.take(1, 1, 0)
    waiting = [asyncio.create_task(turns.take(1, 1)) for _ in range(3)]
    await asyncio.sleep(0)
    turns.give(1)
    waiting[0].cancel()  # in the same moment in which it has its turn
    await asyncio.wait(waiting[:2], return_when=asyncio.ALL_COMPLETED)
    assert waiting[0].cancelled()
    assert waiting[1].done()
    assert turns.used == 1
    turns.give(1)
    await waiting[2]
    turns.give(1)
    assert turns.used == 0


class Held:
    """A backend whose runs go on until they are let go."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.go = asyncio.Event()

    async def missing(self) -> str:
        return ""

    async def run(self, task: Task) -> Ran:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1
        if task.code == "fail":
            raise errors.Cancelled
        return Ran("javascript", task.code)


@pytest.mark.parametrize(("limits", "most"), [(JAVASCRIPT, 20), (RESTRICTIVE, 10), (None, 20)])
async def test_so_many_run_at_once_and_a_hundred_come_through(limits: object, most: int) -> None:
    held = Held()
    front = Front({"javascript": held}, "auto")
    codes = ["fail" if n % 4 == 0 else f"{n};" for n in range(100)]
    task: Callable[[str], Task] = lambda code: Task(code, limits=limits)  # type: ignore[arg-type]  # noqa: E731
    runs = [asyncio.create_task(front.run(task(code))) for code in codes]
    for _ in range(5):
        await asyncio.sleep(0)
    assert held.running == most
    runs[-1].cancel()
    held.go.set()
    done = await asyncio.gather(*runs, return_exceptions=True)
    assert held.most == most
    assert [each.value for each in done if isinstance(each, Ran)] == [code for code in codes[:-1] if code != "fail"]
    assert front.statistics["javascript"].count == 99
    assert front.statistics["javascript"].healthy


def test_compilations_are_counted_and_a_hundred_are_kept() -> None:
    runtime = Runtime()
    codes = [wat(f'(module (func (export "run") (result i32) i32.const {n}))') for n in range(MODULES_MAX + 1)]
    first = runtime.module(codes[0])
    assert runtime.module(codes[0]) is first, "a handle is the compiled code itself"
    for code in codes[1:]:
        runtime.module(code)
    found = runtime.compilations
    assert (found.compiled, found.hits, found.misses) == (MODULES_MAX + 1, 1, MODULES_MAX + 1)
    assert found.average_ms > 0
    assert runtime.module(codes[0]) is not first, "the one that was longest unused was let go"
    with pytest.raises(errors.ComponentParseFailed):
        runtime.module(codes[0][:-2])
    assert (runtime.compilations.compiled, runtime.compilations.misses) == (MODULES_MAX + 2, MODULES_MAX + 3)
    runtime.close()
