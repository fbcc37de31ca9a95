"""Queues against a plain model: who begins next, and never more than may (specs/queues.md)."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from durable.core.errors import StoreRefused
from durable.core.limits import QUEUE_AHEAD_MS, QUEUE_RATE_MAX
from durable.store.operations.execution_slots import Slots
from durable.store.upkeep import invariants
from tests.contract import postgres_rules
from tests.contract.opened import (
    Clock,
    Inbox,
    acquire,
    engine,
    opened,
    place_of,
    promise,
    root,
    settle,
    state,
    status,
    task,
)
from tests.postgres_server import rows_of

KEYS = ("a", "b", "c")


def execution(name: str, queue: str = "q", **options: Any) -> dict[str, Any]:
    return root(name, **{"durable_queue": queue, **options})


async def enqueue(store: Any, name: str, queue: str = "q", **more: Any) -> dict[str, Any]:
    answer = await store.request("queue.enqueue", {"queue": queue, "promise": execution(name, queue), **more})
    return dict(answer.data)


async def limit(store: Any, queue: str = "q", **limits: Any) -> None:
    await store.request("queue.set", {"queue": queue, "limits": limits, "changes": sorted(limits)})


async def counts(store: Any, queue: str = "q") -> tuple[int, int, int]:
    record = (await store.request("queue.get", {"queue": queue})).data["queue"]
    return record["delayed"], record["waiting"], record["running"]


def rules(path: Path) -> list[str]:
    """The rules of a store at rest that do not hold."""
    place = place_of(path)
    if place.startswith("postgresql:"):
        return postgres_rules.broken(place)
    with closing(sqlite3.connect(place)) as file:
        return [str(each) for each in invariants.broken(file.execute)]


def look(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that reads."""
    place = place_of(path)
    if place.startswith("postgresql:"):
        return rows_of(place, sql)
    with closing(sqlite3.connect(place)) as file:
        return file.execute(sql).fetchall()


async def offered(inbox: Inbox) -> list[str]:
    """What was offered since the last look, in order; acquired, so that it is not offered again."""
    await inbox.store.request("engine.list", {})
    await asyncio.sleep(0)
    found = []
    while not inbox.messages.empty():
        name = inbox.messages.get_nowait()["data"]["task"]["id"].removeprefix("exec:")
        await acquire(inbox.store, name, (await task(inbox.store, name))["version"], pid=inbox.engine, ttl=10**9)
        found.append(name)
    return found


@dataclass
class Waiting:
    """An entry of the model."""

    name: str
    key: str
    priority: int


@dataclass
class Model:
    """A queue as lists: keys in a round, lines of entries."""

    limits: dict[str, Any] = field(default_factory=dict)
    paused: bool = False
    now: int = 0
    round: list[str] = field(default_factory=list)
    """The keys of which entries wait, by turn."""
    waiting: list[Waiting] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)
    started: int = 0
    starts: dict[int, int] = field(default_factory=dict)
    """When the n-th one began, of the last ones that a rate counted."""
    ahead: list[tuple[int, str]] = field(default_factory=list)
    """Those that were let in and begin in a moment, with the time."""

    def enter(self, entry: Waiting) -> None:
        self.waiting.append(entry)
        if entry.key not in self.round:
            self.round.append(entry.key)

    def drop(self, name: str) -> None:
        self.waiting = [each for each in self.waiting if each.name != name]
        self.running.pop(name, None)
        self.ahead = [each for each in self.ahead if each[1] != name]
        self._tidy()

    def _tidy(self) -> None:
        self.round = [key for key in self.round if any(each.key == key for each in self.waiting)]

    def admit(self) -> list[str]:
        """All that may begin now, in order."""
        found = [name for at, name in self.ahead if at <= self.now]
        self.ahead = [each for each in self.ahead if each[0] > self.now]
        while (entry := self._next()) is not None:
            self.waiting.remove(entry)
            self.running[entry.name] = entry.key
            self.round.remove(entry.key)
            self.round.append(entry.key)
            self._tidy()
            at = max(self.now, self._next_start())
            self.started += 1
            if self.limits.get("rate"):
                self.starts[self.started] = at
                kept = range(self.started - self.limits["rate"][0] + 1, self.started + 1)
                self.starts = {n: at for n, at in self.starts.items() if n in kept}
            if at <= self.now:
                found.append(entry.name)
            else:
                self.ahead.append((at, entry.name))
        return found

    def _next_start(self) -> int:
        rate = self.limits.get("rate")
        return self.starts.get(self.started + 1 - rate[0], -rate[1]) + rate[1] if rate else 0

    def _next(self) -> Waiting | None:
        concurrency = self.limits.get("concurrency")
        if self.paused or (concurrency is not None and len(self.running) >= concurrency):
            return None
        if self._next_start() > self.now + QUEUE_AHEAD_MS:
            return None
        busy = Counter(self.running.values())
        per_key = self.limits.get("per_key")
        able = [each for each in self.waiting if per_key is None or busy[each.key] < per_key]
        return min(able, key=lambda each: (-each.priority, self.round.index(each.key)), default=None)


