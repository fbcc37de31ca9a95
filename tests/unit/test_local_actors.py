"""Actors in memory: the same classes without the store (specs/actors.md, L1-L5)."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
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


# -- what other systems were told of ----------------------------------------------------------------------------------


@durable.actor(
    durable=False, supervise=durable.Supervise(max_restarts=2, backoff=durable.Backoff("linear", base_s=0.05))
)
class Winch:
    strokes: int = 0
    tries: ClassVar[list[str]] = []

    async def jam(self, ctx: durable.ActorContext) -> None:
        self.tries.append("jam")
        raise RuntimeError("jammed")

    async def stroke(self, ctx: durable.ActorContext) -> int:
        self.strokes += 1
        return self.strokes

    async def drain(self, ctx: durable.ActorContext) -> None:
        self.tries.append("drain")
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("it sticks")


async def _tried() -> None:
    async with asyncio.timeout(5):
        while not Winch.tries:  # noqa: ASYNC110 - the turn has begun
            await asyncio.sleep(0)


@pytest.mark.parametrize("force", [False, True])
async def test_an_actor_that_is_stopped_in_its_backoff_stays_so_and_its_sender_is_answered(*, force: bool) -> None:
    """akka/akka-core#26141, ray-project/ray#6612: restarted although it was stopped, and a call that hangs for ever."""
    Winch.tries.clear()
    actors = LocalActors()
    winch, actor = actors.reference(class_of(Winch), "p"), actors.of(class_of(Winch), "p")
    jammed, waiting = asyncio.ensure_future(winch.jam()), asyncio.ensure_future(winch.stroke())
    await _tried()
    if force:
        actor.end_turn()
    assert actor.stop("closing") == 1
    with pytest.raises(durable.ActorStopped if force else RuntimeError):
        await jammed
    with pytest.raises(durable.ActorStopped, match="closing"):
        await waiting
    with pytest.raises(durable.ActorStopped, match="closing"):
        await winch.stroke()
    assert len(Winch.tries) == (1 if force else 3)  # a turn that has begun ends by itself
    actor.begin_anew()
    assert await winch.stroke() == 1


async def test_a_turn_that_raises_as_it_is_ended_is_not_taken_again() -> None:
    """frequenz-floss/frequenz-sdk-python#1223: an exception during the cancellation restarted the actor."""
    Winch.tries.clear()
    actors = LocalActors()
    winch, actor = actors.reference(class_of(Winch), "p"), actors.of(class_of(Winch), "p")
    drained = asyncio.ensure_future(winch.drain())
    await _tried()
    actor.end_turn()
    actor.stop()
    with pytest.raises(OSError, match="sticks"):
        await drained
    assert (Winch.tries, actor.restarted) == (["drain"], 0)


async def test_a_restart_by_hand_has_its_restarts_again_and_one_that_drops_has_them_for_ever() -> None:
    Winch.tries.clear()
    actors = LocalActors()
    winch, actor = actors.reference(class_of(Winch), "p"), actors.of(class_of(Winch), "p")
    for tries in (3, 6):
        with pytest.raises(RuntimeError, match="jammed"):
            await winch.jam()
        assert len(Winch.tries) == tries
        actor.begin_anew()

    @durable.actor(
        durable=False,
        name="Leak",
        supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="drop"),
    )
    class Leak:
        async def drip(self, ctx: durable.ActorContext) -> None:
            raise RuntimeError("drip")

    leak, sender = actors.of(class_of(Leak), "l"), actors.reference(class_of(Leak), "l")
    for _ in range(8):
        with pytest.raises(RuntimeError):
            await sender.drip()
    assert leak.restarted == 1
    leak._window.times.clear()  # a minute later
    with pytest.raises(RuntimeError):
        await sender.drip()
    assert leak.restarted == 2


@durable.actor(durable=False)
class Porter:
    done: int = 0

    async def cancels(self, ctx: durable.ActorContext) -> None:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    async def exits(self, ctx: durable.ActorContext) -> None:
        raise SystemExit(3)

    async def work(self, ctx: durable.ActorContext) -> int:
        self.done += 1
        return self.done

    async def leaves_a_task(self, ctx: durable.ActorContext) -> asyncio.Task[int]:
        myself = ctx.actor(Porter, ctx.key)

        async def later() -> int:
            await asyncio.sleep(0)
            found: int = await myself.work()
            return found

        return asyncio.create_task(later())

    async def variable(self, ctx: durable.ActorContext) -> str:
        return _said.get()


_said: ContextVar[str] = ContextVar("said", default="nothing")


async def test_a_turn_that_raises_a_cancellation_or_an_exit_has_failed_and_the_next_message_is_taken() -> None:
    """HKUDS/nanobot#2239, ray-project/ray#11990: a cancellation of something else ended the actor's loop."""
    porter = LocalActors().reference(class_of(Porter), "c")
    asked = [asyncio.ensure_future(each) for each in (porter.cancels(), porter.work(), porter.exits(), porter.work())]
    with pytest.raises(durable.ExecutionError, match="CancelledError"):
        await asked[0]
    with pytest.raises(durable.ExecutionError, match="SystemExit: 3"):
        await asked[2]
    assert [await asked[1], await asked[3]] == [1, 2]


async def test_a_task_that_a_turn_left_behind_may_ask_its_actor() -> None:
    """dotnet/orleans#5456's other side: a call is in a circle only as long as somebody in it waits."""
    porter = LocalActors().reference(class_of(Porter), "c")
    task = await porter.leaves_a_task()
    assert await task == 1


