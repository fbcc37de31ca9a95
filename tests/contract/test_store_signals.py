"""Signals against a plain model: every signal is taken once, in order, by the first wait in line (specs/signals.md)."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contract.opened import Clock, acquire, opened, promise, root, settle, status

NAMES = ("a", "b")


@dataclass
class Model:
    """What an execution has of signals: values that lie there, waits in line, keys that were used."""

    open: dict[str, deque[str]] = field(default_factory=lambda: {name: deque() for name in NAMES})
    line: dict[str, deque[str]] = field(default_factory=lambda: {name: deque() for name in NAMES})
    keys: set[tuple[str, str]] = field(default_factory=set)
    settled: dict[str, str] = field(default_factory=dict)

    def send(self, name: str, data: str, key: str | None) -> bool:
        if key is not None and (name, key) in self.keys:
            return False
        if key is not None:
            self.keys.add((name, key))
        if self.line[name]:
            self.settled[self.line[name].popleft()] = data
        else:
            self.open[name].append(data)
        return True

    def wait(self, name: str, promise_id: str) -> None:
        if self.open[name]:
            self.settled[promise_id] = self.open[name].popleft()
        else:
            self.line[name].append(promise_id)

    def give_up(self, name: str, promise_id: str) -> None:
        self.line[name].remove(promise_id)


def wait_for(promise_id: str, name: str, **options: Any) -> dict[str, Any]:
    tags: dict[str, Any] = {"durable_signal": name, "durable_execution": "exec:run", "resonate_external": "true"}
    data = promise(promise_id, **tags, **options)
    return {"id": "exec:run", "version": 1, "action": {"kind": "promise.create", "data": data}}


async def test_random_signals_and_waits_are_as_the_model_has_them(tmp_path: Path) -> None:
    chance = random.Random(20)
    model, waits = Model(), 0
    async with opened(tmp_path / "s.db", clock=Clock()) as store:
        await store.request("promise.create", root("run"))
        await acquire(store, "run")
        for n in range(300):
            name = chance.choice(NAMES)
            match chance.choice(["send", "send", "wait", "wait", "give up"]):
                case "send":
                    key = chance.choice([None, None, str(chance.randrange(20))])
                    data: dict[str, Any] = {
                        "execution": "exec:run",
                        "name": name,
                        "value": {"data": f"v{n}"},
                        "key": key,
                    }
                    sent = (await store.request("signal.send", data)).data["sent"]
                    assert sent == model.send(name, f"v{n}", key)
                case "wait":
                    waits += 1
                    answer = await store.request("task.fence", wait_for(f"exec:run.{waits}", name))
                    model.wait(name, f"exec:run.{waits}")
                    record = answer.data["action"]["data"]["promise"]
                    assert record["value"].get("data") == model.settled.get(f"exec:run.{waits}")
                case _ if model.line[name]:
                    given_up = chance.choice(list(model.line[name]))
                    await store.request("promise.settle", settle(given_up, "rejected_canceled"))
                    model.give_up(name, given_up)
            look = (await store.request("signal.look", {"execution": "exec:run", "name": name})).data
            assert look["open"] == len(model.open[name])
            assert (look["wait"] or {}).get("id") == (model.line[name][0] if model.line[name] else None)
        for promise_id, value in model.settled.items():
            found = (await store.request("promise.get", {"id": promise_id})).data["promise"]
            assert (found["state"], found["value"]["data"]) == ("resolved", value)


async def test_a_wait_whose_deadline_passes_leaves_the_line(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("run"))
        await acquire(store, "run", ttl=10**9)
        await store.request("task.fence", wait_for("exec:run.1", "a", timeout_at=clock.now + 10))
        await store.request("task.fence", wait_for("exec:run.2", "a"))
        clock.now += 10
        sent = await store.request("signal.send", {"execution": "exec:run", "name": "a", "value": {"data": "v"}})
        assert sent.data == {"sent": True, "wait": "exec:run.2", "look": None}
        promises = [(await store.request("promise.get", {"id": f"exec:run.{n}"})).data["promise"] for n in (1, 2)]
        assert [each["state"] for each in promises] == ["rejected_timedout", "resolved"]


async def test_a_wait_takes_what_was_checked_against_its_schema(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("run"))
        await acquire(store, "run")
        signal = {"execution": "exec:run", "name": "a", "value": {"data": "v"}}
        nothing = {"sent": True, "wait": None, "look": None}
        assert (await store.request("signal.send", {**signal, "fits": "first"})).data == nothing, "nobody waits"
        for n, param in enumerate(["first", None, "first", "second"], 1):
            wait = wait_for(f"exec:run.{n}", "a")
            wait["action"]["data"]["param"] = {} if param is None else {"data": param}
            await store.request("task.fence", wait)  # the first takes what lies there
        taken = {"sent": True, "wait": "exec:run.2", "look": None}
        assert (await store.request("signal.send", {**signal, "fits": "second"})).data == taken, "it has no schema"
        for fits in ("", "second"):
            data = (await store.request("signal.send", {**signal, "fits": fits})).data
            look = data.pop("look")
            assert data == {"sent": False, "wait": None}
            assert (look["id"], look["state"], look["param"]) == ("exec:run.3", "pending", {"data": "first"})
        sent = (await store.request("signal.send", {**signal, "fits": "first"})).data
        assert sent == {"sent": True, "wait": "exec:run.3", "look": None}
        sent = (await store.request("signal.send", signal)).data
        assert sent == {"sent": True, "wait": "exec:run.4", "look": None}, "nothing is to be checked"


async def test_what_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("run"))
        await acquire(store, "run")
        signal: dict[str, Any] = {"execution": "exec:run", "name": "a"}
        assert await status(store, "signal.send", {**signal, "execution": "exec:other"}) == 404
        assert await status(store, "signal.send", {**signal, "name": ""}) == 400
        assert await status(store, "signal.send", {**signal, "name": "x" * 201}) == 400
        await store.request("session.open", {"session": "desk", "engine": None, "options": {}})
        cell = {"timeoutAt": 2**50, "tags": {"resonate:target": "poll://any@g", "durable:function": "cell@1"}}
        await store.request("cell.submit", {"session": "desk", "promise": cell})
        assert await status(store, "signal.send", {**signal, "execution": "exec:desk@1"}) == 404
        stranger = wait_for("exec:run.1", "a")
        stranger["action"]["data"]["tags"]["durable:execution"] = "exec:ru"
        assert await status(store, "task.fence", stranger) == 400
        await store.request("promise.settle", settle("exec:run"))
        assert await status(store, "signal.send", signal) == 409