@pytest.mark.parametrize("seed", range(3))
async def test_a_stream_of_everything_equals_the_model(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock, model = Clock(), Model()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store)
        for n in range(200):
            name = f"x{n}"
            match chance.choice(["enqueue"] * 5 + ["end"] * 3 + ["drop", "limit", "pause", "time"]):
                case "enqueue":
                    entry = Waiting(name, chance.choice(KEYS), chance.choice([0, 0, 0, 1, -1]))
                    await enqueue(store, name, key=entry.key, priority=entry.priority)
                    model.enter(entry)
                case "end" if model.running:
                    ended = chance.choice(sorted(model.running))
                    await store.request("promise.settle", settle(f"exec:{ended}"))
                    model.drop(ended)
                case "drop" if model.waiting:
                    dropped = chance.choice(model.waiting).name
                    await store.request("execution.cancel", {"id": f"exec:{dropped}"})
                    model.drop(dropped)
                case "limit":
                    kind = chance.choice(["concurrency", "per_key", "rate"])
                    value: Any = chance.choice([None, 1, 2, 4] if kind != "rate" else [None, (2, 100), (3, 50)])
                    await limit(store, **{kind: value})
                    model.limits[kind] = value
                case "pause":
                    model.paused = not model.paused
                    event = "pause" if model.paused else "resume"
                    await store.request("queue.turn", {"queue": "q", "event": event})
                case _:
                    clock.now += chance.choice([1, 20, 60])
            model.now = clock.now
            assert await offered(inbox) == model.admit(), n
            assert await counts(store) == (0, len(model.waiting), len(model.running)), n
    assert rules(tmp_path / "s.db") == []


async def test_keys_get_the_same_share_however_many_wait(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store)
        await limit(store, concurrency=1)
        for key, many in (("heavy", 30), ("middle", 15), ("light", 5)):
            for n in range(many):
                await enqueue(store, f"{key}-{n}", key=key)
        begun: list[str] = []
        while len(begun) < 50:
            begun += await offered(inbox)
            await store.request("promise.settle", settle(f"exec:{begun[-1]}"))
        shares = Counter(name.partition("-")[0] for name in begun[:16])
        assert max(shares.values()) - min(shares.values()) <= 1
        assert begun == sorted(begun, key=begun.index)
        for key in ("heavy", "middle", "light"):
            own = [int(name.partition("-")[2]) for name in begun if name.startswith(key)]
            assert own == sorted(own)


async def test_what_waits_is_not_begun_by_anybody_else(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store)
        await limit(store, concurrency=1)
        await enqueue(store, "one")
        await enqueue(store, "two")
        assert await offered(inbox) == ["one"]
        acquired = {"id": "exec:two", "version": 0, "pid": "e1", "ttl": 1}
        assert await status(store, "task.acquire", acquired) == 409
        action = {"kind": "promise.create", "data": execution("two")}
        assert await status(store, "task.create", {"pid": "e1", "ttl": 9, "action": action}) == 409
        await store.request("task.halt", {"id": "exec:two", "note": "not now"})
        assert await counts(store) == (0, 0, 1)
        await store.request("promise.settle", settle("exec:one"))
        assert await offered(inbox) == []
        await store.request("task.continue", {"id": "exec:two"})
        assert await offered(inbox) == ["two"]
        await store.request("task.halt", {"id": "exec:two"})
        assert await counts(store) == (0, 0, 1), "one that has begun keeps its place"
        await store.request("task.continue", {"id": "exec:two"})
        assert await offered(inbox) == ["two"]
    assert rules(tmp_path / "s.db") == []


