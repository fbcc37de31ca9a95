"""More long executions than one engine has slots for: what it cannot run goes to others at once (store.md, S7)."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import durable
from durable.core.limits import TASKS_MAX
from tests.waiting import until
from tests.warm_python import PYTHON

gates: dict[str, asyncio.Event] = {}
begun: dict[str, asyncio.Event] = {}


async def for_ever() -> None:
    await asyncio.Event().wait()


@durable.function(name="long")
async def long(ctx: durable.Context) -> None:
    await ctx.run(for_ever)


OTHER = """
import asyncio, sys, durable
import tests.replay.test_offers_shared
async def main():
    async with durable.open(sys.argv[1], durability="process"):
        print("open", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_two_engines_share_what_is_more_than_the_slots_of_one(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store, durability="process") as engine:
        other = await asyncio.create_subprocess_exec(PYTHON, "-c", OTHER, str(store), stdout=PIPE)
        try:
            assert other.stdout is not None
            await other.stdout.readline()
            await asyncio.gather(*(engine.start(long, id=f"long-{n}") for n in range(2 * TASKS_MAX + 10)))

            async def held() -> bool:
                rows = await engine.store.reads.list_executions(state="running", limit=3 * TASKS_MAX)
                return sorted(Counter(row.engine_pid for row in rows if row.engine).values()) == [TASKS_MAX, TASKS_MAX]

            await until(engine, held, timeout=60)
            waiting = await engine.store.reads.list_executions(state="pending")
            assert len(waiting) == 10  # nobody's: whoever has a slot next takes them
            for row in waiting[:3]:
                await engine.cancel(row.id)
        finally:
            other.kill()
            await other.wait()


async def at_gate(execution: str, gate: str) -> str:
    if execution in begun:
        begun[execution].set()
    await gates[gate].wait()
    return gate


@durable.function
async def gated(ctx: durable.Context, gate: str) -> str:
    return await ctx.run(at_gate, ctx.id, gate)


async def test_a_slot_that_is_free_again_takes_what_is_due(tmp_path: Path) -> None:
    gates.update({"first": asyncio.Event(), "others": asyncio.Event()})
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        assert engine._runner is not None
        slots = engine._runner.slots
        first = await engine.start(gated, "first")
        others = [await engine.start(gated, "others") for _ in range(TASKS_MAX - 1)]
        assert not slots.free()
        begun.update({name: asyncio.Event() for name in ("late-1", "late-2")})
        late = [await engine.start(gated, "others", id=name) for name in begun]
        assert [await one.state() for one in late] == ["pending", "pending"]
        gates["first"].set()
        await first.result()

        await asyncio.wait([asyncio.create_task(each.wait()) for each in begun.values()], return_when="FIRST_COMPLETED")
        assert sorted(each.is_set() for each in begun.values()) == [False, True]
        gates["others"].set()
        assert [await one.result() for one in (*others, *late)] == ["others"] * (TASKS_MAX + 1)
