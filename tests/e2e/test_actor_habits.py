"""Reports about other actor systems, tried on ours.

dapr/dapr#8194 (a crash deletes reminders), dapr/docs#3042 (a reminder's method fails), microsoft/service-fabric#388
(reminders of an actor that is gone), dapr/dapr#4229 (a reminder that is replaced), dotnet/orleans#5456 (a call chain
that comes back), restatedev/restate#2362 (holding a key), restatedev/restate#944 (cancelling what holds a key).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import durable
from tests.e2e.test_actors import holds

begun: list[str] = []


@durable.actor
class Clock:
    ticks: int = 0
    names: list[str] = []  # noqa: RUF012

    async def begin(self, ctx: durable.ActorContext, name: str, after: float, every: float | None = None) -> None:
        await ctx.remind("tick", "tick", name, after=after, every=every)

    async def tick(self, ctx: durable.ActorContext, name: str) -> None:
        if name == "fails":
            await ctx.run(begun.append, name)
            raise RuntimeError("no time")
        self.ticks += 1
        self.names = [*self.names, name]

    async def end(self, ctx: durable.ActorContext) -> bool:
        return await ctx.forget_reminder("tick")


@durable.actor
class Snail:
    ticks: int = 0

    async def begin(self, ctx: durable.ActorContext) -> None:
        begun.clear()
        await ctx.remind("tick", "tick", after=0.01, every=0.01)

    async def tick(self, ctx: durable.ActorContext) -> None:
        await ctx.run(begun.append, "tick")
        await ctx.sleep(0.3)
        self.ticks += 1


async def test_a_reminder_outlives_its_engine_and_a_second_one_replaces_it(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        clock = engine.actor(Clock, "c")
        await clock.begin("first", 60)
        await clock.begin("second", 0.3)
    async with durable.open(tmp_path / "work.db") as engine:

        async def ticked() -> bool:
            return bool((await engine.actors.get(Clock, "c")).state["names"] == ["second"])

        await holds(ticked)
        assert await engine.actor(Clock, "c").end() is False


async def test_an_actor_that_is_slower_than_its_reminder_has_one_message_of_it(tmp_path: Path) -> None:
    """dapr/dapr#4500: thousands of reminders, once the app took messages again."""
    async with durable.open(tmp_path / "work.db") as engine:
        snail = engine.actor(Snail, "s")
        await snail.begin()
        async with asyncio.timeout(20):
            while len(begun) < 3:  # noqa: ASYNC110 - the reminder has come
                await asyncio.sleep(0.05)
        assert (await engine.actors.get(Snail, "s")).waiting <= 2


async def test_a_reminder_whose_method_fails_comes_again_and_a_stopped_actor_gets_none(tmp_path: Path) -> None:
    begun.clear()
    async with durable.open(tmp_path / "work.db") as engine:
        clock = engine.actor(Clock, "c")
        await clock.begin("fails", 0.02, 0.02)

        async def thrice() -> bool:
            return len(begun) >= 3

        await holds(thrice)
        await engine.actors.stop(Clock, "c")
        letters = len(await engine.actors.dead_letters())
        await asyncio.sleep(0.2)
        assert len(await engine.actors.dead_letters()) <= letters + 1
        await engine.actors.restart(Clock, "c")
        before = len(begun)

        async def again() -> bool:
            return len(begun) > before

        await holds(again)
        assert await clock.end() is True


@durable.function
async def inner(ctx: durable.Context) -> Any:
    return await ctx.actor(Loop, "a").start()


@durable.actor
class Loop:
    done: list[str] = []  # noqa: RUF012

    async def start(self, ctx: durable.ActorContext) -> Any:
        return await ctx.run(inner)

    async def slow(self, ctx: durable.ActorContext, name: str) -> str:
        await ctx.run(hold, name)
        self.done = [*self.done, name]
        return name

    async def asks(self, ctx: durable.ActorContext) -> str:
        found: str = await ctx.ask("go on?", schema=str)
        self.done = [*self.done, found]
        return found


async def hold(name: str) -> None:
    begun.append(name)
    if name == "held":
        await asyncio.sleep(60)


async def test_a_circle_through_a_nested_function_is_found(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.ActorCycle, match="Loop 'a' -> Loop 'a'"):
            await engine.actor(Loop, "a").start()


async def test_a_cancelled_turn_stops_its_step_and_lets_the_next_message_in(place: str) -> None:
    begun.clear()
    async with durable.open(place) as engine:
        loop = engine.actor(Loop, "a")
        first = await loop.tell.slow("held")
        second = await loop.tell.slow("next")

        async def held() -> bool:
            return begun == ["held"]

        await holds(held)
        assert await engine.cancel(first, "too slow")
        assert await (await engine.get(second)).result() == "next"
        with pytest.raises(durable.ExecutionCancelled, match="too slow"):
            await (await engine.get(first)).result()
        assert (await engine.actors.get(Loop, "a")).state == {"done": ["next"]}


async def test_a_message_that_is_interrupted_holds_the_key_until_it_is_resumed(place: str) -> None:
    async with durable.open(place) as engine:
        loop = engine.actor(Loop, "a")
        first = await loop.tell.asks()
        second = await loop.tell.slow("next")

        async def asked() -> bool:
            return bool(await engine.prompts())

        await holds(asked)
        assert await engine.interrupt(first)
        (prompt,) = await engine.prompts()
        await engine.answer(prompt.id, "yes")
        assert (await (await engine.get(second)).info()).state == "pending"
        assert await engine.resume(first)
        assert await (await engine.get(second)).result() == "next"
        assert (await engine.actors.get(Loop, "a")).state == {"done": ["yes", "next"]}