async def test_an_engine_runs_no_more_than_it_may(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        one, two = await engine(store, "e1"), await engine(store, "e2")
        await limit(store, per_engine=2)
        for n in range(6):
            await enqueue(store, f"x{n}")
        first, second = await offered(one), await offered(two)
        assert (len(first), len(second)) == (2, 2)
        waiting = {f"x{n}" for n in range(6)} - {*first, *second}
        assert await counts(store) == (0, 2, 4)
        fence = {"kind": "promise.create", "data": promise(f"exec:{first[0]}.1", resonate_external="true")}
        await store.request("task.fence", {"id": f"exec:{first[0]}", "version": 1, "action": fence})
        awaited = {"awaited": f"exec:{first[0]}.1", "awaiter": f"exec:{first[0]}"}
        actions = [{"kind": "promise.register_callback", "data": awaited}]
        await store.request("task.suspend", {"id": f"exec:{first[0]}", "version": 1, "actions": actions})
        [third] = await offered(one)
        assert third in waiting, "one that waits is on no engine"
        await store.request("promise.settle", settle(f"exec:{first[0]}.1"))
        assert await offered(one) == await offered(two) == [], "it goes on when an engine has room"
        acquired = {"id": f"exec:{first[0]}", "version": 1, "pid": "e1", "ttl": 9}
        assert await status(store, "task.acquire", acquired) == 409
        await store.request("promise.settle", settle(f"exec:{second[0]}"))
        assert await offered(two) == [first[0]]


async def asleep(store: Any, inbox: Inbox, name: str, queue: str, wakes_at: int) -> None:
    """An execution of a queue that this engine began, and that sleeps until then."""
    await enqueue(store, name, queue)
    assert await offered(inbox) == [name]
    timer = promise(f"exec:{name}.1", timeout_at=wakes_at, resonate_timer="true")
    await store.request("promise.create", timer)
    awaited = {"awaited": timer["id"], "awaiter": f"exec:{name}"}
    actions = [{"kind": "promise.register_callback", "data": awaited}]
    await store.request("task.suspend", {"id": f"exec:{name}", "version": 1, "actions": actions})


async def test_what_wakes_together_is_offered_as_far_as_an_engine_may_run_it(tmp_path: Path) -> None:
    """What was chosen before it in the same offer counts (specs/queues.md, Q5)."""
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, per_engine=2)
        await limit(store, "other", per_engine=2)
        names = [f"x{n}" for n in range(5)]
        for name in names:
            await asleep(store, inbox, name, "q", clock.now + 1_000)
        await asleep(store, inbox, "y", "other", clock.now + 1_000)
        clock.now += 1_000
        woken = await offered(inbox)
        assert "y" in woken, "another queue has room"
        woken.remove("y")
        assert len(woken) == 2
        left = {*names} - {*woken}
        await store.request("promise.settle", settle(f"exec:{woken[0]}"))
        [third] = await offered(inbox)
        assert third in left
        await store.request("task.halt", {"id": f"exec:{third}", "note": "not now"})
        [fourth] = await offered(inbox)
        assert fourth in left, "one that is halted runs on no engine"
        await limit(store, per_engine=None)
        assert {third, fourth, *await offered(inbox)} == left
    assert rules(tmp_path / "s.db") == []


