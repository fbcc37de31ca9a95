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


@durable.actor(supervise=durable.Supervise(max_restarts=1, backoff="immediate"))
class Booth:
    cash: int = 0

    async def hire(self, ctx: durable.ActorContext, name: str) -> None:
        await ctx.spawn(Usher, name)

    async def exits(self, ctx: durable.ActorContext, how: str) -> int:
        begun.append(how)
        self.cash += 1
        if begun.count(how) == 1:
            raise SystemExit(3) if how == "exit" else asyncio.CancelledError
        return self.cash

    async def twice(self, ctx: durable.ActorContext) -> list[int]:
        usher = ctx.actor(Usher, "twice")
        message = await usher.options(id="once").tell.lift()
        assert message == await usher.options(id="once").tell.lift()
        return [await usher.lift(), await usher.options(id="twice").lift()]

    async def remind_wrongly(self, ctx: durable.ActorContext, name: str) -> None:
        await ctx.remind(name, "exits", "never", after=3600)

    @durable.read
    def peek(self) -> int:
        self.cash += 1000
        return self.cash


@durable.actor(supervise=durable.Supervise(max_restarts=0, exhausted="escalate"))
class Usher:
    lifted: int = 0

    async def lift(self, ctx: durable.ActorContext) -> int:
        self.lifted += 1
        return self.lifted


async def test_a_child_that_was_deleted_is_spawned_again_under_its_supervisor(place: str) -> None:
    """elixir-lang/elixir#7655's kind: what a supervisor counts as its child is not there."""
    async with durable.open(place) as engine:
        booth = engine.actor(Booth, "t")
        for _ in range(2):
            await booth.hire("h")
            assert await engine.actor(Usher, "h").lift() == 1
            assert (await engine.actors.get(Usher, "h")).parent == "actor~Booth~t"
            await engine.actors.stop(Usher, "h")
            await engine.actors.delete(Usher, "h")
        await booth.hire("h")
        with pytest.raises(durable.TreeIntegrityViolation, match="under Booth 't'"):
            await engine.actor(Booth, "other").hire("h")


async def test_of_two_supervisors_that_spawn_one_actor_at_once_one_is_told(place: str) -> None:
    async with durable.open(place) as engine:
        tills = [engine.actor(Booth, name) for name in "abcd"]
        told = await asyncio.gather(*(booth.hire("both") for booth in tills), return_exceptions=True)
        assert [type(each).__name__ for each in told if each is not None] == ["TreeIntegrityViolation"] * 3
        assert (await engine.actors.get(Usher, "both")).parent == f"actor~Booth~{'abcd'[told.index(None)]}"


async def test_what_a_reading_method_changes_is_not_saved_where_it_comes_as_a_message(place: str) -> None:
    """filecoin-project/lotus#3545: a method that only looks could change the state."""
    async with durable.open(place) as engine:
        booth = engine.actor(Booth, "t")
        by_name = engine.actor("Booth", "t")
        assert [await booth.peek(), await by_name.peek(), await by_name.peek()] == [1000] * 3
        await (await engine.get(await booth.tell.peek())).result()
        assert (await engine.actors.get(Booth, "t")).state == {"cash": 0}


@pytest.mark.parametrize("how", ["exit", "cancellation"])
async def test_a_turn_that_raises_an_exit_is_restarted_as_after_an_error(place: str, how: str) -> None:
    """ray-project/ray#11990: sys.exit in an async actor."""
    begun.clear()
    async with durable.open(place) as engine:
        assert await engine.actor(Booth, how).exits(how) == 1
        info = await engine.actors.get(Booth, how)
        assert (info.restarted, info.status, info.state) == (1, "running", {"cash": 1})


async def test_an_id_inside_a_function_is_for_messages_and_a_request_with_one_is_refused(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.BadArguments, match=r"options\(id='twice'\)\.tell\.lift"):
            await engine.actor(Booth, "t").twice()
        assert await engine.actor(Usher, "twice").lift() == 3
        with pytest.raises(durable.InvalidId):
            await engine.actor(Usher, "twice").options(id=5).lift()


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 1001])
async def test_a_name_that_no_store_can_keep_is_refused_before_it_is_asked(tmp_path: Path, name: str) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.BadArguments, match="a reminder's name"):
            await engine.actor(Booth, "t").remind_wrongly(name)
