"""Actors in memory: the same classes without the store (specs/actors.md, L1-L5)."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

import durable
from capabilities.actors.actor_events import Severity
from capabilities.actors.actor_limits import ActorLimits
from durable.actors.actor_class import class_of
from durable.actors.local_actors import LocalActors
from durable.core.events import ActorSupervised


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


@durable.actor(durable=False)
class Tap:
    opened: int = 0
    starts: ClassVar[list[str]] = []
    ends: ClassVar[list[str]] = []

    async def on_start(self, ctx: durable.ActorContext) -> None:
        if ctx.key == "late":
            await asyncio.Event().wait()
        if ctx.key == "broken" and not self.starts.count("broken"):
            self.starts.append("broken")
            raise OSError("no water")
        self.starts.append(ctx.key)

    async def on_stop(self, ctx: durable.ActorContext) -> None:
        self.ends.append(ctx.key)
        if ctx.key == "k":
            raise OSError("it drips")

    async def open(self, ctx: durable.ActorContext) -> int:
        self.opened += 1
        return self.opened


async def test_a_start_that_fails_is_the_answer_and_a_stop_runs_its_hook(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A36, A52, A53: started by hand, within a time; `on_start` before the first message, `on_stop` after the last."""
    Tap.starts.clear()
    Tap.ends.clear()
    seen: list[durable.Event] = []
    async with durable.open(tmp_path / "s.db", serve=False, observer=seen.append) as engine:
        actors = engine.actors
        await actors.start(Tap, "k")
        assert (Tap.starts, await engine.actor(Tap, "k").open()) == (["k"], 1)
        with pytest.raises(OSError, match="no water"):
            await engine.actor(Tap, "broken").open()
        assert await engine.actor(Tap, "broken").open() == 1
        actors.local.limits = ActorLimits(spawn_timeout_s=0.01, actors_max=3)
        with pytest.raises(durable.RequestTimedOut, match="the start of Tap 'late'"):
            await actors.start(Tap, "late")
        with pytest.raises(durable.TooManyActors, match="3 actors are in memory"):
            engine.actor(Tap, "more")
        assert await actors.stop(Tap, "k", "closing") == 0
        with pytest.raises(durable.ActorStopped, match="closing"):
            await engine.actor(Tap, "k").open()
        await actors.restart(Tap, "k")
        assert await engine.actor(Tap, "k").open() == 1
        whats = [each.what for each in seen if isinstance(each, ActorSupervised) and each.actor == "Tap 'k'"]
        assert whats == ["child_started", "child_stopped", "child_restarted", "child_started"]
        assert [each.what for each in actors.events.events()][-1] == "child_started"
        assert actors.events.snapshot(0.0).counts[Severity.WARNING] == 1
    assert sorted(Tap.ends) == ["broken", "broken", "k", "k", "late"]
    assert "Tap 'k': its on_stop raised OSError('it drips')" in caplog.text


@pytest.mark.parametrize("wrong", [{"spawn_timeout_s": 0}, {"shutdown_timeout_s": 0}, {"actors_max": -1}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """A53: the defaults, and what is a fault of the configuration."""
    with pytest.raises(durable.InvalidSupervision):
        ActorLimits(**wrong)  # type: ignore[arg-type]
    assert ActorLimits() == ActorLimits(5.0, 30.0, 0, False)
