"""Seeded streams of requests, steered towards collisions: a few ids, stale versions, foreign origins,
deadlines hit exactly, tasks in every state, and fields of the wrong type.

The same seed gives the same stream, as long as the oracle that steers it answers the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .oracle import Answer, Oracle
from .wire import INTEGER_MAX, SETTLE_STATES, Json, extends, origin_of

IDS = (
    *("a", "a:1", "a:2", "a:1.1", "a:1.2", "a:input:1", "ab:1", "b", "b:1"),
    *("exec:run", "exec:run.1", "exec:run.1.1", "exec:run.2", "exec:run:input:1", "exec:desk@1"),
    *("a:Z", "a:\u00e9", "a:\U0001f600"),
)
SCHEDULE_IDS = ("daily", "weekly", "a", "b:1")
CRONS = ("0 0 1 1 *", "30 4 1 12 *", "15 3 * 11 0", "*/5 2 24-26 12 *", "0 0 29 FEB *", "0 12 * NOV MON-FRI")
"""All due long after a stream's end: the comparison does not fire schedules."""
CRONS_BAD = ("", "* * * *", "60 * * * *", "* * 0 * *", "a b c d e", "5-1 * * * *", "*/0 * * * *", "0 0 30 2 *")
PIDS = ("p1", "p2", "p3")
ADDRESSES = ("poll://uni@g/p1", "poll://uni@g/p2", "poll://any@g", "poll://any@g/p1")
URL = "https://hooks.example/taken"
"""An address of listeners alone: no task has it."""
ADDRESSES_BAD = ("nowhere", "poll://", "poll://any@", "poll://uni@g", "poll://all@g")
WRONG: tuple[object, ...] = (
    *(None, 7, -1, 1.5, True, 2**63, "", "?", "x\0", "x\ud800", [], {}, [7], {"k": 7}, {"k": "\ud800"}),
    *({"data": "\ud800"}, {"headers": {"\ud800": "h"}}, {"data": 7}, {"headers": []}),
)
START_MS = 1_900_000_000_000
"""17 March 2030."""

SEGMENT = 300
"""Operations between two resets: ids are few, and what has settled stays so."""

NEEDS = {
    **{f"task.{verb}": "acquired" for verb in ("release", "suspend", "fulfill", "fence", "heartbeat")},
    "task.acquire": "pending",
    "task.halt": "pending",
    "task.continue": "halted",
}
"""The state of some task without which a kind has little to do."""

EXPECTED: dict[str, tuple[int, ...]] = {
    "promise.get": (200, 400, 404),
    "promise.create": (200, 400),
    "promise.settle": (200, 400, 404),
    "promise.register_callback": (200, 400, 404, 422),
    "promise.register_listener": (200, 400, 404, 422),
    "promise.search": (200, 400),
    "task.get": (200, 400, 404),
    "task.create": (200, 400, 409, 422),
    "task.acquire": (200, 400, 404, 409),
    "task.release": (200, 400, 404, 409),
    "task.suspend": (200, 300, 400, 404, 409, 422),
    "task.fulfill": (200, 400, 404, 409),
    "task.fence": (200, 400, 404, 409),
    "task.heartbeat": (200, 400),
    "task.halt": (200, 400, 404, 409),
    "task.continue": (200, 400, 404, 409),
    "task.search": (200, 400),
    "schedule.get": (200, 400, 404),
    "schedule.create": (200, 400),
    "schedule.delete": (200, 400, 404),
    "schedule.search": (200, 400),
    "debug.reset": (200,),
    "debug.tick": (200,),
    "debug.unknown": (400,),
}
"""Every kind with each of its status codes: what a stream has to reach."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request at a time. `continues`: it takes the cursor that the last page of its kind ended with, each
    side its own."""

    kind: str
    data: Json
    now_ms: int
    continues: bool = False


