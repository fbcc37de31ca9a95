"""Durable actors on every kind of store (specs/actors.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import durable

taken: list[str] = []


async def reserve(item: str) -> str:
    taken.append(item)
    return item


@durable.actor(supervise=durable.Supervise(max_restarts=2, backoff="immediate", replies=(ValueError,)))
class Cart:
    items: list[str] = []  # noqa: RUF012 - each actor has its own

    async def add(self, ctx: durable.ActorContext, item: str) -> int:
        if item == "nothing":
            raise ValueError("a cart takes things")
        self.items = [*self.items, item]
        await ctx.run(reserve, item)
        return len(self.items)

    async def poison(self, ctx: durable.ActorContext) -> None:
        self.items.append("half")
        raise RuntimeError("poisoned")

    @durable.read
    def count(self) -> int:
        return len(self.items)


async def test_an_actor_keeps_its_state_and_answers(place: str) -> None:
    async with durable.open(place) as engine:
        cart = engine.actor(Cart, "ana@x.org")
        assert await cart.count() == 0
        assert [await cart.add("book"), await cart.add("pen")] == [1, 2]
        assert await cart.count() == 2
        message = await cart.tell.add("ink")
        assert message == "actor~Cart~ana=40x=2Eorg@3"
        assert await (await engine.get(message)).result() == 3
        with pytest.raises(ValueError, match="takes things"):
            await cart.add("nothing")
        assert await cart.count() == 3
        info = await engine.actors.get(Cart, "ana@x.org")
        assert (info.state, info.saved, info.status, info.waiting) == (
            {"items": ["book", "pen", "ink"]},
            3,
            "running",
            0,
        )
    async with durable.open(place) as engine:
        assert await engine.actor(Cart, "ana@x.org").add("cup") == 4


async def test_a_failing_turn_is_taken_again_and_then_the_actor_fails(place: str) -> None:
    async with durable.open(place) as engine:
        cart = engine.actor(Cart, "bo")
        await cart.add("book")
        with pytest.raises(durable.ExecutionError, match="poisoned"):
            await cart.poison()
        info = await engine.actors.get(Cart, "bo")
        assert (info.status, info.restarted, info.state) == ("failed", 2, {"items": ["book"]})
        assert "poisoned" in info.note
        with pytest.raises(durable.ActorStopped, match="poisoned"):
            await cart.add("pen")
        letters = await engine.actors.dead_letters(Cart, "bo")
        assert [(each.method, each.args) for each in letters] == [("add", ["pen"]), ("poison", [])]
        await engine.actors.restart(Cart, "bo")
        assert await cart.add("pen") == 2


@durable.actor
class Stock:
    left: int = 10

    async def take(self, ctx: durable.ActorContext, count: int) -> int:
        assert ctx.sender.startswith("actor~") or ctx.sender == ""
        self.left -= count
        return self.left

    async def ask_shop(self, ctx: durable.ActorContext, shop: str) -> int:
        found: int = await ctx.actor(Shop, shop).order(1)
        return found


@durable.actor
class Shop:
    log: list[str] = []  # noqa: RUF012

    async def order(self, ctx: durable.ActorContext, count: int) -> int:
        left: int = await ctx.actor(Stock, "main").take(count)
        await ctx.actor(Audit, "all").tell.note(f"{count} of {ctx.key}")
        await ctx.sleep(0.01)
        self.log = [*self.log, str(left)]
        return left

    async def circle(self, ctx: durable.ActorContext) -> int:
        found: int = await ctx.actor(Stock, "main").ask_shop(ctx.key)
        return found


@durable.actor
class Audit:
    notes: list[str] = []  # noqa: RUF012

    async def note(self, ctx: durable.ActorContext, text: str) -> None:
        self.notes = [*self.notes, text]

    async def later(self, ctx: durable.ActorContext) -> None:
        await ctx.remind("soon", "note", "reminded", after=0.05)
        await ctx.subscribe("orders.*", "note")

    @durable.read
    def all(self) -> list[str]:
        return self.notes


@durable.function
async def buy(ctx: durable.Context, count: int) -> int:
    found: int = await ctx.actor(Shop, "north").order(count)
    return found


async def holds(check: Any) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(20):
        while not await check():  # noqa: ASYNC110 - what changes is in a store
            await asyncio.sleep(0.02)


async def test_actors_ask_each_other_within_turns_and_a_circle_is_refused(place: str) -> None:
    async with durable.open(place) as engine:
        assert await (await engine.start(buy, 3, id="buys")).result() == 7
        assert await engine.actor(Shop, "north").order(2) == 5
        await holds(lambda: _notes(engine, ["3 of north", "2 of north"]))
        with pytest.raises(durable.ActorCycle, match="Shop 'north' -> Stock 'main' -> Shop 'north'"):
            await engine.actor(Shop, "north").circle()


async def _notes(engine: durable.Engine, expected: list[str]) -> bool:
    return bool(await engine.actor(Audit, "all").all() == expected)


async def test_topics_and_reminders_reach_an_actor_once(place: str) -> None:
    async with durable.open(place) as engine:
        await engine.actor(Audit, "all").later()
        await holds(lambda: _notes(engine, ["reminded"]))

        async def forgotten() -> bool:  # one that came once leaves no name behind
            return (await engine.store.request("kv.list", {"namespace": "actor~Audit~all"})).data["keys"] == []

        await holds(forgotten)
        assert await engine.actors.publish("orders.paid", "one", id="p1") == 1
        assert await engine.actors.publish("orders.paid", "one", id="p1") == 1
        assert await engine.actors.publish("orders.paid.late", "two") == 0
        await holds(lambda: _notes(engine, ["reminded", "one"]))
        with pytest.raises(durable.InvalidTopic):
            await engine.actors.publish("orders.*", "three")


@durable.actor(supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="escalate"))
class Worker:
    done: int = 0

    async def work(self, ctx: durable.ActorContext, fails: bool = False) -> int:
        if fails:
            raise RuntimeError("tired")
        self.done += 1
        return self.done


@durable.actor(supervise=durable.Supervise(max_restarts=2, backoff="immediate", strategy="one_for_all"))
class Crew:
    async def gather(self, ctx: durable.ActorContext, names: list[str]) -> None:
        for name in names:
            await ctx.spawn(Worker, name)

    async def adopt(self, ctx: durable.ActorContext, other: str) -> None:
        await ctx.spawn(Crew, other)


async def test_a_tree_restarts_what_its_strategy_says_until_it_gives_up(place: str) -> None:
    async with durable.open(place) as engine:
        crew = engine.actor(Crew, "day")
        await crew.gather(["w1", "w2"])
        assert await engine.actor(Worker, "w1").work() == 1
        tree = await engine.actors.tree()
        assert tree.children("Crew 'day'") == ["Worker 'w1'", "Worker 'w2'"]
        for n in range(2):
            with pytest.raises(durable.ExecutionError, match="tired"):
                await engine.actor(Worker, "w1").work(fails=True)

            async def recovered(n: int = n) -> bool:
                one, two = [await engine.actors.get(Worker, name) for name in ("w1", "w2")]
                return (one.status, one.restarted, two.restarted) == ("running", 2 * n + 2, n + 1)

            await holds(recovered)
        assert await engine.actor(Worker, "w1").work() == 2
        with pytest.raises(durable.ExecutionError, match="tired"):
            await engine.actor(Worker, "w1").work(fails=True)

        async def over() -> bool:
            return {each.status for each in await engine.actors.find()} == {"failed"}

        await holds(over)
        assert "Worker 'w1' failed" in (await engine.actors.get(Crew, "day")).note


@durable.actor
class Loner:
    async def adopt(self, ctx: durable.ActorContext, name: str) -> None:
        await ctx.spawn(Worker, name)


async def test_who_is_not_supervised_supervises_nobody(place: str) -> None:
    """A37."""
    async with durable.open(place) as engine:
        with pytest.raises(durable.InvalidSupervision, match="its class says no `supervise"):
            await engine.actor(Loner, "l").adopt("w")
        assert [each.key for each in await engine.actors.find()] == ["l"]


async def test_a_stopped_actor_is_deleted_with_what_it_had(place: str) -> None:
    async with durable.open(place) as engine:
        cart = engine.actor(Cart, "ana")
        await cart.add("book")
        await engine.actors.subscribe(Cart, "ana", "orders.*", "add")
        with pytest.raises(durable.Conflict, match="is running; stop it"):
            await engine.actors.delete(Cart, "ana")
        await engine.actors.stop(Cart, "ana")
        with pytest.raises(durable.ActorStopped):
            await cart.tell.add("pen")
        assert await engine.actors.delete(Cart, "ana") == 1
        with pytest.raises(durable.NotFound, match="Cart 'ana'"):
            await engine.actors.get(Cart, "ana")
        assert (await engine.actors.dead_letters(), await engine.actors.publish("orders.new", "x")) == ([], 0)
        assert await cart.add("pen") == 1  # a new one, under the next number
        with pytest.raises(durable.NotFound):
            await engine.actors.delete(Cart, "nobody")
        crew = engine.actor(Crew, "day")
        await crew.gather(["w1"])
        await engine.actors.stop(Crew, "day")
        with pytest.raises(durable.Conflict, match="supervises others"):
            await engine.actors.delete(Crew, "day")
        assert await engine.actors.delete(Crew, "day", force=True) == 0
        assert (await engine.actors.get(Worker, "w1")).parent is None


@durable.actor
class Bell:
    rung: int = 0

    async def wind(self, ctx: durable.ActorContext) -> None:
        await ctx.remind("ring", "ring", after=3_600, every=3_600)

    async def ring(self, ctx: durable.ActorContext) -> None:
        self.rung += 1


async def test_the_reminders_of_a_deleted_actor_end(place: str) -> None:
    async with durable.open(place) as engine:
        await engine.actor(Bell, "b").wind()
        (reminder,) = [each.id for each in await engine.executions() if each.id.startswith("reminder-")]
        await engine.actors.delete(Bell, "b", force=True)
        assert await (await engine.get(reminder)).state() == "cancelled"


async def test_supervision_has_no_circles_and_no_second_parents(place: str) -> None:
    async with durable.open(place) as engine:
        await engine.actor(Crew, "a").adopt("b")
        with pytest.raises(durable.TreeIntegrityViolation, match="Crew 'a' under Crew 'b' under Crew 'a'"):
            await engine.actor(Crew, "b").adopt("a")
        with pytest.raises(durable.TreeIntegrityViolation, match="under Crew 'a'"):
            await engine.actor(Crew, "c").adopt("b")
        await engine.actor(Crew, "a").adopt("b")


async def test_bad_input_is_told_and_nothing_is_sent(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        cart = engine.actor(Cart, "ana")
        with pytest.raises(durable.UnknownMethod, match=r"'steal'.*add, count, poison"):
            await cart.steal()
        with pytest.raises(durable.BadArguments):
            await cart.add()
        with pytest.raises(durable.BadArguments):
            await cart.add(["no text"])
        with pytest.raises(durable.InvalidId):
            engine.actor(Cart, "")
        with pytest.raises(durable.BadArguments, match=r"decorate it with @durable\.actor"):
            engine.actor(dict, "a")
        with pytest.raises(durable.NotFound, match="no actor \"Cart 'nobody'\""):
            await engine.actors.stop(Cart, "nobody")
        assert await engine.actors.find() == []
        with pytest.raises(durable.UnknownMethod, match="'steal'"):
            await engine.actor("Cart", "ana").steal()
        assert await cart.options(id="once").add("book") == 1
        assert await cart.options(id="once").add("book") == 1
        with pytest.raises(durable.Conflict, match="another method or arguments"):
            await cart.options(id="once").add("pen")
    for wrong, words in (
        ({"max_restarts": -1}, "max_restarts"),
        ({"backoff": "fast"}, "fast"),
        ({"strategy": "one_for_two"}, "one_for_two"),
        ({"exhausted": "shrug"}, "shrug"),
    ):
        with pytest.raises(durable.InvalidSupervision, match=words):
            durable.Supervise(**wrong)
    with pytest.raises(durable.BadArguments, match="no default"):

        @durable.actor
        class Empty:
            items: list[str]

    with pytest.raises(durable.BadArguments, match=r"has \(self, ctx"):

        @durable.actor
        class NoContext:
            async def add(self) -> None: ...


COUNTER = """
import durable

