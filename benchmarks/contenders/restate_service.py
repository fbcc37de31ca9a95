"""The service that Restate calls: the same two functions as every other contender's, as restate-sdk handlers."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate

steps = restate.Service("steps")


async def step(number: int) -> int:
    return number + 1


@steps.handler()
async def timed(ctx: restate.Context, count: int) -> list[float]:
    samples = []
    for number in range(count):
        started = time.perf_counter()
        await ctx.run_typed("step", step, number=number)
        samples.append(time.perf_counter() - started)
    return samples


@steps.handler()
async def one(ctx: restate.Context, number: int) -> int:
    value: int = await ctx.run_typed("step", step, number=number)
    return value


@steps.handler()
async def waits(ctx: restate.Context, asked: dict[str, Any]) -> int:
    """A step, a sleep, a step; says in a file when it waits and when it is done (restate_recovery.py)."""
    value: int = await ctx.run_typed("step", step, number=asked["number"])
    marks = Path(asked["marks"])
    await ctx.run_typed("mark", mark, path=str(marks / "waiting"), number=asked["number"])
    await ctx.sleep(timedelta(seconds=asked["seconds"]))
    value = await ctx.run_typed("step", step, number=value)
    mark(str(marks / "done"), asked["number"])
    return value


@steps.handler()
async def fan_out(ctx: restate.Context, count: int) -> int:
    children = [ctx.service_call(one, number) for number in range(count)]
    await restate.gather(*children)
    return sum([await child for child in children])


def mark(path: str, number: int) -> None:
    """Append a line, whole, whoever else appends."""
    with Path(path).open("a") as file:
        file.write(f"{number}\n")


counter = restate.VirtualObject("counter")


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    total: int = (await ctx.get("total") or 0) + amount
    ctx.set("total", total)
    return total


signals = restate.Workflow("signals")


@signals.main()
async def run(ctx: restate.WorkflowContext, _number: int) -> float:
    """The promise's value is when it was settled; the result says how long ago that was."""
    sent: float = await ctx.promise("go").value()
    return time.perf_counter() - sent


@signals.handler()
async def go(ctx: restate.WorkflowSharedContext, sent: float) -> None:
    await ctx.promise("go").resolve(sent)


app = restate.app([steps, counter, signals])