class Coverage:
    """Counts answers by kind, status and reason."""

    def __init__(self) -> None:
        self.reached: Counter[tuple[str, int, str]] = Counter()

    def add(self, operation: Operation, answer: Answer) -> None:
        status, data = answer
        self.reached[operation.kind, status, data if isinstance(data, str) else ""] += 1

    def missing(self) -> list[tuple[str, int]]:
        """Pairs of kind and status in EXPECTED that were not reached."""
        seen = {(kind, status) for kind, status, _ in self.reached}
        return [(kind, status) for kind, codes in EXPECTED.items() for status in codes if (kind, status) not in seen]

    def unexpected(self) -> list[tuple[str, int]]:
        """Pairs that were reached and are not in EXPECTED."""
        return sorted({(kind, status) for kind, status, _ in self.reached if status not in EXPECTED.get(kind, ())})


class Stream:
    """Draws the next operation, looking at the oracle's state to make it matter."""

    def __init__(self, seed: int, oracle: Oracle) -> None:
        self._random = random.Random(seed)
        self._oracle = oracle
        self._now = START_MS
        self._count = 0
        self._pages: dict[str, Json] = {}
        self._makers: dict[str, tuple[int, Callable[[], Json]]] = {
            "promise.get": (3, lambda: {"id": self._id()}),
            "promise.create": (10, self._create),
            "promise.settle": (3, self._settle),
            "promise.register_callback": (5, self._callback),
            "promise.register_listener": (4, self._listener),
            "promise.search": (2, self._promise_search),
            "task.get": (3, lambda: {"id": self._id()}),
            "task.create": (6, self._task_create),
            "task.acquire": (9, self._acquire),
            "task.release": (3, lambda: self._ref("acquired")),
            "task.suspend": (10, self._suspend),
            "task.fulfill": (3, self._fulfill),
            "task.fence": (8, self._fence),
            "task.heartbeat": (12, self._heartbeat),
            "task.halt": (2, lambda: {"id": self._id("pending", "acquired", "suspended", "halted")}),
            "task.continue": (4, lambda: {"id": self._id("halted")}),
            "task.search": (2, self._task_search),
            "schedule.get": (1, lambda: {"id": self._pick(SCHEDULE_IDS)}),
            "schedule.create": (2, self._schedule_create),
            "schedule.delete": (1, lambda: {"id": self._pick(SCHEDULE_IDS)}),
            "schedule.search": (1, self._schedule_search),
            "debug.tick": (2, self._tick),
            "debug.unknown": (1, dict),
        }
        self._kinds = tuple(self._makers)
        self._weights = [weight for weight, _ in self._makers.values()]

    def next(self) -> Operation:
        """The next operation; tell what was answered to it with `heard`."""
        self._count += 1
        if self._count % SEGMENT == 0:
            self._pages = {}
            return Operation("debug.reset", {}, self._now)
        self._pass_time()
        now, kind = self._now, self._kind()
        if kind in self._pages and self._chance(0.8):
            return Operation(kind, self._pages.pop(kind), now, continues=True)
        data = self._makers[kind][1]()
        if self._chance(0.08) and not kind.startswith("debug."):
            data = self._spoil(data)
        return Operation(kind, data, now)

    def heard(self, operation: Operation, answer: Answer) -> None:
        """Remember a page that goes on."""
        status, data = answer
        if status == 200 and isinstance(data, dict) and "cursor" in data:
            self._pages[operation.kind] = operation.data

    # Chance

    def _chance(self, p: float) -> bool:
        return self._random.random() < p

    def _pick[T](self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def _kind(self) -> str:
        """A kind that mostly has something to act on."""
        states = {task.state for task in self._oracle.tasks.values()}
        while True:
            kind = self._random.choices(self._kinds, self._weights)[0]
            if NEEDS.get(kind, "") in ("", *states) or self._chance(0.05):
                return kind

    def _pass_time(self) -> None:
        """Mostly no time, sometimes exactly to a deadline or one millisecond beside it."""
        if self._chance(0.7):
            return
        deadlines = [p.timeout_at for p in self._oracle.promises.values() if p.state == "pending"]
        deadlines += [task.lease_until for task in self._oracle.tasks.values() if task.lease_until is not None]
        ahead = [deadline for deadline in deadlines if self._now < deadline < self._now + 5_000]
        if ahead and self._chance(0.25):
            self._now = max(self._now, min(ahead) + self._pick((-1, 0, 0, 1)))
        else:
            self._now += self._pick((1, 1, 1, 2, 5, 20, 100))

    def _id(self, *states: str) -> str:
        """An id, mostly one whose task is in one of the states."""
        tasks = self._oracle.tasks
        fitting = [task.id for task in tasks.values() if task.state in states]
        if fitting and self._chance(0.75):
            return self._pick(fitting)
        return self._pick(list(tasks)) if tasks and self._chance(0.6) else self._pick(IDS)

    def _ref(self, *states: str) -> Json:
        """{id, version}, the version mostly right."""
        task_id = self._id(*states)
        task = self._oracle.tasks.get(task_id)
        version = task.version if task is not None else 0
        if self._chance(0.1):
            version = max(0, version + self._pick((-1, 1, 2)))
        return {"id": task_id, "version": version}

    def _spoil(self, data: Json) -> Json:
        """The same data with one field, at any depth, gone or of a wrong type."""
        names = [key for key in data if key != "head"]
        if not names:
            return data
        name = self._pick(names)
        inner = data[name]
        if isinstance(inner, dict) and inner and self._chance(0.7):
            return data | {name: self._spoil(inner)}
        if isinstance(inner, list) and inner and self._chance(0.7):
            return data | {name: [*inner[:-1], self._spoil(inner[-1])]}
        if self._chance(0.3):
            return {key: value for key, value in data.items() if key != name}
        return data | {name: self._pick(WRONG)}

    # The data of each kind

    def _tick(self) -> Json:
        """The subject's own time jumps; its clock follows with the next operation."""
        self._now += self._pick((0, 1, 50))
        return {"time": self._now}

    def _timeout(self) -> int:
        return self._now + self._pick(
            self._pick(
                (
                    (-1000, -1, 0, 1, 10, 50),
                    (100, 500),
                    (2_000, 10_000),
                    (10**9, 10**12),
                    (10**12, INTEGER_MAX - self._now),
                )
            )
        )

    def _value(self) -> Json:
        return self._pick(({}, {"data": "MQ=="}, {"data": "Mg==", "headers": {"h": "1"}}, {"headers": {}}))

    def _tags(self, promise_id: str) -> dict[str, str]:
        tags: dict[str, str] = {}
        ancestors = [other for other in IDS if extends(promise_id, other)]
        for name in ("branch", "parent"):
            if self._chance(0.5):
                tags[f"resonate:{name}"] = self._pick(IDS) if self._chance(0.05) else self._pick(ancestors)
        if self._chance(0.5):
            tags["resonate:origin"] = self._pick(IDS) if self._chance(0.05) else origin_of(promise_id)
        if self._chance(0.6):
            tags["resonate:target"] = self._pick(ADDRESSES)
        for name, value, p in (
            ("resonate:external", "true", 0.2),
            ("resonate:external", "false", 0.05),
            ("resonate:timer", "true", 0.1),
            ("resonate:scope", "global", 0.1),
            ("resonate:scope", "local", 0.1),
            ("resonate:delay", str(self._now + self._pick((0, 0, 1, 100, 10**12))), 0.08),
            ("color", self._pick(("red", "blue")), 0.5),
        ):
            if self._chance(p):
                tags[name] = value
        return tags

    def _create(self) -> Json:
        """A missing promise mostly, so that streams do not run dry."""
        absent = [promise_id for promise_id in IDS if promise_id not in self._oracle.promises]
        promise_id = self._pick(absent) if absent and self._chance(0.7) else self._pick(IDS)
        data: Json = {"id": promise_id, "timeoutAt": self._timeout()}
        if self._chance(0.7):
            data["param"] = self._value()
        return data | {"tags": self._tags(promise_id)} if self._chance(0.95) else data

    def _settle(self, promise_id: str | None = None) -> Json:
        state = self._pick(("pending", "rejected_timedout") if self._chance(0.1) else SETTLE_STATES)
        pending = [promise.id for promise in self._oracle.promises.values() if promise.state == "pending"]
        some_id = self._pick(pending) if pending and self._chance(0.7) else self._pick(IDS)
        data: Json = {"id": promise_id or some_id, "state": state}
        return data | {"value": self._value()} if self._chance(0.8) else data

    def _callback(self) -> Json:
        awaiter = self._id("pending", "acquired", "suspended", "halted")
        return {"awaited": self._awaited(awaiter), "awaiter": awaiter}

    def _awaited(self, awaiter: str) -> str:
        """Mostly a pending external promise of the same origin."""
        promises = self._oracle.promises.values()
        fitting = [p.id for p in promises if p.external and p.id != awaiter and origin_of(p.id) == origin_of(awaiter)]
        pending = [promise_id for promise_id in fitting if self._oracle.promises[promise_id].state == "pending"]
        if pending and self._chance(0.8):
            return self._pick(pending)
        return self._pick(fitting) if fitting and self._chance(0.6) else self._pick(IDS)

    def _listener(self) -> Json:
        return {
            "awaited": self._pick(IDS),
            "address": self._pick(ADDRESSES_BAD if self._chance(0.1) else (*ADDRESSES, URL)),
        }

    def _task_create(self) -> Json:
        create = self._create()
        create["tags"] = create.get("tags", {}) | {"resonate:target": self._pick(ADDRESSES)}
        if self._chance(0.1):
            del create["tags"]["resonate:target"]
        return self._lease() | {"action": {"kind": "promise.create", "head": {}, "data": create}}

    def _lease(self) -> Json:
        return {
            "pid": self._pick(PIDS),
            "ttl": self._pick((1, 10, 50, 100, 100, 200, 500, 5_000, 60_000) if self._chance(0.97) else (0,)),
        }

    def _acquire(self) -> Json:
        return self._ref("pending") | self._lease()

    def _suspend(self) -> Json:
        ref = self._ref("acquired")
        awaiter = self._pick(IDS) if self._chance(0.03) else ref["id"]
        count = self._pick((0, 1, 1, 1, 1, 2, 2, 3)) if self._chance(0.3) else 1
        pairs = [{"awaited": self._awaited(ref["id"]), "awaiter": awaiter} for _ in range(count)]
        return ref | {"actions": [{"kind": "promise.register_callback", "head": {}, "data": pair} for pair in pairs]}

    def _fulfill(self) -> Json:
        ref = self._ref("acquired")
        settle = self._settle(self._pick(IDS) if self._chance(0.15) else ref["id"])
        return ref | {"action": {"kind": "promise.settle", "head": {}, "data": settle}}

    def _fence(self) -> Json:
        kind = self._pick(("promise.create", "promise.settle"))
        data = self._create() if kind == "promise.create" else self._settle()
        return self._ref("acquired") | {"action": {"kind": kind, "head": {}, "data": data}}

    def _heartbeat(self) -> Json:
        refs = [self._ref("acquired") for _ in range(self._pick((1, 1, 2, 3)) if self._chance(0.95) else 0)]
        task = self._oracle.tasks.get(refs[0]["id"]) if refs else None
        owner = task.pid if task is not None and task.pid is not None and self._chance(0.85) else self._pick(PIDS)
        return {"pid": owner, "tasks": refs}

    def _promise_search(self) -> Json:
        states = ("pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout", "acquired")
        return self._tag_query() | ({"state": self._pick(states)} if self._chance(0.4) else {})

    def _task_search(self) -> Json:
        states = ("pending", "acquired", "suspended", "halted", "fulfilled", "resolved")
        return self._query() | ({"state": self._pick(states)} if self._chance(0.5) else {})

    def _schedule_search(self) -> Json:
        return self._tag_query()

    def _query(self) -> Json:
        data: Json = {"limit": self._pick((0, 1, 1, 2, 3, 5, 1000, 1001))} if self._chance(0.8) else {}
        return data | {"cursor": self._pick((7, "", "no cursor"))} if self._chance(0.05) else data

    def _tag_query(self) -> Json:
        tags = {"color": self._pick(("red", "blue"))} | ({"resonate:external": "true"} if self._chance(0.2) else {})
        return self._query() | ({"tags": tags} if self._chance(0.4) else {})

    def _schedule_create(self) -> Json:
        return {
            "id": self._pick(SCHEDULE_IDS),
            "cron": self._pick(CRONS_BAD if self._chance(0.1) else CRONS),
            "promiseId": "{{.id}}-{{.timestamp}}",
            "promiseTimeout": self._pick((1, 1_000, 86_400_000)),
            "promiseParam": self._value(),
            "promiseTags": self._pick(
                ({}, *({"resonate:target": "poll://any@g", "color": c} for c in ("red", "blue")))
            ),
        }