async def test_what_a_killed_engine_had_makes_no_other_run_more_than_it_may(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await limit(store, per_engine=3)
        one = await engine(store, "e1")
        for n in range(3):
            await enqueue(store, f"x{n}")
        assert len(await offered(one)) == 3
        two = await engine(store, "e2")
        await enqueue(store, "y")
        assert await offered(two) == ["y"]
        await one.connection.stop()
        await store.request("engine.lost", {"engine": "e1"})
        clock.now += 1_000
        assert len(await offered(two)) == 2, "of the three that are due at once it takes two"
        await store.request("promise.settle", settle("exec:y"))
        assert len(await offered(two)) == 1


async def test_a_killed_engine_keeps_its_places_until_it_is_given_up(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await limit(store, concurrency=2, per_engine=1)
        one = await engine(store, "e1")
        for n in range(3):
            await enqueue(store, f"x{n}")
        [first] = await offered(one)
        two = await engine(store, "e2")
        [second] = await offered(two)
        await one.connection.stop()
        await store.request("engine.lost", {"engine": "e1"})
        assert await counts(store) == (0, 1, 2)
        assert await offered(two) == []
        await store.request("promise.settle", settle(f"exec:{second}"))
        taken = await offered(two)
        assert len(taken) == 1
        await store.request("promise.settle", settle(f"exec:{taken[0]}"))
        assert await counts(store) in ((0, 0, 1), (0, 1, 1))
        assert first != taken[0] or await counts(store) == (0, 0, 1)


async def test_delays_dedupes_and_debounces(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, concurrency=10)
        await enqueue(store, "later", delay_ms=1_000)
        assert (await enqueue(store, "once", dedupe="d"))["made"]
        again = await enqueue(store, "twice", dedupe="d")
        assert (again["made"], again["promise"]["id"]) == (False, "exec:once")
        assert await status(store, "promise.get", {"id": "exec:twice"}) == 404
        assert await offered(inbox) == ["once"]
        await store.request("promise.settle", settle("exec:once"))
        assert (await enqueue(store, "twice", dedupe="d"))["made"], "it is another one once that has ended"
        assert await offered(inbox) == ["twice"]
        clock.now += 1_000
        assert await offered(inbox) == ["later"]

        for n in range(3):
            more = {"dedupe": "typing", "debounce_ms": 500, "debounce_max_ms": 1_200}
            call = execution(f"typed{n}", durable_arguments=str(n))
            answer = await store.request("queue.enqueue", {"queue": "q", "promise": call, **more})
            assert answer.data["promise"]["id"] == "exec:typed0"
            clock.now += 400
        assert await offered(inbox) == ["typed0"], "at most 1,200 ms after the first"
        found = (await store.request("promise.get", {"id": "exec:typed0"})).data["promise"]
        assert found["tags"]["durable:arguments"] == "2", "those of the last call before it began"
        assert (await enqueue(store, "typed9", dedupe="typing", debounce_ms=500))["made"], "it has begun: another one"
        assert await counts(store) == (1, 0, 3)
    assert rules(tmp_path / "s.db") == []


async def test_a_rate_is_kept_in_every_stretch_of_time(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, rate=(5, 1_000))
        for n in range(40):
            await enqueue(store, f"x{n}")
        starts: list[int] = []
        for _ in range(200):
            starts += [clock.now] * len(await offered(inbox))
            clock.now += 50
        assert len(starts) == 40
        for first, sixth in zip(starts, starts[5:], strict=False):
            assert sixth - first >= 1_000
        assert starts[-1] - starts[0] == 7_000


@pytest.mark.parametrize("seed", range(3))
async def test_looks_that_come_late_make_a_rate_no_slower(tmp_path: Path, seed: int) -> None:
    """Each look is up to QUEUE_AHEAD_MS late: what begins does so at its own time, and no stretch has more of them."""
    chance, clock, (count, rate_ms) = random.Random(seed), Clock(), (4, 1_000)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        began = clock.now
        await limit(store, rate=(count, rate_ms))
        for n in range(count * 25):
            await enqueue(store, f"x{n}")
        seen = 0
        while clock.now < began + 20 * rate_ms:
            seen += len(await offered(inbox))
            assert seen == count * (1 + (clock.now - began) // rate_ms), "all whose time has come, and no other"
            clock.now += chance.randrange(1, QUEUE_AHEAD_MS)
    starts = [row[0] for row in look(tmp_path / "s.db", "SELECT admitted_at FROM queue_entries WHERE state='admitted'")]
    starts.sort()
    assert starts[0] == began
    for first, over in zip(starts, starts[count:], strict=False):
        assert over - first == rate_ms
    assert rules(tmp_path / "s.db") == []


async def test_what_is_let_in_for_a_moment_ahead_begins_then(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, rate=(1, 400))
        await enqueue(store, "one")
        await enqueue(store, "two")
        assert await offered(inbox) == ["one"]
        assert await counts(store) == (0, 0, 2), "its place is given ahead, so that a late look costs nothing"
        acquired = {"id": "exec:two", "version": 0, "pid": "e1", "ttl": 1}
        assert await status(store, "task.acquire", acquired) == 409
        clock.now += 399
        assert await offered(inbox) == []
        clock.now += 1
        assert await offered(inbox) == ["two"]


async def test_what_begins_at_the_same_time_does_so_in_order(tmp_path: Path) -> None:
    clock, chance = Clock(), random.Random(7)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, rate=(20, 400))
        await store.request("queue.turn", {"queue": "q", "event": "pause"})
        names = [f"x{n}" for n in chance.sample(range(100), 60)]
        for name in names:
            await enqueue(store, name)
        await enqueue(store, "first", priority=1)
        await store.request("queue.turn", {"queue": "q", "event": "resume"})
        begun = await offered(inbox)
        for _ in range(3):
            clock.now += 400
            begun += await offered(inbox)
        assert begun == ["first", *names]


async def test_no_more_are_let_in_ahead_than_an_engine_has_room_for(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        inbox.connection.bound(Slots(2), lambda *_: None)
        await limit(store, rate=(1, 50))
        for n in range(10):
            await enqueue(store, f"x{n}")
        assert await counts(store) == (0, 8, 2), "one begins, and there is room for one more"
    assert rules(tmp_path / "s.db") == []


async def test_a_word_for_calls_that_are_one_is_of_one_function(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await limit(store)
        assert (await enqueue(store, "one", dedupe="d"))["made"]
        newer = {"queue": "q", "promise": execution("newer", function="app.py::job@2"), "dedupe": "d"}
        answer = (await store.request("queue.enqueue", newer)).data
        assert (answer["made"], answer["promise"]["id"]) == (False, "exec:one")
        other = {**newer, "promise": execution("other", function="app.py::other@1")}
        with pytest.raises(
            StoreRefused, match=r"'d' of the queue 'q' is a call of app.py::job@1, not of app.py::other"
        ):
            await store.request("queue.enqueue", other)
        assert await status(store, "promise.get", {"id": "exec:other"}) == 404
    assert rules(tmp_path / "s.db") == []


async def test_a_function_that_nobody_serves_holds_no_place(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store)
        await limit(store, concurrency=1)
        foreign = execution("foreign", function="elsewhere.py::other@1")
        await store.request("queue.enqueue", {"queue": "q", "promise": foreign})
        await enqueue(store, "own")
        assert await offered(inbox) == ["own"]
        assert await counts(store) == (0, 1, 1)
        names = {"old": "elsewhere.py::other", "new": "app.py::job"}
        await store.request("function.alias", names)
        await store.request("promise.settle", settle("exec:own"))
        assert await offered(inbox) == ["foreign"]
    assert rules(tmp_path / "s.db") == []


async def test_an_engine_of_some_queues_takes_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await limit(store, "mail")
        await limit(store, "other")
        inbox = await engine(store)
        joined = {"engine": "e1", "group": "g", "pid": 1, "functions": ["app.py::job@1"], "serves_sessions": False}
        await inbox.connection.stop()
        await store.request("engine.leave", {"engine": "e1"})
        await store.request("engine.join", {**joined, "queues": ["mail"]})
        await inbox.connection.start()
        await enqueue(store, "no", "other")
        await store.request("promise.create", root("neither"))
        await enqueue(store, "yes", "mail")
        assert await offered(inbox) == ["yes"]
        assert await counts(store, "other") == (0, 1, 0)


async def test_what_is_refused_and_what_is_drained(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        assert await status(store, "queue.enqueue", {"queue": "q", "promise": execution("x")}) == 404
        assert await status(store, "queue.turn", {"queue": "q", "event": "pause"}) == 404
        assert await status(store, "queue.set", {"queue": "a b", "limits": {}, "changes": []}) == 400
        for bad in ({"concurrency": 0}, {"rate": (0, 1)}, {"rate": (QUEUE_RATE_MAX + 1, 1)}, {"per_key": -1}):
            assert await status(store, "queue.set", {"queue": "q", "limits": bad, "changes": sorted(bad)}) == 400
        await limit(store)
        asked = {"queue": "q", "promise": execution("x")}
        assert await status(store, "queue.enqueue", {**asked, "promise": root("x")}) == 400
        assert await status(store, "queue.enqueue", {**asked, "debounce_ms": 5}) == 400
        assert await status(store, "queue.enqueue", {**asked, "priority": 10**6}) == 400
        no_function = execution("x")
        del no_function["tags"]["durable:function"]
        assert await status(store, "queue.enqueue", {**asked, "promise": no_function}) == 400
        await enqueue(store, "x")
        await store.request("queue.turn", {"queue": "q", "event": "drain"})
        assert await status(store, "queue.enqueue", {**asked, "promise": execution("y")}) == 409
        assert (await enqueue(store, "x"))["made"] is False, "what is there is attached to"
        await store.request("queue.turn", {"queue": "q", "event": "resume"})
        assert (await enqueue(store, "y"))["made"]
        with pytest.raises(StoreRefused):
            await enqueue(store, "z", dedupe="x" * 257)


async def test_limits_of_code_hold_until_code_says_otherwise(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:

        async def declared(**limits: Any) -> Any:
            answer = await store.request("queue.declare", {"queue": "q", "limits": limits})
            return answer.data["queue"]["limits"]["concurrency"]

        assert await declared(concurrency=5) == 5
        await limit(store, concurrency=2)
        assert await declared(concurrency=5) == 2, "the same code again changes nothing"
        assert await declared(concurrency=6) == 6


async def test_one_that_finds_room_begins_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store)
        await limit(store, concurrency=1)
        begun = await enqueue(store, "one", engine="e1", ttl=60_000)
        assert begun["task"]["state"] == "acquired"
        assert (await enqueue(store, "two", engine="e1", ttl=60_000))["task"] is None
        assert await counts(store) == (0, 1, 1)
        assert await state(store, "exec:two") == "pending"
        await store.request("promise.settle", settle("exec:one"))
        assert await offered(inbox) == ["two"]
    assert json.dumps(rules(tmp_path / "s.db")) == "[]"


async def test_one_whose_deadline_passes_while_it_waits_leaves_the_line(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, concurrency=1)
        await enqueue(store, "one")
        late = execution("late", timeout_at=clock.now + 10)
        await store.request("queue.enqueue", {"queue": "q", "promise": late, "dedupe": "d"})
        await enqueue(store, "two")
        assert await offered(inbox) == ["one"]
        clock.now += 10
        assert await state(store, "exec:late") == "rejected_timedout"
        assert await counts(store) == (0, 1, 1)
        assert (await enqueue(store, "next", dedupe="d"))["made"], "its dedupe is free again"
        await store.request("promise.settle", settle("exec:one"))
        assert await offered(inbox) == ["two"]
    assert rules(tmp_path / "s.db") == []


@pytest.mark.file_only("a database's time is the server's, which nobody sets back")
async def test_a_rate_goes_on_when_the_clock_was_set_back(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await limit(store, rate=(2, 1_000))
        for n in range(6):
            await enqueue(store, f"x{n}")
        assert await offered(inbox) == ["x0", "x1"]
        clock.now -= 3_600_000
        await store.request("engine.list", {})
        begun = []
        for _ in range(5):
            clock.now += 1_000
            begun += await offered(inbox)
        assert begun == ["x2", "x3", "x4", "x5"], "an hour's change stops no queue"
