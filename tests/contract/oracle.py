"""A plain in-memory model of the Resonate protocol: what any store of ours must answer.

Dicts and sets, one request at a time, time as a parameter. Choices made where the protocol's tables are
silent are numbered in README.md and cited here as (n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .cron import next_run
from .records import Promise, Task
from .wire import (
    ADDRESS,
    INTEGER_MAX,
    PROMISE_STATES,
    SETTLE_STATES,
    TASK_STATES,
    Fields,
    Json,
    Refusal,
    check_lineage,
    origin_of,
    require,
)

type Answer = tuple[int, Json | str]
"""A status, and the data; for a status of 400 or more, the reason."""

TASK_MOVES: dict[tuple[str, str], str] = {
    ("pending", "acquire"): "acquired",
    ("acquired", "release"): "pending",
    ("acquired", "lapse"): "pending",
    ("acquired", "suspend"): "suspended",
    ("suspended", "wake"): "pending",
    ("pending", "halt"): "halted",
    ("acquired", "halt"): "halted",
    ("suspended", "halt"): "halted",
    ("halted", "halt"): "halted",
    ("halted", "continue"): "pending",
    ("pending", "settle"): "fulfilled",
    ("acquired", "settle"): "fulfilled",
    ("suspended", "settle"): "fulfilled",
    ("halted", "settle"): "fulfilled",
}
"""(state, event) -> state. What is not here is a 409."""


class Oracle:
    """The whole state and every request. `pushed` holds what the last request owes at once: (address, message) (19)."""

    def __init__(self, *, debug: bool = True) -> None:
        self.promises: dict[str, Promise] = {}
        self.tasks: dict[str, Task] = {}
        self.callbacks: set[tuple[str, str]] = set()
        self.listeners: set[tuple[str, str]] = set()
        self.schedules: dict[str, Json] = {}
        self.pushed: list[tuple[str, Json]] = []
        self.due_before: dict[tuple[str, int], str] = {}
        """The tasks that were due when the deadlines before the last request were applied, with their targets."""
        self._debug = debug
        self._handlers: dict[str, Callable[[Fields, int], Answer]] = {
            "promise.get": self._promise_get,
            "promise.create": self._promise_create,
            "promise.settle": self._promise_settle,
            "promise.register_callback": self._register_callback,
            "promise.register_listener": self._register_listener,
            "promise.search": self._promise_search,
            "task.get": self._task_get,
            "task.create": self._task_create,
            "task.acquire": self._task_acquire,
            "task.release": self._task_release,
            "task.suspend": self._task_suspend,
            "task.fulfill": self._task_fulfill,
            "task.fence": self._task_fence,
            "task.heartbeat": self._task_heartbeat,
            "task.halt": self._task_halt,
            "task.continue": self._task_continue,
            "task.search": self._task_search,
            "schedule.get": self._schedule_get,
            "schedule.create": self._schedule_create,
            "schedule.delete": self._schedule_delete,
            "schedule.search": self._schedule_search,
            "debug.reset": self._debug_reset,
            "debug.tick": self._debug_tick,
            "debug.snap": self._debug_snap,
        }

    def request(self, kind: str, data: object, now_ms: int) -> Answer:
        """Apply the deadlines that have come, then one request; a status of 400 or more changes nothing else (5)."""
        self.pushed = []
        self._elapse(now_ms)
        self.due_before = self.due(now_ms)
        try:
            require(kind in self._handlers, "unknown kind")
            return self._handlers[kind](Fields(data), now_ms)
        except Refusal as refusal:
            return refusal.status, refusal.reason

    def due(self, now_ms: int) -> dict[tuple[str, int], str]:
        """The targets of the tasks that an execute may be sent for, by id and version."""
        return {
            (task.id, task.version): promise.target
            for task in self.tasks.values()
            if task.state == "pending"
            and (promise := self.promises[task.id]).target is not None
            and promise.dispatched_from() <= now_ms
        }

    def snapshot(self) -> Json:
        """The whole state, each part sorted."""
        return {
            "promises": [self.promises[key].record() for key in sorted(self.promises)],
            "tasks": [self.tasks[key].record() for key in sorted(self.tasks)],
            "callbacks": [{"awaited": awaited, "awaiter": awaiter} for awaited, awaiter in sorted(self.callbacks)],
            "listeners": [{"awaited": awaited, "address": address} for awaited, address in sorted(self.listeners)],
            "schedules": [self.schedules[key] for key in sorted(self.schedules)],
        }

    def _elapse(self, now: int) -> None:
        """Apply every deadline that has come: promises in the order of their deadlines, then leases."""
        for promise in sorted(self.promises.values(), key=lambda p: (p.timeout_at, p.id)):
            self._expire(promise, now)
        for task in self.tasks.values():
            if task.lease_until is not None and task.lease_until <= now:
                self._move(task, "lapse", now)

    # Transitions

    def _move(self, task: Task, event: str, now: int) -> None:
        """The one way a task's state changes."""
        after = TASK_MOVES.get((task.state, event))
        require(after is not None, f"{event} of a task that is {task.state}", 409)
        assert after is not None
        task.state = after
        task.ttl = task.pid = task.lease_until = None
        if after in ("acquired", "suspended", "fulfilled"):
            task.resumes = 0
        if event in ("wake", "continue"):
            self._dispatch(task, now)
        if after == "fulfilled":
            self.callbacks = {pair for pair in self.callbacks if pair[1] != task.id}

    def _dispatch(self, task: Task, now: int) -> None:
        promise = self.promises[task.id]
        assert promise.target is not None
        if promise.dispatched_from() <= now:
            message = {"kind": "execute", "data": {"task": {"id": task.id, "version": task.version}}}
            self.pushed.append((promise.target, message))

    def _lease(self, task: Task, pid: str, ttl: int, now: int) -> None:
        self._move(task, "acquire", now)
        task.version += 1
        task.pid, task.ttl, task.lease_until = pid, ttl, min(now + ttl, INTEGER_MAX)

    def _settle(self, promise: Promise, state: str, value: Json, settled_at: int, now: int) -> None:
        """The cascade: the promise, its own task, whoever awaits it, whoever listens."""
        assert promise.state == "pending"
        promise.state, promise.value, promise.settled_at = state, value, settled_at
        own = self.tasks.get(promise.id)
        if own is not None and own.state != "fulfilled":
            self._move(own, "settle", now)
        for awaited, awaiter in sorted(self.callbacks):
            if awaited == promise.id:
                task = self.tasks[awaiter]
                task.resumes += 1
                if task.state == "suspended":
                    self._move(task, "wake", now)
        self.callbacks = {pair for pair in self.callbacks if pair[0] != promise.id}
        for awaited, address in sorted(self.listeners):
            if awaited == promise.id and ADDRESS.match(address):  # what is for URLs waits to be sent
                self.pushed.append((address, {"kind": "unblock", "data": {"promise": promise.record()}}))
        self.listeners = {pair for pair in self.listeners if pair[0] != promise.id}

    def _expire(self, promise: Promise, now: int) -> None:
        if promise.due(now):
            self._settle(promise, "resolved" if promise.timer else "rejected_timedout", {}, promise.timeout_at, now)

    def _create(self, data: Fields, now: int) -> Callable[[], Promise]:
        """Check the data of promise.create now; the result makes or finds the promise."""
        promise_id, timeout_at = data.id(), data.integer("timeoutAt", 0)
        param, tags = data.value("param"), data.tags()
        require(not _is_called(tags), "nobody calls that target")
        check_lineage(promise_id, tags)

        def apply() -> Promise:
            if promise_id in self.promises:
                return self.promises[promise_id]
            born = Promise(promise_id, "pending", param, tags, timeout_at, min(now, timeout_at))
            self.promises[promise_id] = born
            if born.target is not None:
                self.tasks[promise_id] = Task(promise_id)
            self._expire(born, now)
            if born.state == "pending" and born.target is not None:
                self._dispatch(self.tasks[promise_id], now)
            return born

        return apply

    def _settling(self, data: Fields, now: int) -> Callable[[], Promise]:
        """Check the data of promise.settle now; the result settles, or finds it settled."""
        promise_id, state, value = data.id(), data.one_of("state", SETTLE_STATES), data.value("value")

        def apply() -> Promise:
            promise = self._promise(promise_id)
            if promise.state == "pending":
                self._settle(promise, state, value, now, now)
            return promise

        return apply

    # Lookups

    def _promise(self, promise_id: str) -> Promise:
        if promise_id not in self.promises:
            raise Refusal(404, "no such promise")
        return self.promises[promise_id]

    def _task(self, task_id: str) -> Task:
        if task_id not in self.tasks:
            raise Refusal(404, "no such task")
        return self.tasks[task_id]

    def _held(self, task_id: str, version: int) -> Task:
        """A task that is acquired at this version: the fence."""
        task = self._task(task_id)
        require(task.state == "acquired", f"a held task is needed, it is {task.state}", 409)
        require(task.version == version, "another version", 409)
        return task

    def _preload(self, task_id: str) -> list[Json]:
        branch = self.promises[task_id].tags.get("resonate:branch")
        return [
            self.promises[key].record()
            for key in sorted(self.promises)
            if branch is not None and key != task_id and self.promises[key].tags.get("resonate:branch") == branch
        ]

    # Promises

    def _promise_get(self, data: Fields, now: int) -> Answer:
        return 200, {"promise": self._promise(data.id()).record()}

    def _promise_create(self, data: Fields, now: int) -> Answer:
        return 200, {"promise": self._create(data, now)().record()}

    def _promise_settle(self, data: Fields, now: int) -> Answer:
        return 200, {"promise": self._settling(data, now)().record()}

    def _register_callback(self, data: Fields, now: int) -> Answer:
        awaited_id, awaiter_id = data.id("awaited"), data.id("awaiter")
        _check_pair(awaited_id, awaiter_id)
        awaited = self._promise(awaited_id)
        require(awaiter_id in self.tasks, "no such awaiter with a target", 422)
        require(awaited.external, "awaited is not external", 422)
        if awaited.state == "pending" and self.tasks[awaiter_id].state != "fulfilled":
            self.callbacks.add((awaited_id, awaiter_id))
        return 200, {"promise": awaited.record()}

    def _register_listener(self, data: Fields, now: int) -> Answer:
        awaited_id, address = data.id("awaited"), data.text("address")
        require(
            ADDRESS.match(address) is not None or address.startswith("https://"), "address is not poll:// and no URL"
        )
        awaited = self._promise(awaited_id)
        require(awaited.external, "awaited is not external", 422)
        if awaited.state == "pending":
            self.listeners.add((awaited_id, address))
        return 200, {"promise": awaited.record()}

    def _promise_search(self, data: Fields, now: int) -> Answer:
        state = data.one_of("state", PROMISE_STATES) if data.has("state") else None
        tags = data.tags()
        records = (self.promises[key].record() for key in sorted(self.promises))
        return _page("promises", data, (r for r in records if state in (None, r["state"]) and _tagged(r["tags"], tags)))

    # Tasks

    def _task_get(self, data: Fields, now: int) -> Answer:
        return 200, {"task": self._task(data.id()).record()}

    def _task_create(self, data: Fields, now: int) -> Answer:
        pid, ttl = data.text("pid"), data.integer("ttl", 1)
        _, action = data.action("promise.create")
        create, promise_id, tags = self._create(action, now), action.id(), action.tags()
        require("resonate:target" in tags, "no target")
        require("resonate:delay" not in tags, "has a delay")
        require(promise_id in self.tasks or promise_id not in self.promises, "a plain promise is there", 422)
        promise = create()
        task = self.tasks[promise_id]
        if task.state != "fulfilled":
            self._lease(task, pid, ttl, now)
            self.pushed = [push for push in self.pushed if push[1]["kind"] != "execute"]
        return 200, self._acquired(task, promise)

    def _task_acquire(self, data: Fields, now: int) -> Answer:
        task_id, version = data.id(), data.integer("version", 0)
        pid, ttl = data.text("pid"), data.integer("ttl", 1)
        task = self._task(task_id)
        require(task.version == version, "another version", 409)
        self._lease(task, pid, ttl, now)
        return 200, self._acquired(task, self.promises[task_id])

    def _acquired(self, task: Task, promise: Promise) -> Json:
        return {"task": task.record(), "promise": promise.record(), "preload": self._preload(task.id)}

    def _task_release(self, data: Fields, now: int) -> Answer:
        self._move(self._held(data.id(), data.integer("version", 0)), "release", now)
        return 200, {}

    def _task_suspend(self, data: Fields, now: int) -> Answer:
        task_id, version = data.id(), data.integer("version", 0)
        awaited_ids: list[str] = []
        for item in data.items("actions"):
            _, action = item.nested("promise.register_callback")
            awaited_id = action.id("awaited")
            require(action.id("awaiter") == task_id, "awaiter is another task")
            _check_pair(awaited_id, task_id)
            require(awaited_id not in awaited_ids, "awaited twice")
            awaited_ids.append(awaited_id)
        task = self._held(task_id, version)
        awaited = [self.promises.get(awaited_id) for awaited_id in awaited_ids]
        require(all(promise is not None for promise in awaited), "no such awaited", 422)
        require(all(promise.external for promise in awaited if promise), "awaited is not external", 422)
        if any(promise.state != "pending" for promise in awaited if promise):
            task.resumes = 0
            return 300, {"preload": self._preload(task_id)}
        self._move(task, "suspend", now)
        self.callbacks.update((awaited_id, task_id) for awaited_id in awaited_ids)
        return 200, {}

    def _task_fulfill(self, data: Fields, now: int) -> Answer:
        task_id, version = data.id(), data.integer("version", 0)
        _, action = data.action("promise.settle")
        settle = self._settling(action, now)
        require(action.id() == task_id, "settles another promise")
        self._held(task_id, version)
        return 200, {"promise": settle().record()}

    def _task_fence(self, data: Fields, now: int) -> Answer:
        task_id, version = data.id(), data.integer("version", 0)
        kind, action = data.action("promise.create", "promise.settle")
        apply = self._create(action, now) if kind == "promise.create" else self._settling(action, now)
        require(action.id() != task_id, "acts on its own promise")
        self._held(task_id, version)
        if kind == "promise.settle" and action.id() not in self.promises:
            return 200, {"action": {"kind": kind, "head": {"status": 404}}, "preload": []}
        answer = {"kind": kind, "head": {"status": 200}, "data": {"promise": apply().record()}}
        return 200, {"action": answer, "preload": []}

    def _task_heartbeat(self, data: Fields, now: int) -> Answer:
        pid = data.text("pid")
        beats = [(item.id(), item.integer("version", 0)) for item in data.items("tasks")]
        require(len({origin_of(task_id) for task_id, _ in beats}) == 1, "origins differ")
        for task_id, version in beats:
            task = self.tasks.get(task_id)
            if task is not None and (task.state, task.version, task.pid) == ("acquired", version, pid):
                assert task.ttl is not None
                task.lease_until = min(now + task.ttl, INTEGER_MAX)
        return 200, {}

    def _task_halt(self, data: Fields, now: int) -> Answer:
        self._move(self._task(data.id()), "halt", now)
        return 200, {}

    def _task_continue(self, data: Fields, now: int) -> Answer:
        self._move(self._task(data.id()), "continue", now)
        return 200, {}

    def _task_search(self, data: Fields, now: int) -> Answer:
        state = data.one_of("state", TASK_STATES) if data.has("state") else None
        records = (self.tasks[key].record() for key in sorted(self.tasks))
        return _page("tasks", data, (record for record in records if state in (None, record["state"])))

    # Schedules

    def _schedule_get(self, data: Fields, now: int) -> Answer:
        return 200, {"schedule": self._schedule(data.id())}

    def _schedule_create(self, data: Fields, now: int) -> Answer:
        record: Json = {
            "id": data.id(),
            "cron": data.text("cron"),
            "promiseId": data.id("promiseId"),
            "promiseTimeout": data.integer("promiseTimeout", 0),
            "promiseParam": data.value("promiseParam"),
            "promiseTags": data.tags("promiseTags"),
            "createdAt": now,
            "nextRunAt": next_run(data.text("cron"), now),
        }
        require(bool(record["promiseTags"].get("resonate:target")), "no target")
        require(not _is_called(record["promiseTags"]), "nobody calls that target")
        require(record["nextRunAt"] is not None, "bad cron")
        return 200, {"schedule": self.schedules.setdefault(record["id"], record)}

    def _schedule_delete(self, data: Fields, now: int) -> Answer:
        del self.schedules[self._schedule(data.id())["id"]]
        return 200, {}

    def _schedule_search(self, data: Fields, now: int) -> Answer:
        tags = data.tags()
        records = (self.schedules[key] for key in sorted(self.schedules))
        return _page("schedules", data, (record for record in records if _tagged(record["promiseTags"], tags)))

    def _schedule(self, schedule_id: str) -> Json:
        if schedule_id not in self.schedules:
            raise Refusal(404, "no such schedule")
        return self.schedules[schedule_id]

    # Debugging

    def _debug_reset(self, data: Fields, now: int) -> Answer:
        require(self._debug, "not debugging", 403)
        for part in (self.promises, self.tasks, self.callbacks, self.listeners, self.schedules):
            part.clear()
        self.due_before = {}
        return 200, {}

    def _debug_tick(self, data: Fields, now: int) -> Answer:
        require(self._debug, "not debugging", 403)
        self._elapse(data.integer("time", 0))
        return 200, {}

    def _debug_snap(self, data: Fields, now: int) -> Answer:
        require(self._debug, "not debugging", 403)
        return 200, self.snapshot()


def _is_called(tags: dict[str, str]) -> bool:
    return tags.get("resonate:target", "").startswith(("http://", "https://"))


def _check_pair(awaited_id: str, awaiter_id: str) -> None:
    require(awaited_id != awaiter_id, "awaits itself")
    require(origin_of(awaited_id) == origin_of(awaiter_id), "awaits another origin")


def _tagged(tags: Json, wanted: dict[str, str]) -> bool:
    return all(tags.get(name) == value for name, value in wanted.items())


def _page(name: str, data: Fields, records: Iterable[Json]) -> Answer:
    """One page in id order. The cursor is the last id after `>`; clients treat it as opaque."""
    limit = data.limit()
    cursor = data.text("cursor") if data.has("cursor") else ">"
    require(cursor.startswith(">"), "bad cursor")
    rest = [record for record in records if record["id"] > cursor[1:]]
    page: Json = {name: rest[:limit]}
    return 200, page | {"cursor": ">" + rest[limit - 1]["id"]} if len(rest) > limit else page
