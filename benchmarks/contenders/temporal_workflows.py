"""The functions that Temporal runs: the same as every other contender's, as workflows and an activity.

A module of its own and with few imports, since Temporal's sandbox imports it anew for each workflow.
"""

from __future__ import annotations

import time
from datetime import timedelta

from temporalio import activity, workflow

LIMIT = timedelta(minutes=1)


def now() -> float:
    """Seconds of a clock that all processes of the machine share."""
    with workflow.unsafe.sandbox_unrestricted():
        return time.perf_counter()


@activity.defn
async def step(number: int) -> int:
    return number + 1


@workflow.defn
class TimedSteps:
    @workflow.run
    async def run(self, count: int) -> list[float]:
        samples = []
        for number in range(count):
            started = now()
            await workflow.execute_activity(step, number, start_to_close_timeout=LIMIT)
            samples.append(now() - started)
        return samples


@workflow.defn
class TimedLocalSteps:
    @workflow.run
    async def run(self, count: int) -> list[float]:
        samples = []
        for number in range(count):
            started = now()
            await workflow.execute_local_activity(step, number, start_to_close_timeout=LIMIT)
            samples.append(now() - started)
        return samples


@workflow.defn
class OneStep:
    @workflow.run
    async def run(self, number: int) -> int:
        total: int = await workflow.execute_activity(step, number, start_to_close_timeout=LIMIT)
        return total


@workflow.defn
class Waits:
    """The answer is when the signal was sent; its result says how long ago that was."""

    def __init__(self) -> None:
        self.sent: float | None = None

    @workflow.run
    async def run(self) -> float:
        await workflow.wait_condition(lambda: self.sent is not None)
        assert self.sent is not None
        return now() - self.sent

    @workflow.signal
    def go(self, sent: float) -> None:
        self.sent = sent


WORKFLOWS = (TimedSteps, TimedLocalSteps, OneStep, Waits)
