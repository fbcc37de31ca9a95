"""A scripted day in the life of a store that reaches every kind of request and everything that happens by itself.

Every request of it is deterministic, so that the file after the n-th is known. `before_the_day` is what an engine that
was killed has left: the day begins with its burial.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from durable.core.clock import TIME_MAX_MS
from durable.core.limits import CHECKPOINTS_KEPT
from durable.core.value_codec import ENCRYPTED, MAGIC

from .opened import FUNCTION, T0, promise, root, settle

CELL = "cell@1"
MINUTE_MS = 60_000
EVERY_MINUTE = "* * * * *"
SEALED_BY_OLD = base64.b64encode(MAGIC + bytes([ENCRYPTED, 3]) + b"old" + bytes(60)).decode()
SEALED_BEFORE = hashlib.sha256(SEALED_BY_OLD.encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    kind: str
    data: dict[str, Any]
    status: int = 200


@dataclass(frozen=True)
class Advance:
    """The clock goes on; what became due takes effect before the next answer."""

    ms: int


@dataclass(frozen=True)
class Connect:
    """Take messages for this engine."""

    engine: str


type Step = Request | Advance | Connect


def join(engine: str) -> Request:
    data = {"engine": engine, "group": "g", "pid": 1, "functions": [FUNCTION, CELL], "serves_sessions": True}
    return Request("engine.join", data)


def acquire(task: str, version: int = 0, *, pid: str = "e1", ttl: int = 600_000, status: int = 200) -> Request:
    return Request("task.acquire", {"id": task, "version": version, "pid": pid, "ttl": ttl}, status)


def at(kind: str, task: str, version: int, **more: Any) -> Request:
    return Request(kind, {"id": task, "version": version, **more})


def create(*args: Any, **options: Any) -> Request:
    return Request("promise.create", promise(*args, **options))


def make(name: str, **options: Any) -> Request:
    return Request("promise.create", root(name, **options))


def fence(task: str, version: int, kind: str, data: dict[str, Any]) -> Request:
    return at("task.fence", task, version, action={"kind": kind, "data": data})


def cell(session: str, **more: Any) -> Request:
    tags = {"resonate:target": "poll://any@g", "durable:function": CELL}
    return Request("cell.submit", {"session": session, "promise": {"timeoutAt": TIME_MAX_MS, "tags": tags}, **more})


def fulfill(task: str, version: int) -> Request:
    return at("task.fulfill", task, version, action={"kind": "promise.settle", "data": settle(task)})


def callback(awaited: str, awaiter: str) -> dict[str, Any]:
    return {"kind": "promise.register_callback", "data": {"awaited": awaited, "awaiter": awaiter}}


def listen(awaited: str, address: str) -> Request:
    return Request("promise.register_listener", {"awaited": awaited, "address": address})


def publish(session: str, epoch: int, statement: int, *, kind: str = "checkpoint.publish", **more: Any) -> Request:
    chunks = [(f"{session}{statement}".encode().hex().ljust(64, "0"), b"chunk %d" % statement)]
    shared = ["5" * 64]
    data = {
        "session": session,
        "epoch": epoch,
        "statement": statement,
        "final": False,
        "manifest": b"m",
        "uses": shared,
    }
    return Request(kind, {**data, "chunks": chunks, **more})


def before_the_day() -> list[Step]:
    """Of the engine `ghost`, which dies after it: a task, a cell of its session, one that this makes lost."""
    return [
        join("ghost"),
        *(make(name) for name in ("ghosted", "progressed", "waits-for-doomed")),
        *(acquire(f"exec:{name}", pid="ghost") for name in ("ghosted", "progressed", "waits-for-doomed")),
        fence("exec:progressed", 1, "promise.create", promise("exec:progressed.1", resonate_scope="local")),
        make("doomed"),
        at("task.suspend", "exec:waits-for-doomed", 1, actions=[callback("exec:doomed", "exec:waits-for-doomed")]),
        listen("exec:doomed", "poll://uni@g/far"),
        acquire("exec:doomed", pid="ghost"),
        Request("session.open", {"session": "haunted", "engine": "ghost", "options": {}}),
        cell("haunted"),
        cell("haunted"),
        acquire("exec:haunted@1", pid="ghost"),
    ]


MAKE_DOOMED = "UPDATE tasks SET attempts_died=9 WHERE id='exec:doomed'"
"""Nine engines have died of it before."""


def the_day() -> list[Step]:
    return [
        *_promises(),
        *_functions(),
        *_children(),
        *_sessions(),
        *_by_itself(),
        *_imported(),
        *_actors(),
        *_queues(),
        *_queued_retries(),
        *_schedules(),
        *_leaving(),
    ]


def _promises() -> list[Step]:
    return [
        join("e1"),
        Connect("e1"),
        create("plain"),
        create("plain"),
        create("born", timeout_at=T0 - 5),
        create("born-timer", timeout_at=T0 - 5, resonate_timer="true"),
        create("settled-by-hand", resonate_external="true"),
        listen("settled-by-hand", "poll://uni@g/e1"),
        listen("settled-by-hand", "poll://uni@g/far"),
        Request("promise.settle", settle("settled-by-hand")),
        Request("promise.settle", settle("settled-by-hand", "rejected")),
        Request("promise.settle", settle("nowhere"), 404),
        Request("promise.settle", settle("plain", "rejected_canceled")),
        Request("promise.get", {"id": "plain"}),
        Request("promise.search", {}),
    ]


def _functions() -> list[Step]:
    child = promise("exec:f.2", target="poll://any@g", durable_function=FUNCTION, resonate_branch="exec:f.2")
    sleep = promise("exec:f.3", timeout_at=T0 + 5 * MINUTE_MS, target="poll://any@g", resonate_timer="true")
    question = promise("exec:f:input:1", resonate_external="true", durable_capability="input")
    action = {"kind": "promise.create", "data": root("created-with-task", resonate_branch="exec:created-with-task")}
    waits = ["exec:f.2", "exec:f.3", "exec:f:input:1"]
    return [
        make("f", resonate_branch="exec:f"),
        acquire("exec:f"),
        acquire("exec:f", status=409),
        fence("exec:f", 1, "promise.create", promise("exec:f.1", resonate_scope="local", resonate_branch="exec:f")),
        fence("exec:f", 1, "promise.settle", settle("exec:f.1")),
        fence("exec:f", 1, "promise.create", child),
        fence("exec:f", 1, "promise.create", sleep),
        fence("exec:f", 1, "promise.create", question),
        Request("call.list", {"execution": "exec:f"}),
        *_signals(),
        *_streams(),
        *_upgraded(),
        *_deployments(),
        Request("task.heartbeat", {"pid": "e1", "tasks": [{"id": "exec:f", "version": 1}]}),
        Request("promise.register_callback", {"awaited": "exec:f:input:1", "awaiter": "exec:f"}),
        at("task.suspend", "exec:f", 1, actions=[callback(each, "exec:f") for each in waits]),
        Request("promise.settle", settle("exec:f:input:1")),
        acquire("exec:f", 1),
        at("task.release", "exec:f", 2),
        Request("task.create", {"pid": "e1", "ttl": 600_000, "action": action}),
        Request("task.get", {"id": "exec:created-with-task"}),
        at("task.fail", "exec:created-with-task", 1, error="raised", cause="failed"),
        acquire("exec:created-with-task", 1),
        Request("task.halt", {"id": "exec:created-with-task", "note": "stop"}),
        Request("task.search", {"state": "halted"}),
        Request("task.continue", {"id": "exec:created-with-task"}),
        acquire("exec:created-with-task", 2),
        fulfill("exec:created-with-task", 3),
        make("fails", function="app.py::elsewhere@1"),
        *(
            step
            for attempt in range(3)
            for step in (
                acquire("exec:fails", attempt),
                at("task.fail", "exec:fails", attempt + 1, error=f"{attempt}", cause="failed"),
            )
        ),
        Request("engine.serve", {"engine": "e1", "functions": ["app.py::elsewhere@1"]}),
        Request("engine.list", {}),
    ]


def signal(name: str, *, status: int = 200, **more: Any) -> Request:
    return Request("signal.send", {"execution": "exec:f", "name": name, "value": {"data": "Mw=="}, **more}, status)


def _signals() -> list[Step]:
    def wait(n: int, name: str, **more: Any) -> Request:
        tags: dict[str, Any] = {"durable_signal": name, "durable_execution": "exec:f", "resonate_external": "true"}
        return fence("exec:f", 1, "promise.create", promise(f"exec:f.{n}", **tags, **more))

    return [
        signal("early", key="k"),
        signal("early", key="k"),
        signal("early"),
        wait(11, "early"),
        wait(12, "early"),
        wait(13, "early"),
        wait(14, "early", timeout_at=T0 - 1),
        wait(15, "late"),
        fence("exec:f", 1, "promise.settle", settle("exec:f.15", "rejected_canceled")),
        wait(16, "late"),
        Request("signal.look", {"execution": "exec:f", "name": "late"}),
        signal("late", fits="e30=", key="k"),
        signal("early"),
        wait(17, "left"),
        Request("signal.send", {"execution": "exec:nowhere", "name": "x"}, 404),
    ]


def _children() -> list[Step]:
    def link(n: int, child: str, *, status: int = 200, **more: Any) -> Request:
        tags: dict[str, Any] = {"durable_child": child, "durable_function": FUNCTION, "durable_target": "poll://any@g"}
        data = promise(f"exec:parent.{n}", **tags, resonate_external="true", **more)
        action = {"kind": "promise.create", "data": data}
        return Request("task.fence", {"id": "exec:parent", "version": 1, "action": action}, status)

    return [
        make("parent"),
        acquire("exec:parent"),
        link(1, "exec:parent@@1"),
        link(2, "exec:parent@@2"),
        link(3, "exec:parent@@3", durable_detached="true"),
        link(4, "exec:f"),
        link(5, "exec:parent@@2", durable_arguments="other"),
        link(6, "parent", status=400),
        acquire("exec:parent@@1"),
        at("task.suspend", "exec:parent", 1, actions=[callback("exec:parent.1", "exec:parent")]),
        fulfill("exec:parent@@1", 1),
        acquire("exec:parent", 1),
        acquire("exec:parent@@2"),
        Request("execution.cancel", {"id": "exec:parent", "grace_ms": 60_000}),
        fulfill("exec:parent@@2", 1),
        fulfill("exec:parent", 2),
    ]


def _upgraded() -> list[Step]:
    """An execution that nobody runs gets another function; one that runs does not."""
    wish = {"function": "app.py::job@2", "source": "app.py"}
    return [
        make("upgraded", function="app.py::job@7"),
        Request("execution.upgrade", {"id": "exec:upgraded", "version": 0, **wish}),
        Request("execution.upgrade", {"id": "exec:upgraded", "version": 3, **wish}, 409),
        Request("execution.upgrade", {"id": "exec:f", "version": 1, **wish}, 409),
        Request("execution.upgrade", {"id": "exec:nowhere", "version": 0, **wish}, 404),
    ]


def _deployments() -> list[Step]:
    """What an engine of a deployment began is given to another one, when it is gone."""
    function = "app.py::deployed@1"

    def joins(engine: str, deployment: str) -> Request:
        served = {"functions": [function], "serves_sessions": False, "deployment": deployment}
        return Request("engine.join", {"engine": engine, "group": "g", "pid": 1, **served})

    retention = {function: {"completed": 0, "failed": None}}

    def deployment(kind: str, name: str, status: int = 200) -> Request:
        return Request(f"deployment.{kind}", {"deployment": name}, status)

    def moved(name: str, status: int = 200) -> Request:
        wish = {"id": "exec:deployed", "function": function, "source": "app.py", "version": 1, "deployment": name}
        return Request("execution.upgrade", wish, status)

    return [
        joins("e7", "d1"),
        make("deployed", function=function),
        acquire("exec:deployed", pid="e7"),
        Request("engine.serve", {"engine": "e7", "functions": ["app.py::later@1", function], "retention": retention}),
        Request("retention.list", {}),
        Request("promise.create", {**promise("sealed"), "param": {"data": SEALED_BY_OLD}}),
        Request("sealed.page", {"whole": True}),
        Request("sealed.page", {"after": '["param",["s"]]', "but": "new"}),
        Request("value.reseal", {"place": "param", "key": ["sealed"], "before": SEALED_BEFORE, "data": "bmV3"}),
        Request("value.reseal", {"place": "param", "key": ["sealed"], "before": SEALED_BEFORE, "data": "b2xk"}),
        Request("value.reseal", {"place": "nowhere", "key": [], "before": "", "data": ""}, 400),
        at("task.fail", "exec:deployed", 1, error="x", cause="failed"),
        acquire("exec:deployed", 1, status=409),
        acquire("exec:deployed", 1, pid="nobody", status=409),
        joins("e8", "d2"),
        moved("nowhere", 404),
        moved("d2"),
        deployment("use", "d1"),
        deployment("use", "nowhere", 404),
        Request("deployment.list", {}),
        deployment("delete", "d2", 409),
        Request("engine.leave", {"engine": "e8"}),
        deployment("delete", "d2", 409),
        Request("promise.settle", settle("exec:deployed")),
        deployment("delete", "d2"),
        deployment("delete", "d2", 404),
        Request("queue.set", {"queue": "brief", "limits": {}, "changes": []}),
        Request("queue.delete", {"queue": "brief"}),
        Request("queue.delete", {"queue": "brief"}, 404),
        Advance(1),
        Request("sweep.retention", {}),
        make("deleted"),
        Request("execution.delete", {"id": "exec:deleted"}, 409),
        Request("promise.settle", settle("exec:deleted")),
        Request("execution.delete", {"id": "exec:deleted", "dry_run": True}),
        Request("execution.delete", {"id": "exec:deleted"}),
        Request("execution.delete", {"id": "exec:deleted"}, 404),
        Request("sweep.executions", {"before": 0}),
        Request("engine.serve", {"engine": "e7", "functions": [function], "retention": {}}),
        Request("engine.leave", {"engine": "e7"}),
    ]


def _streams() -> list[Step]:
    def write(promise_id: str, **tags: Any) -> Request:
        return fence("exec:f", 1, "promise.create", promise(promise_id, durable_execution="exec:f", **tags))

    def step(promise_id: str, position: int, item: str) -> Request:
        tags = {"durable_step": "exec:f.30", "durable_position": str(position), "durable_item": item}
        return write(promise_id, durable_stream="s", **tags)

    return [
        write("exec:f.21", durable_stream="s"),
        write("exec:f.21", durable_stream="s"),
        write("exec:f.22", durable_stream="s", durable_items="3"),
        write("exec:f.23", durable_publish='["a", "b"]'),
        write("exec:f.24", durable_publish='["b"]'),
        step("exec:f.30:stream:a-1", 1, "x"),
        step("exec:f.30:stream:a-2", 2, "y"),
        step("exec:f.30:stream:a-3", 3, "z"),
        step("exec:f.30:stream:b-1", 1, "x"),
        step("exec:f.30:stream:b-2", 2, "other"),
    ]


def _sessions() -> list[Step]:
    call = promise("exec:desk@1:input:1", resonate_external="true", durable_capability="input")
    asked = {"session": "desk", "epoch": 1, "awaiter": "exec:desk@1", "promise": call}
    child = promise("exec:f.4", target="poll://any@g", durable_session="desk", durable_function=CELL)
    return [
        Request("session.open", {"session": "desk", "engine": "e1", "options": {"grants": []}}),
        Request("session.worker", {"session": "desk", "epoch": 1, "pid": 4, "start": 5}),
        cell("desk"),
        cell("desk"),
        Request("promise.create", child),
        acquire("exec:desk@2", status=409),
        acquire("exec:desk@1"),
        Request("output.append", {"execution": "desk@1", "chunks": [(0, "stdout", "one\n"), (4, "stderr", "two\n")]}),
        Request(
            "output.append", {"execution": "desk@1", "session": "desk", "epoch": 1, "chunks": [(8, "stdout", "x")]}
        ),
        Request("output.append", {"execution": "desk@1", "chunks": [(8, "stdout", "xy")]}),
        Request("output.append", {"execution": "desk@1", "chunks": [(1, "stdout", "overlap")]}, 409),
        Request("output.truncate", {"execution": "desk@1", "offset": 6}),
        Request("call.create", asked),
        Request("call.create", asked),
        Request("call.create", {**asked, "epoch": 7}, 409),
        Request("call.create", {**asked, "policy": 0}),
        *_permissions(),
        *_people(),
        publish("desk", 1, 1, execution="desk@1", n=1),
        publish("desk", 1, 2, kind="checkpoint.keep", label="kept"),
        *(publish("desk", 1, statement) for statement in range(3, 4 + CHECKPOINTS_KEPT)),
        Request("checkpoint.latest", {"session": "desk"}),
        Request("checkpoint.list", {"session": "desk"}),
        Request("checkpoint.get", {"checkpoint": 1}, 404),
        Request("chunk.get", {"digests": ["5" * 64]}),
        at("task.suspend", "exec:desk@1", 1, actions=[callback("exec:desk@1:input:1", "exec:desk@1")]),
        listen("exec:desk@1:input:1", "https://hooks.example/taken"),
        Request("promise.settle", settle("exec:desk@1:input:1")),
        Advance(0),  # whoever asks in the transaction that sends a message to a URL does not see it yet
        Request("listener.claim", {"limit": 1}),
        *(Request("listener.end", {"post": post}) for post in range(1, 4)),
        acquire("exec:desk@1", 1),
        fulfill("exec:desk@1", 2),
        Request("promise.settle", settle("exec:f.4", "rejected_canceled")),
        acquire("exec:desk@2"),
        Request("session.give", {"session": "desk", "epoch": 1}),
        Request("session.take", {"session": "desk", "engine": "e1"}),
        Request("checkpoint.label", {"checkpoint": 2, "label": "kept"}),
        Request("sweep.checkpoints", {"keep": {"last": 1}}),
        Request("checkpoint.drop", {"checkpoint": 2}),
        Request("session.take", {"session": "haunted", "engine": "e1"}),
        Request("session.get", {"session": "haunted"}),
        Request("session.open", {"session": "short", "engine": "e1", "options": {}}),
        cell("short", engine="e1", ttl=600_000),
        Request("session.close", {"session": "short"}),
    ]


def _permissions() -> list[Step]:
    call = promise("exec:desk@1:now:1", resonate_external="true", durable_capability="now")
    made = {"session": "desk", "epoch": 1, "awaiter": "exec:desk@1", "promise": call}
    entry = ("desk", "desk@1", "fetch", "example.com:443", "denied", "not granted", 1, 1)
    one = {"namespace": "session/desk", "key": "a"}
    return [
        Request("policy.set", {"name": "desk", "before": 0, "document": {"grants": []}}),
        Request("policy.set", {"name": "desk", "before": 0, "document": {}}, 409),
        Request("policy.get", {"name": "desk"}),
        Request("call.create", {**made, "policy": 0}),
        Request("call.create", {**made, "policy": 1, "settle": settle("exec:desk@1:now:1")}),
        Request("audit.append", {"entries": [entry]}),
        Request("audit.list", {"who": "desk"}),
        Request("sweep.audit", {"before": 0}),
        Request("kv.set", {**one, "value": "1", "quota": 10}),
        Request("kv.set", {**one, "value": "1" * 20, "quota": 10}, 413),
        Request("kv.set", {"namespace": "shared", "key": "b", "value": "2", "quota": 10}),
        Request("kv.get", one),
        Request(
            "kv.write",
            {"namespace": "shared", "quota": 99, "put": {"c": "1"}, "fill": {"b": "3", "d": "4"}, "delete": ["x"]},
        ),
        Request("kv.write", {"namespace": "shared", "quota": 5, "put": {"e": "1", "f": "1" * 20}}, 413),
        Request("kv.list", {"namespace": "session/desk"}),
        Request("kv.usage", {"namespace": "session/desk"}),
        Request("kv.delete", {"namespace": "shared", "key": "b", "value": "3"}),
        Request("kv.delete", {"namespace": "shared", "key": "b"}),
    ]


def _people() -> list[Step]:
    question = "exec:desk@1:input:2"
    call = promise(question, resonate_external="true", durable_capability="input")
    answers = [
        {"prompt": question, "answer": promise(f"{question}.{who}"), "value": {"data": "e30="}, "others": others}
        for others, who in enumerate(("ana", "ben"))
    ]
    return [
        Request("call.create", {"session": "desk", "epoch": 1, "awaiter": "exec:desk@1", "promise": call}),
        Request("prompt.answer", {**answers[0], "others": 3}, 409),
        Request("prompt.answer", answers[0]),
        Request("prompt.answer", answers[0]),
        Request("prompt.answer", {**answers[1], "settle": settle(question)}),
        Request("prompt.answer", {**answers[1], "prompt": "exec:desk@1:input:1"}, 400),
    ]


def _by_itself() -> list[Step]:
    target = {"resonate:target": "poll://any@g", "durable:function": FUNCTION}
    schedule = {
        "id": "tick",
        "cron": EVERY_MINUTE,
        "promiseId": "exec:tick-{{.timestamp}}",
        "promiseTimeout": MINUTE_MS,
    }
    awaited = "exec:times-out"
    return [
        Request("schedule.create", {**schedule, "promiseTags": target}),
        Request("schedule.get", {"id": "tick"}),
        Request("schedule.search", {}),
        Request("function.alias", {"old": "app.py::job", "new": "jobs::work", "source": "/app/jobs.py"}),
        Request("function.alias", {"old": "jobs::work", "new": FUNCTION, "after": "exec:f"}),
        Request("function.alias", {"old": "jobs::work@1", "new": FUNCTION}),
        make("times-out", timeout_at=T0 + 30_000, **{"durable_tag:customer": "c7"}),
        make("waits"),
        acquire("exec:waits"),
        at("task.suspend", "exec:waits", 1, actions=[callback(awaited, "exec:waits")]),
        listen(awaited, "poll://uni@g/e1"),
        listen(awaited, "poll://uni@g/far"),
        make("lease-ends"),
        acquire("exec:lease-ends", ttl=20_000),
        make("delayed", resonate_delay=str(T0 + 40_000)),
        Advance(45_000),
        Advance(MINUTE_MS),
        Advance(6 * MINUTE_MS),
        Request("schedule.delete", {"id": "tick"}),
    ]


def recorded(promise_id: str, state: str = "resolved", **options: Any) -> dict[str, Any]:
    """A promise as a record has it."""
    data = {**promise(promise_id, **options), "state": state, "value": {}, "createdAt": T0 - 9_000}
    return data if state == "pending" else {**data, "value": {"data": "Mg=="}, "settledAt": T0 - 8_000}


def _imported() -> list[Step]:
    one = recorded("exec:moved", "pending", target="poll://any@g", durable_function=FUNCTION)
    under = [
        recorded("exec:moved.1", resonate_branch="exec:moved"),
        recorded("exec:moved.2", target="poll://any@g", durable_session="desk", durable_function=CELL),
        recorded("exec:moved.3", "pending", timeout_at=T0 + 10**9, target="poll://any@g", resonate_timer="true"),
        recorded("exec:moved:input:1", "pending", resonate_external="true", durable_capability="input"),
    ]
    other = recorded("exec:other", "rejected", target="poll://any@g", durable_function=FUNCTION)
    twice = {"promises": [other, *[recorded("exec:other.1")] * 2], "starts": 1}
    return [
        Request("execution.import", {"promises": [one, *under], "starts": 3}),
        Request("execution.import", {"promises": [one], "starts": 3}, 409),
        Request("execution.import", twice, 400),
        Request("execution.import", {"promises": [other], "starts": 3, "lost": True}),
        Request(
            "execution.import",
            {
                "promises": [recorded("exec:cleans-up", "pending", target="poll://any@g", durable_function=FUNCTION)],
                "starts": 1,
                "cancelled": "why",
                "logged": "{}",
            },
        ),
        Request("execution.source", {"id": "exec:moved", "source": "/app/jobs.py"}),
        Request("execution.tag", {"id": "exec:moved", "tags": {"customer": "c7", "shop": "x"}}),
        Request("execution.tag", {"id": "exec:moved", "tags": {"customer": "c8", "shop": None}}),
        Request("execution.tag", {"id": "exec:moved", "tags": {"customer": "c" * 300}}, 400),
        Request("execution.tag", {"id": "exec:nowhere", "tags": {}}, 404),
        Request("execution.source", {"id": "exec:other", "source": "/app/jobs.py"}),
        _rewound("later", ["exec:moved:input:1", "exec:moved.1"], 412),
        _rewound("rewound", ["exec:moved:input:1", "exec:moved.3"], 200),
        _rewound("twice", [], 412),
    ]


def _rewound(name: str, still_open: list[str], status: int) -> Request:
    """Another execution takes the place of `exec:moved`, which has to have so much open."""
    root = recorded(f"exec:{name}", "pending", target="poll://any@g", durable_function=FUNCTION)
    place = {"id": "exec:moved", "reason": "rewound", "open": still_open}
    return Request("execution.import", {"promises": [root], "starts": 1, "begins": True, "rewinds": place}, status)


def _actors() -> list[Step]:
    """Mail, a turn with its state, a stop, a restart, topics."""
    actor = {"actor": "actor~Cart~ana"}
    made = {**actor, "kind": "Cart", "key": "ana"}
    tags = {"resonate:target": "poll://any@g", "durable:function": FUNCTION}
    mail = {**made, "promise": {"timeoutAt": TIME_MAX_MS, "tags": tags, "param": {"data": "eA=="}}}
    first = "exec:actor~Cart~ana@1"
    task = {"id": first, "version": 1, "action": {"kind": "promise.settle", "data": settle(first)}}
    return [
        Request("actor.send", {**mail, "engine": "e1", "ttl": 60_000, "parent": "actor~Crew~day"}),
        Request("actor.send", {**mail, "id": "once"}),
        Request("actor.send", {**mail, "capacity": 1}),
        Request(
            "actor.fulfill",
            {**made, "task": task, "state": "{}", "version": 1, "restarts": [1.0], "restarted": 1, "journal": "a"},
        ),
        Request("actor.subscribe", {**made, "pattern": "a.*", "method": "add"}),
        Request("actor.subscriptions", {}),
        Request("actor.stop", {**actor, "note": "closing"}),
        Request("actor.send", mail),
        Request("actor.letters", {}),
        Request("actor.restart", {**actor, "reset": True}),
        Request("actor.get", actor),
        Request("actor.list", {}),
        Request("actor.subscribe", {**made, "pattern": "a.*", "method": None}),
        Request("actor.journal", actor),
        Request("actor.delete", actor, 409),
        Request("actor.stop", {**actor, "note": "over"}),
        Request("sweep.actors", {"before": TIME_MAX_MS, "dry_run": True}),
        Request("actor.delete", {**actor, "force": True}),
        Request("actor.send", {**mail, "actor": "actor~Cart~bob", "key": "bob"}),
        Request("actor.stop", {"actor": "actor~Cart~bob", "note": "closed", "force": True}),
        Request("actor.delete", {"actor": "actor~Cart~bob"}),
        Request("actor.send", {**mail, "actor": "actor~Cart~cleo", "key": "cleo"}),
        Request("actor.stop", {"actor": "actor~Cart~cleo", "note": "closed", "force": True}),
        Request("actor.send", {**mail, "actor": "actor~Cart~dora", "key": "dora"}),
        Request("actor.stop", {"actor": "actor~Cart~dora", "note": "closed", "force": True}),
        Request("actor.restart", {"actor": "actor~Cart~dora", "reset": False}),
        Request("sweep.actors", {"before": TIME_MAX_MS}),
    ]


def _queues() -> list[Step]:
    """Entries that begin at once, wait, are delayed, held, withdrawn; limits that are reached; a drained queue."""
    queue = {"queue": "mail"}

    def put(name: str, status: int = 200, **more: Any) -> Request:
        promise = root(name, durable_queue="mail")
        return Request("queue.enqueue", {**queue, "promise": promise, **more}, status)

    limits = {"concurrency": 2, "per_engine": 2, "per_key": 1, "rate": (3, 1_000)}
    return [
        Request("queue.declare", {**queue, "limits": {"concurrency": 1}}),
        Request("queue.set", {**queue, "limits": limits, "changes": sorted(limits)}),
        put("mailed", engine="e1", ttl=600_000),
        put("second", key="k"),
        put("third", key="k"),
        put("fourth", key="k", priority=3),
        put("later", delay_ms=500, dedupe="d"),
        put("later-again", dedupe="d"),
        put("typed", dedupe="t", debounce_ms=200, debounce_max_ms=300),
        put("typed-again", dedupe="t", debounce_ms=200),
        Request("task.halt", {"id": "exec:third"}),
        Request("task.halt", {"id": "exec:later"}),
        Request("task.continue", {"id": "exec:third"}),
        Request("task.continue", {"id": "exec:later"}),
        Request("execution.cancel", {"id": "exec:third"}),
        acquire("exec:third", status=409),
        acquire("exec:fourth", status=409),
        acquire("exec:second", pid="e1"),
        fence("exec:second", 1, "promise.create", promise("exec:second.1", resonate_external="true")),
        at("task.suspend", "exec:second", 1, actions=[callback("exec:second.1", "exec:second")]),
        Request("function.alias", {"old": FUNCTION, "new": "app.py::task"}),
        Request("function.alias", {"old": "app.py::task", "new": FUNCTION}),
        fulfill("exec:mailed", 1),
        Request("promise.settle", settle("exec:second.1")),
        Advance(700),
        Request("queue.turn", {**queue, "event": "pause"}),
        Request("promise.settle", settle("exec:second")),
        Request("queue.turn", {**queue, "event": "drain"}),
        put("late", 409),
        Advance(1_000),
        Request("queue.turn", {**queue, "event": "resume"}),
        Request("queue.get", queue),
        Request("queue.set", {**queue, "limits": {}, "changes": ["per_key", "rate"]}),
        *(put(f"bulk-{n}", key="bulk") for n in range(3)),
        *(Request("promise.settle", settle(f"exec:{name}")) for name in ("fourth", "later", "typed")),
        *(Request("promise.settle", settle(f"exec:bulk-{n}")) for n in range(3)),
    ]


def _queued_retries() -> list[Step]:
    """A retry that waits for its place, and then begins a child and a timer; a rewind that takes a place over."""
    queue = {"queue": "again"}
    place = {"durable_queue": "again", "durable_queue-key": "k", "durable_queue-priority": "2"}

    def put(name: str, **more: Any) -> Request:
        return Request("queue.enqueue", {**queue, "promise": root(name, **place), **more})

    def made(name: str, status: int, **more: Any) -> Request:
        tags = {"durable_function": FUNCTION, "durable_from": "fails", "durable_queue-dedupe": "w", **place}
        link = {"durable_child": f"exec:{name}@@1", "durable_target": "poll://any@g", "durable_until": str(T0 + 10**9)}
        under = [
            recorded(f"exec:{name}.1", "pending", resonate_external="true", durable_function=FUNCTION, **link),
            recorded(f"exec:{name}.2", "pending", target="poll://any@g", resonate_timer="true")
            | {"tags": {"resonate:timer": "true", "resonate:target": "poll://any@g", "durable:whole-time": "500"}},
            recorded(f"exec:{name}.3"),
        ]
        promises = [recorded(f"exec:{name}", "pending", target="poll://any@g", **tags), *under]
        return Request("execution.import", {"promises": promises, "starts": 1, "begins": True, **more}, status)

    rewinds = {"id": "exec:goes-on", "reason": "rewound", "open": []}
    return [
        Request("queue.declare", {**queue, "limits": {"concurrency": 1}}),
        put("fails", dedupe="w"),
        put("goes-on"),
        Request("promise.settle", settle("exec:fails", "rejected")),
        made("fails-retry-1", 200, retries={"id": "exec:fails"}),
        made("fails-retry-2", 412, retries={"id": "exec:fails"}),
        made("no-retry", 404, retries={"id": "exec:nowhere"}),
        made("same-word", 422),
        made("fails-retry-1", 409),
        made("goes-on-rewind-1", 200, rewinds=rewinds),
        Request("promise.settle", settle("exec:goes-on-rewind-1")),
        Advance(700),
        Request("promise.settle", settle("exec:fails-retry-1")),
        Request("queue.delete", queue),
    ]


def _schedules() -> list[Step]:
    """Ticks that find an execution going on, a pause, ticks by hand and of the past."""
    tags = {"resonate:target": "poll://any@g", "durable:function": FUNCTION}

    def put(name: str, overlap: str, **more: Any) -> Request:
        plan = {"id": name, "cron": "@every 1s", "promiseId": "exec:{{.id}}-{{.timestamp}}", "promiseTimeout": 10**12}
        return Request("schedule.put", {"schedule": {**plan, "promiseTags": tags}, "overlap": overlap, **more})

    return [
        *(put(f"every-{overlap}", overlap) for overlap in ("skip", "queue", "cancel")),
        put("jitters", "queue", jitterMs=900),
        Advance(1_000),
        Advance(1_000),
        put("every-skip", "skip", paused=True),
        Request("schedule.pause", {"id": "every-queue", "paused": True}),
        Request("schedule.pause", {"id": "every-skip", "paused": False}),
        Request("schedule.trigger", {"id": "every-queue"}),
        Request("schedule.backfill", {"id": "every-queue", "since": T0, "until": T0 + 3_000}),
        Request("schedule.list", {}),
        put("every-skip", "queue"),  # behind the one that goes on, which no queue knows
        Request("schedule.trigger", {"id": "every-skip"}),
        *(Request("schedule.delete", {"id": f"every-{overlap}"}) for overlap in ("skip", "queue", "cancel")),
        Request("schedule.delete", {"id": "jitters"}),
    ]


def _leaving() -> list[Step]:
    return [
        make("cancelled"),
        acquire("exec:cancelled", pid="e1"),
        Request("execution.cancel", {"id": "exec:cancelled", "reason": "enough", "grace_ms": 1_000}),
        Advance(1_000),
        make("left"),
        acquire("exec:left", pid="e1"),
        join("e2"),
        Request("engine.move", {"engine": "e2"}),
        Request("engine.lost", {"engine": "e2"}),
        Request("engine.leave", {"engine": "e1"}),
        make("nobody-serves-it"),
        Request("sweep.executions", {"before": T0 + 60 * MINUTE_MS}),
        Request("sweep.messages", {}),
    ]