async def test_a_turn_has_no_context_variables_of_whoever_sent_the_first_message() -> None:
    _said.set("by the engine")
    porter = LocalActors().reference(class_of(Porter), "c")
    _said.set("by a sender")
    assert await porter.variable() == "by the engine"


async def test_a_supervisor_keeps_its_own_state_when_a_child_gives_up() -> None:
    @durable.actor(
        durable=False,
        name="Foreman",
        supervise=durable.Supervise(max_restarts=1, backoff=durable.Backoff("linear", base_s=0.02)),
    )
    class Foreman:
        hired: int = 0

        async def hire(self, ctx: durable.ActorContext, name: str) -> int:
            await ctx.spawn(Valve, name)
            self.hired += 1
            return self.hired

    actors = LocalActors()
    foreman, valve = actors.reference(class_of(Foreman), "f"), actors.reference(class_of(Valve), "v")
    assert await foreman.hire("v") == 1
    with pytest.raises(RuntimeError):
        await valve.turn(breaks=True)
    await asyncio.wait(actors._escalations)
    assert [await valve.turn(), await foreman.hire("w")] == [1, 2]
    with pytest.raises(RuntimeError):
        await actors.reference(class_of(Valve), "w").turn(breaks=True)
    await asyncio.wait(actors._escalations)
    assert actors.of(class_of(Foreman), "f").restarted == 0  # and its own limit was 1


async def test_a_child_is_not_restarted_under_a_supervisor_that_was_stopped_meanwhile() -> None:
    @durable.actor(
        durable=False,
        name="Gone",
        supervise=durable.Supervise(max_restarts=1, backoff=durable.Backoff("linear", base_s=0.05)),
    )
    class Gone:
        async def hire(self, ctx: durable.ActorContext) -> None:
            await ctx.spawn(Valve, "v")

    actors = LocalActors()
    await actors.reference(class_of(Gone), "g").hire()
    valve = actors.reference(class_of(Valve), "v")
    with pytest.raises(RuntimeError):
        await valve.turn(breaks=True)
    actors.of(class_of(Gone), "g").stop()
    await asyncio.wait(actors._escalations)
    with pytest.raises(durable.ActorStopped):
        await valve.turn()


def test_a_field_called_component_makes_no_component_of_a_class() -> None:
    @durable.actor(durable=False, name="Part", supervise=durable.Supervise(health=durable.HealthChecks()))
    class Part:
        component: str = "engine"

        @durable.read
        def health(self) -> bool:
            return bool(self.component)

    assert class_of(Part).component is None
    with pytest.raises(durable.BadArguments, match=r"supervise is durable.Supervise\(…\)"):
        durable.actor(durable=False, name="Part2", supervise=5)(Part)  # type: ignore[call-overload]
    with pytest.raises(durable.InvalidId):
        durable.actor(durable=False, name=5)(Part)  # type: ignore[call-overload]


async def test_what_a_sender_did_wrong_restarts_nobody_and_comes_with_the_await() -> None:
    """golemcloud/golem#739: a call of what is not there made the whole worker fail."""
    actors = LocalActors()
    winch, actor = actors.reference(class_of(Winch), "p"), actors.of(class_of(Winch), "p")
    assert await winch.stroke() == 1
    for _ in range(4):
        with pytest.raises(durable.BadArguments, match="stroke: too many positional arguments"):
            await winch.stroke(7)
    assert [await winch.stroke(), actor.restarted] == [2, 0]
    actor.stop("closing")
    for refused in (winch.stroke(), winch.tell.stroke()):
        with pytest.raises(durable.ActorStopped, match="closing"):
            await refused


async def test_one_subscriber_that_cannot_take_it_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    got: list[bytes] = []

    @durable.actor(durable=False, name="Listener")
    class Listener:
        async def handle_message(self, ctx: durable.ActorContext, sender: str, message: bytes) -> None:
            got.append(message)

        async def heard(self, ctx: durable.ActorContext) -> int:
            return len(got)

    actors = LocalActors()
    for name in ("actor~Winch~p", "actor~Nobody~n", "actor~Listener~l"):
        actors.subscribe(name, "news.*", wanted=True)
    assert actors.publish("news.x", ["", b"hi"]) == 1
    assert await actors.reference(class_of(Listener), "l").heard() == 1
    assert "Winch 'p': what was published on news.x did not reach it: Winch has no method" in caplog.text


async def test_a_closed_engine_brings_no_actor_into_being() -> None:
    actors = LocalActors()
    winch = actors.reference(class_of(Winch), "p")
    await actors.close()
    with pytest.raises(durable.ActorStopped, match="the engine is closed"):
        await winch.stroke()
    with pytest.raises(durable.ActorStopped, match="the engine is closed"):
        actors.reference(class_of(Winch), "another")


def test_an_id_for_a_message_in_memory_is_refused() -> None:
    porter = LocalActors().reference(class_of(Porter), "c")
    with pytest.raises(durable.BadArguments, match="kept in memory"):
        porter.options(id="order-17")


@pytest.mark.parametrize("name", ["tell", "options"])
def test_a_method_that_no_message_could_reach_is_refused(name: str) -> None:
    async def method(self: Any, ctx: durable.ActorContext) -> None: ...

    with pytest.raises(durable.BadArguments, match=f"`{name}` of a reference"):
        durable.actor(durable=False, name="Unreachable")(type("Unreachable", (), {name: method}))
