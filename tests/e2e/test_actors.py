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
    items: list[str] = []

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