@durable.actor(version=VERSION)
class Counter:
    NAME: int = 0

    async def add(self, ctx: durable.ActorContext) -> int:
        self.NAME += 1
        return self.NAME
"""
MIGRATES = """
    @staticmethod
    def migrate(state, version):
        assert version == 1
        return {"amount": state["total"]}
"""


def counter(version: int, name: str, more: str = "") -> type:
    """The class as a module that was loaded again has it."""
    space: dict[str, Any] = {"__name__": "counter_module"}
    exec(compile((COUNTER + more).replace("VERSION", str(version)).replace("NAME", name), "<counter>", "exec"), space)
    found: type = space["Counter"]
    return found


async def test_a_state_is_migrated_or_refused(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        assert await engine.actor(counter(1, "total"), "c").add() == 1
        with pytest.raises(durable.StateMismatch, match=r"no field 'total'.*migrate"):
            await engine.actor(counter(2, "amount"), "c").add()
        assert await engine.actor(counter(2, "amount", MIGRATES), "c").add() == 2
        with pytest.raises(durable.StateMismatch, match="saved by version 2"):
            await engine.actor(counter(1, "total"), "c").add()
        with pytest.raises(durable.Conflict, match=r"two classes.*@durable\.actor\(name"):
            [durable.actor(name="Twice")(type("Twice", (), {})) for _ in range(2)]


@durable.actor(mailbox=2)
class Slow:
    async def wait(self, ctx: durable.ActorContext) -> str:
        return str(await ctx.ask("go on?", schema=str))


async def test_a_full_mailbox_and_a_stop_lose_nothing_silently(place: str) -> None:
    async with durable.open(place) as engine:
        slow = engine.actor(Slow, "s")
        first = await slow.tell.wait()
        second = await slow.tell.wait()
        with pytest.raises(durable.MailboxFull, match="2 messages"):
            await slow.tell.wait()

        async def asked() -> bool:
            return bool(await engine.prompts())

        await holds(asked)
        with pytest.raises(durable.RequestTimedOut, match="did not answer"):
            await engine.actors.reply("actor~Slow~s", None, f"exec:{second}", 0.05)
        assert await engine.actors.stop(Slow, "s", "closing") == 1
        with pytest.raises(durable.ActorStopped, match="closing"):
            await (await engine.get(second)).result()
        (prompt,) = await engine.prompts()
        await engine.answer(prompt.id, "yes")
        assert await (await engine.get(first)).result() == "yes"
        assert [each.id for each in await engine.actors.dead_letters()] == [second]
