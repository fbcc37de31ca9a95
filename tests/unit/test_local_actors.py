"""Actors in memory: the same classes without the store (specs/actors.md, L1-L5)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import durable
from durable.actors.actor_class import class_of
from durable.actors.local_actors import LocalActors


@durable.actor(durable=False, mailbox=5)
class Meter:
    total: int = 0

    async def add(self, ctx: durable.ActorContext, amount: int) -> int:
        before = self.total
        await asyncio.sleep(0)
        self.total = before + amount
        return self.total

    async def wrong(self, ctx: durable.ActorContext) -> None:
        self.total = 99
        raise ValueError("wrong")

    async def round(self, ctx: durable.ActorContext) -> Any:
        return await ctx.actor(Meter, ctx.key).add(1)

    @durable.read
    def now(self) -> int:
        return self.total


@durable.actor(durable=False, supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="escalate"))
class Valve:
    uses: int = 0

    async def turn(self, ctx: durable.ActorContext, breaks: bool = False) -> int:
        self.uses += 1
        if breaks:
            raise RuntimeError("broken")
        return self.uses


@durable.actor(durable=False, supervise=durable.Supervise(max_restarts=1, backoff="immediate", strategy="one_for_all"))
class Plant:
    async def build(self, ctx: durable.ActorContext, names: list[str]) -> None:
        for name in names:
            await ctx.spawn(Valve, name)


async def test_turns_of_one_actor_come_one_after_another() -> None:
    actors = LocalActors()
    meter = actors.reference(class_of(Meter), "m")
    assert await asyncio.gather(*(meter.add(1) for _ in range(5))) == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="wrong"):
        await meter.wrong()
    assert await meter.now() == 99  # nothing of it was saved, so nothing is taken back
    with pytest.raises(durable.UnknownMethod):
        await meter.steal()
    with pytest.raises(durable.ActorCycle, match="Meter 'm' -> Meter 'm'"):
        await meter.round()
    await meter.tell.add(1)
    assert await meter.now() == 100


async def test_a_full_mailbox_refuses_and_a_stop_tells_who_waits() -> None:
    actors = LocalActors()
    meter = actors.reference(class_of(Meter), "m")
    asked = [asyncio.ensure_future(meter.add(1)) for _ in range(5)]
    with pytest.raises(durable.MailboxFull, match="5 messages"):
        await meter.add(1)
    assert actors.of(class_of(Meter), "m").stop("closing") == 5
    for each in asked:
        with pytest.raises(durable.ActorStopped, match="closing"):
            await each
    with pytest.raises(durable.ActorStopped):
        await meter.tell.add(1)


async def test_supervision_restarts_the_group_and_then_gives_up() -> None:
    actors = LocalActors()
    await actors.reference(class_of(Plant), "p").build(["a", "b"])
    valve, other = (actors.reference(class_of(Valve), name) for name in "ab")
    assert [await valve.turn(), await other.turn(), await other.turn()] == [1, 1, 2]
    with pytest.raises(RuntimeError, match="broken"):
        await valve.turn(breaks=True)
    await asyncio.wait(actors._escalations)
    assert [await valve.turn(), await other.turn()] == [1, 1]
    with pytest.raises(RuntimeError):
        await valve.turn(breaks=True)
    await asyncio.wait(actors._escalations)
    for each in (valve, other):
        with pytest.raises(durable.ActorStopped):
            await each.turn()
    plant = actors.of(class_of(Plant), "p")
    with pytest.raises(durable.TreeIntegrityViolation, match="in a circle"):
        actors.spawn(class_of(Plant), "p", plant)


async def test_an_engine_keeps_them_in_memory_and_a_function_does_not_ask_them(tmp_path: Any) -> None:
    async with durable.open(tmp_path / "s.db") as engine:
        assert await engine.actor(Meter, "m").options(timeout=5).add(3) == 3
        assert await engine.actors.find() == []
