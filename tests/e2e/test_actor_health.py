"""Health of actors, asked for at an interval, counted, and acted on by supervision (A67; specs/actors.md, H1-H6)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

import durable
from capabilities.actors.health import Health
from capabilities.actors.states import HealthState
from durable.actors.health_watch import HealthUnasked, HealthWatch
from durable.core.events import ActorSupervised, Event
from tests.e2e.test_actors import holds

MANIFEST = """
component = { id = "NAME" }
resources.memory.max_bytes = 1048576
resources.cpu = { max_fuel = 100000000, timeout_seconds = 20 }
"""

CODE = """
  (core module $code
    (memory (export "memory") 1)
    (func (export "be") (param i32) (i32.store (i32.const 0) (local.get 0)))
    (func (export "checks") (result i32) (i32.load (i32.const 4)))
    (func (export "HEALTH") (result i32)
      (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 1)))
      (if (i32.eq (i32.load (i32.const 0)) (i32.const 3)) (then (loop (br 0))))
      (if (i32.eq (i32.load (i32.const 0)) (i32.const 4)) (then (unreachable)))
      (i32.load (i32.const 0))))
"""
"""It says what `be` told it to: 0 healthy, 1 degraded, 2 unhealthy, 3 nothing ever, 4 a trap; and counts the checks."""


def supervised(timeout: float) -> durable.Supervise:
    checks = durable.HealthChecks(every=60, timeout=timeout, failures=3)
    return durable.Supervise(max_restarts=1, backoff="immediate", health=checks)


SUPERVISE, BRIEFLY = supervised(20), supervised(0.05)
"""`BRIEFLY` is for checks that never end: what ends on a busy machine must not count as failed."""

Patient = durable.component_actor("patient", supervise=SUPERVISE)
Module = durable.component_actor("module", supervise=SUPERVISE)
HangingPatient = durable.component_actor("patient", name="HangingPatient", supervise=BRIEFLY)
HangingModule = durable.component_actor("module", name="HangingModule", supervise=BRIEFLY)
InMemory = durable.component_actor("patient", name="InMemory", supervise=SUPERVISE, durable=False)

pytestmark = pytest.mark.usefixtures("cached")


@cache
def component() -> bytes:
    lifted = "".join(
        f'(func ${name} {kind} (canon lift (core func $i "{name}"))) (export "{name}" (func ${name}))'
        for name, kind in (("be", '(param "what" u32)'), ("checks", "(result u32)"), ("health", "(result u32)"))
    )
    code = CODE.replace("HEALTH", "health")
    return bytes(wat2wasm(f"(component {code} (core instance $i (instantiate $code)) {lifted})"))


@cache
def module() -> bytes:
    return bytes(wat2wasm(CODE.replace("HEALTH", "_health").strip().replace("(core module $code", "(module", 1)))


async def added(engine: durable.Engine) -> None:
    await engine.sandbox.add(MANIFEST.replace("NAME", "patient"), component())
    await engine.sandbox.add(MANIFEST.replace("NAME", "module"), module())


class Seen:
    """What supervision told of actors."""

    def __init__(self) -> None:
        self.what: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, ActorSupervised):
            self.what.append(event.what)


def status(health: durable.ActorHealth | None) -> str:
    return "" if health is None else health.status


async def test_an_unhealthy_component_is_restarted_and_then_fails(place: str) -> None:
    seen = Seen()
    async with durable.open(place, observer=seen) as engine:
        await added(engine)
        watch, patient, name = engine.actors.health_watch, engine.actor(Patient, "a"), "actor~patient~a"
        await patient.invoke("be", 0)
        assert watch.watches(name)
        await watch.check(name)
        info = await engine.actors.get(Patient, "a")
        assert (status(info.health), info.saved) == ("healthy", 1)
        await patient.invoke("be", 1)
        for _ in range(4):
            await watch.check(name)
        assert status(await engine.actors.health(Patient, "a")) == "degraded"
        assert (await engine.actors.get(Patient, "a")).restarted == 0
        await patient.invoke("be", 2)
        for _ in range(2):
            await watch.check(name)
        assert status(await engine.actors.health(Patient, "a")) == "degraded"
        await watch.check(name)
        health = await engine.actors.health(Patient, "a")
        assert health is not None
        assert (health.status, health.reason) == ("unhealthy", "it says so")

        async def restarted() -> bool:
            found = await engine.actors.get(Patient, "a")
            return bool(found.restarted == 1 and found.waiting == 0)

        await holds(restarted)
        assert engine.sandbox.instances == 0
        await watch.check(name)  # nobody has an instance of it: that is no failure
        assert await patient.invoke("checks") == 5  # 1, 4: those of before its last message; the others are forgotten
        for _ in range(3):
            await watch.check(name)

        async def failed() -> bool:
            return (await engine.actors.get(Patient, "a")).status == "failed"

        await holds(failed)
        info = await engine.actors.get(Patient, "a")
        assert "is unhealthy: it says so, after 1 restarts" in info.note
        assert await engine.actors.dead_letters(Patient, "a") == []
        await watch.check(name)
        assert not watch.watches(name)
        await engine.actors.delete(Patient, "a")
        await patient.invoke("be", 0)
        assert await engine.actors.health(Patient, "a") is None
    wanted = ["health_healthy", "health_degraded", "health_unhealthy", "child_restarted", "restart_limit_exceeded"]
    assert seen.what == [*wanted, "child_failed"]


async def test_checks_are_part_of_what_an_instance_is_made_of_again(place: str) -> None:
    """A check may change its instance. It is made again with the journal, so nothing that was answered changes."""
    async with durable.open(place) as engine:
        await added(engine)
        patient, name = engine.actor(Patient, "b"), "actor~patient~b"
        await patient.invoke("be", 1)
        for _ in range(3):
            await engine.actors.health_watch.check(name)
        assert await patient.invoke("checks") == 3
        await engine.actors.health_watch.check(name)
        assert await patient.invoke("checks") == 4
        engine.sandbox.let_go(name)
        assert await patient.invoke("checks") == 4
    async with durable.open(place) as engine:
        await added(engine)
        assert await engine.actor(Patient, "b").invoke("checks") == 4


@pytest.mark.parametrize(
    ("cls", "name", "what", "reason"),
    [
        (HangingPatient, "HangingPatient", 3, "did not end in time"),
        (HangingModule, "HangingModule", 3, "did not end in time"),
        (Patient, "patient", 4, "ComponentTrapped"),
        (Module, "module", 4, "ComponentTrapped"),
    ],
)
async def test_a_check_that_hangs_or_traps_has_failed(
    tmp_path: Path, cls: type, name: str, what: int, reason: str
) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        await added(engine)
        patient = engine.actor(cls, "c")
        await patient.invoke("be", what)
        for _ in range(3):
            await engine.actors.health_watch.check(f"actor~{name}~c")
            assert await patient.invoke("checks") == 0  # the instance is made anew where it is gone
        health = await engine.actors.health(cls, "c")
        assert health is not None
        assert health.status == "unhealthy"
        assert reason in health.reason


async def test_a_check_of_a_module_leaves_its_state_alone(place: str) -> None:
    async with durable.open(place) as engine:
        await added(engine)
        await engine.actor(Module, "d").invoke("be", 1)
        await engine.actors.health_watch.check("actor~module~d")
        assert status(await engine.actors.health(Module, "d")) == "degraded"
        assert await engine.actor(Module, "d").invoke("checks") == 0


# -- classes in Python ------------------------------------------------------------------------------------------------


@durable.actor(
    supervise=durable.Supervise(
        max_restarts=0, exhausted="drop", health=durable.HealthChecks(every=0.02, timeout=20, failures=2)
    )
)
class Tank:
    level: int = 0

    async def fill(self, ctx: durable.ActorContext, level: int) -> None:
        self.level = level

    @durable.read
    def health(self) -> str | bool:
        return "nearly full" if 80 < self.level <= 100 else self.level <= 100


async def test_a_class_is_asked_by_its_engine_at_the_interval(place: str) -> None:
    async with durable.open(place) as engine:
        tank = engine.actor(Tank, "t")
        for level, wanted in ((1, "healthy"), (90, "degraded"), (101, "unhealthy"), (2, "healthy")):
            await tank.fill(level)

            async def told(wanted: str = wanted) -> bool:
                return status(await engine.actors.health(Tank, "t")) == wanted

            await holds(told)
        info = await engine.actors.get(Tank, "t")
        assert (info.status, info.restarted) == ("running", 0)
        assert await engine.actors.dead_letters(Tank, "t") == []
    async with durable.open(place) as engine:
        assert status((await engine.actors.get("Tank", "t")).health) == "healthy"


@durable.actor(supervise=durable.Supervise(health=durable.HealthChecks(every=60, timeout=20, failures=1)))
class Doomed:
    level: int = 0

    async def fill(self, ctx: durable.ActorContext, level: int) -> None:
        self.level = level

    @durable.read
    async def health(self) -> bool:
        moments["asked"].set()
        await moments["deleted"].wait()
        return False


moments: dict[str, asyncio.Event] = {}


async def test_an_actor_that_is_deleted_during_its_check_stays_deleted(place: str) -> None:
    moments.update(asked=asyncio.Event(), deleted=asyncio.Event())
    async with durable.open(place) as engine:
        await engine.actor(Doomed, "d").fill(1)
        check = asyncio.create_task(engine.actors.health_watch.check("actor~Doomed~d"))
        await moments["asked"].wait()
        await engine.actors.delete(Doomed, "d", force=True)
        moments["deleted"].set()
        await check
        with pytest.raises(durable.NotFound):
            await engine.actors.get(Doomed, "d")
        assert not engine.actors.health_watch.watches("actor~Doomed~d")


@durable.actor(durable=False, supervise=BRIEFLY)
class Pump:
    stuck: bool = False

    async def jam(self, ctx: durable.ActorContext) -> None:
        self.stuck = True

    async def health(self, ctx: Any) -> None:
        if self.stuck:
            await asyncio.Event().wait()


async def test_an_actor_in_memory_that_hangs_is_restarted(tmp_path: Path) -> None:
    seen = Seen()
    async with durable.open(tmp_path / "work.db", observer=seen) as engine:
        await added(engine)
        watch, pump = engine.actors.local.health_watch, engine.actor(Pump, "p")
        await pump.jam()
        for _ in range(3):
            await watch.check("actor~Pump~p")
        health = await engine.actors.health(Pump, "p")
        assert health is not None
        assert (health.status, health.reason) == ("unhealthy", "its check did not end in time")

        async def healthy() -> bool:
            await watch.check("actor~Pump~p")
            return status(await engine.actors.health(Pump, "p")) == "healthy"

        await holds(healthy)
        patient = engine.actor(InMemory, "m")
        await patient.invoke("be", 2)
        for _ in range(3):
            await watch.check("actor~InMemory~m")

        async def anew() -> bool:
            return bool(await patient.invoke("checks") == 0)

        await holds(anew)
    assert seen.what.count("child_restarted") == 2
    assert seen.what.count("health_unhealthy") == 2


def test_checks_that_cannot_be_made_are_refused() -> None:
    nan = float("nan")
    for name, values in {
        "every": (0, 61, nan, "5", None),
        "timeout": (0, nan, "2"),
        "failures": (0, 2.5, nan, "3", True),
    }.items():
        for value in values:
            with pytest.raises(durable.InvalidSupervision, match=name):
                durable.HealthChecks(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(durable.InvalidSupervision, match="HealthChecks"):
        durable.Supervise(health=5)  # type: ignore[arg-type]
    with pytest.raises(durable.InvalidSupervision, match="no method to ask"):

        @durable.actor(supervise=SUPERVISE)
        class Silent:
            async def health(self, ctx: durable.ActorContext) -> int:
                return 0


# -- checks that go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [asyncio.CancelledError(), SystemExit(3), RuntimeError("\udcff"), "never", [1], 7])
async def test_whatever_a_check_does_is_counted_as_failed(tmp_path: Path, said: object) -> None:
    @durable.actor(durable=False, supervise=BRIEFLY if said == "never" else SUPERVISE)
    class Odd:
        async def wake(self, ctx: durable.ActorContext) -> None: ...

        async def health(self, ctx: Any) -> object:
            if isinstance(said, BaseException):
                raise said
            if said == "never":
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.Event().wait()
            return said

    async with durable.open(tmp_path / "work.db") as engine:
        watch = engine.actors.local.health_watch
        await engine.actor(Odd, "o").wake()
        for _ in range(3):
            await watch.check("actor~Odd~o")
        assert watch.watches("actor~Odd~o")
        assert status(await engine.actors.health(Odd, "o")) == "unhealthy"


class Asked:
    """An actor that says what a test wants, and whose store may fail."""

    name = "actor~asked~a"
    checks = durable.HealthChecks(every=0.01, timeout=1, failures=1)

    def __init__(self) -> None:
        self.broken = False
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.said: Health | HealthUnasked = Health(HealthState.UNHEALTHY, "\udcff" * 5000)
        self.told: list[str] = []

    async def ask(self, timeout_s: float) -> Health | HealthUnasked:
        self.asked.set()
        await self.answer.wait()
        return self.said

    async def found(self, state: HealthState, reason: str) -> None:
        self._say(f"{state} {len(reason.encode())}")

    async def unhealthy(self, reason: str) -> None:
        self._say("restart")

    def _say(self, what: str) -> None:
        if self.broken:
            raise durable.StoreFull("no room")
        self.told.append(what)


async def test_a_store_that_fails_at_the_wrong_moment_loses_no_restart() -> None:
    watch, actor = HealthWatch(), Asked()
    actor.answer.set()
    actor.broken = True
    watch.begin(actor, asyncio.get_running_loop())
    with pytest.raises(durable.StoreFull):
        await watch.check(actor.name)
    actor.broken = False
    await watch.check(actor.name)
    assert actor.told == ["unhealthy 1000", "restart"]
    await watch.close()


async def test_an_actor_that_goes_and_comes_back_during_a_check_is_asked_by_one_timer() -> None:
    loop = asyncio.get_running_loop()
    watch, actor, again = HealthWatch(), Asked(), Asked()
    watch.begin(actor, loop)
    await actor.asked.wait()
    watch.end(actor.name)
    watch.begin(again, loop)
    await again.asked.wait()
    timer = watch._watches[actor.name].timer
    actor.answer.set()
    await asyncio.wait(watch._tasks, return_when=asyncio.FIRST_COMPLETED)
    assert actor.told == []
    assert watch._watches[actor.name].timer is timer  # the second one's, whose check has not ended
    again.said = HealthUnasked.GONE
    watch.begin(actor, loop)  # a message meanwhile
    again.answer.set()
    await asyncio.wait(watch._tasks)
    assert watch.watches(actor.name)
    await watch.close()


async def test_a_check_that_refuses_to_be_cancelled_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stubborn(Asked):
        async def ask(self, timeout_s: float) -> Health | HealthUnasked:
            while not self.answer.is_set():
                with suppress(asyncio.CancelledError):
                    await super().ask(timeout_s)
            return self.said

    monkeypatch.setattr("durable.actors.health_watch.CLOSE_S", 0.01)
    watch, actor = HealthWatch(), Stubborn()
    watch.begin(actor, asyncio.get_running_loop())
    await actor.asked.wait()
    async with asyncio.timeout(10):
        await watch.close()
    actor.answer.set()
    watch.begin(actor, asyncio.get_running_loop())  # a message whose turn ends while its engine closes
    assert not watch.watches(actor.name)
