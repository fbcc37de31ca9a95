"""A durable function whose script makes six host calls, in an engine that is killed where it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import durable
from tests.e2e.sandboxed import charging

EXECUTION = "scripted"
CODE = """
const r = await random();
const first = await charge(1);
await kv.set('k', r);
const [second, again] = await Promise.all([charge(2), kv.get('k')]);
console.log('half way');
const third = await charge(3);
({ same: r === again, charged: [first, second, third], r })
"""


@durable.function
async def scripted(ctx: durable.Context) -> Any:
    ran = await ctx.sandbox(CODE, language="javascript", grants=["random", "charge", "kv"])
    return {"value": ran.value, "stdout": ran.stdout}


async def main(path: str, die_at: int) -> None:
    """Run it; die right after the effect of that charge."""
    directory = Path(path)
    async with durable.open(directory / "work.db", capabilities=[charging(directory, die_at)]) as engine:
        execution = await engine.start(scripted, id=EXECUTION)
        await asyncio.wait_for(execution.result(), 60)
