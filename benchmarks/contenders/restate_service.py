"""The service that Restate calls: the same two functions as every other contender's, as restate-sdk handlers."""

from __future__ import annotations

import time

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


app = restate.app([steps])
