"""The oracle itself: tasks, leases, fences, suspension."""

from __future__ import annotations

import pytest

from .oracle import TASK_MOVES, Oracle
from .test_oracle_promises import EXTERNAL, T0, TARGET, create, status_of
from .wire import TASK_STATES, Json

FAR = T0 + 10**9


def held(oracle: Oracle, task_id: str = "a", tags: Json | None = None, ttl: int = 50) -> None:
    """A new task, acquired at version 1."""
    create(oracle, task_id, TARGET | (tags or {}), FAR)
    acquire = {"id": task_id, "version": 0, "pid": "p", "ttl": ttl}
    assert status_of(oracle, "task.acquire", acquire) == 200


def task_of(oracle: Oracle, task_id: str = "a", now: int = T0) -> Json:
    status, data = oracle.request("task.get", {"id": task_id}, now)
    assert status == 200
    assert isinstance(data, dict)
    record: Json = data["task"]
    return record


def suspend(oracle: Oracle, *awaited: str, task_id: str = "a", version: int = 1, now: int = T0) -> int:
    pairs = [{"awaited": promise_id, "awaiter": task_id} for promise_id in awaited]
    actions = [{"kind": "promise.register_callback", "head": {}, "data": pair} for pair in pairs]
    return status_of(oracle, "task.suspend", {"id": task_id, "version": version, "actions": actions}, now)


def fence(kind: str, data: Json, version: int = 1) -> Json:
    return {"id": "a", "version": version, "action": {"kind": kind, "head": {}, "data": data}}


def test_the_table_never_leaves_fulfilled_and_names_only_states() -> None:
    assert {state for state, _ in TASK_MOVES} | set(TASK_MOVES.values()) == set(TASK_STATES)
    assert "fulfilled" not in {state for state, _ in TASK_MOVES}


def test_only_acquire_bumps_the_version() -> None:
    oracle = Oracle()
    held(oracle)
    assert task_of(oracle) == {"id": "a", "state": "acquired", "version": 1, "resumes": 0, "ttl": 50, "pid": "p"}
    assert status_of(oracle, "task.release", {"id": "a", "version": 1}) == 200
    assert oracle.pushed == [], "a released task waits"
    assert task_of(oracle) == {"id": "a", "state": "pending", "version": 1, "resumes": 0}
    assert status_of(oracle, "task.acquire", {"id": "a", "version": 0, "pid": "q", "ttl": 1}) == 409
    assert status_of(oracle, "task.acquire", {"id": "a", "version": 1, "pid": "q", "ttl": 1}) == 200
    assert task_of(oracle)["version"] == 2


def test_a_lease_ends_inclusively_at_a_sweep_unless_its_owner_beats() -> None:
    oracle = Oracle()
    held(oracle)
    beat = {"pid": "p", "tasks": [{"id": "a", "version": 1}, {"id": "a:9", "version": 0}]}
    assert status_of(oracle, "task.heartbeat", beat, T0 + 10) == 200
    assert status_of(oracle, "task.heartbeat", beat | {"pid": "q"}, T0 + 40) == 200
    assert status_of(oracle, "debug.tick", {"time": T0 + 59}, T0 + 59) == 200
    assert task_of(oracle)["state"] == "acquired"
    assert status_of(oracle, "debug.tick", {"time": T0 + 60}, T0 + 60) == 200
    assert task_of(oracle) == {"id": "a", "state": "pending", "version": 1, "resumes": 0}
    assert oracle.pushed == []
    assert status_of(oracle, "task.heartbeat", {"pid": "p", "tasks": []}) == 400
    mixed = [{"id": "a", "version": 1}, {"id": "b", "version": 1}]
    assert status_of(oracle, "task.heartbeat", {"pid": "p", "tasks": mixed}) == 400


def test_suspend_wakes_once_and_counts_what_settles_afterwards() -> None:
    oracle = Oracle()
    held(oracle)
    for promise_id in ("a:1", "a:2", "a:3"):
        create(oracle, promise_id, EXTERNAL)
    assert suspend(oracle, "a:1", "a:2", "a:3") == 200
    assert task_of(oracle) == {"id": "a", "state": "suspended", "version": 1, "resumes": 0}
    status_of(oracle, "promise.settle", {"id": "a:1", "state": "resolved"})
    assert [message["kind"] for _, message in oracle.pushed] == ["execute"]
    status_of(oracle, "promise.settle", {"id": "a:2", "state": "resolved"})
    assert oracle.pushed == []
    assert task_of(oracle) == {"id": "a", "state": "pending", "version": 1, "resumes": 2}
    assert status_of(oracle, "task.acquire", {"id": "a", "version": 1, "pid": "p", "ttl": 500}) == 200
    assert task_of(oracle)["resumes"] == 0
    assert suspend(oracle, "a:2", "a:3", version=2) == 300
    assert task_of(oracle)["state"] == "acquired"
    assert suspend(oracle, "a:3", version=2, now=T0 + 100) == 300, "its deadline has come"


@pytest.mark.parametrize(
    ("awaited", "status"),
    [((), 400), (("a",), 400), (("b:1",), 400), (("a:1", "a:1"), 400), (("a:9",), 422), (("a:2",), 422)],
)
def test_suspend_refuses_what_could_never_wake_it(awaited: tuple[str, ...], status: int) -> None:
    oracle = Oracle()
    held(oracle)
    create(oracle, "a:1", EXTERNAL)
    create(oracle, "a:2")
    create(oracle, "b:1", EXTERNAL)
    assert suspend(oracle, *awaited) == status
    assert task_of(oracle)["state"] == "acquired"
    assert oracle.callbacks == set()


def test_suspend_is_fenced() -> None:
    oracle = Oracle()
    held(oracle)
    create(oracle, "a:1", EXTERNAL)
    assert suspend(oracle, "a:1", version=0) == 409
    assert suspend(oracle, "a:1", task_id="a:2") == 404
    assert suspend(oracle, "a:1") == 200
    assert suspend(oracle, "a:1") == 409


def test_fulfil_settles_its_own_promise_only_and_only_while_held() -> None:
    oracle = Oracle()
    held(oracle)
    settle = {"id": "a", "state": "resolved", "value": {"data": "MQ=="}}
    assert status_of(oracle, "task.fulfill", fence("promise.settle", settle | {"id": "b"})) == 400
    assert status_of(oracle, "task.fulfill", fence("promise.settle", settle, version=2)) == 409
    assert status_of(oracle, "task.fulfill", fence("promise.settle", settle)) == 200
    assert status_of(oracle, "task.fulfill", fence("promise.settle", settle)) == 409
    assert oracle.snapshot()["promises"][0]["value"] == {"data": "MQ=="}
    assert task_of(oracle) == {"id": "a", "state": "fulfilled", "version": 1, "resumes": 0}


def test_a_fence_does_one_action_while_held() -> None:
    oracle = Oracle()
    held(oracle)
    child = {"id": "a:1", "timeoutAt": FAR}
    status, data = oracle.request("task.fence", fence("promise.create", child), T0)
    assert status == 200
    assert isinstance(data, dict)
    assert data["action"]["data"]["promise"]["id"] == "a:1"
    assert data["preload"] == []
    assert status_of(oracle, "task.fence", fence("promise.settle", {"id": "a:1", "state": "resolved"})) == 200
    status, data = oracle.request("task.fence", fence("promise.settle", {"id": "a:2", "state": "resolved"}), T0)
    assert status == 200
    assert isinstance(data, dict)
    assert data["action"]["head"] == {"status": 404}
    assert status_of(oracle, "task.fence", fence("promise.create", child | {"id": "a"})) == 400
    assert status_of(oracle, "task.fence", fence("promise.get", child)) == 400
    assert status_of(oracle, "task.fence", fence("promise.create", child | {"id": "a:3"}, version=2)) == 409
    assert "a:3" not in oracle.promises


def test_create_acquires_what_is_new_or_pending() -> None:
    oracle = Oracle()
    action = {"kind": "promise.create", "data": {"id": "a", "timeoutAt": FAR, "tags": TARGET}}
    request = {"pid": "p", "ttl": 5, "action": action}
    status, data = oracle.request("task.create", request, T0)
    assert status == 200
    assert isinstance(data, dict)
    assert (data["task"]["state"], data["task"]["version"], data["preload"]) == ("acquired", 1, [])
    assert oracle.pushed == []
    assert status_of(oracle, "task.create", request) == 409
    assert status_of(oracle, "debug.tick", {"time": T0 + 5}, T0 + 5) == 200
    assert status_of(oracle, "task.create", request) == 200
    assert task_of(oracle)["version"] == 2
    status_of(oracle, "promise.settle", {"id": "a", "state": "rejected"})
    assert status_of(oracle, "task.create", request) == 200
    assert task_of(oracle)["state"] == "fulfilled"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"tags": {}}, 400),
        ({"tags": TARGET | {"resonate:delay": "1"}}, 400),
        ({"id": "plain"}, 422),
        ({"id": "b"}, 200),
    ],
)
def test_create_needs_a_target_without_delay_and_no_plain_promise(changed: Json, status: int) -> None:
    oracle = Oracle()
    create(oracle, "plain")
    create_data = {"id": "a", "timeoutAt": FAR, "tags": TARGET} | changed
    request = {"pid": "p", "ttl": 5, "action": {"kind": "promise.create", "head": {}, "data": create_data}}
    assert status_of(oracle, "task.create", request) == status


def test_halt_stops_any_task_and_continue_makes_it_pending() -> None:
    oracle = Oracle()
    held(oracle)
    create(oracle, "a:1", EXTERNAL)
    assert suspend(oracle, "a:1") == 200
    assert status_of(oracle, "task.continue", {"id": "a"}) == 409
    for _ in range(2):
        assert status_of(oracle, "task.halt", {"id": "a"}) == 200
    status_of(oracle, "promise.settle", {"id": "a:1", "state": "resolved"})
    assert task_of(oracle) == {"id": "a", "state": "halted", "version": 1, "resumes": 1}
    assert status_of(oracle, "task.continue", {"id": "a"}) == 200
    assert task_of(oracle) == {"id": "a", "state": "pending", "version": 1, "resumes": 1}
    status_of(oracle, "promise.settle", {"id": "a", "state": "resolved"})
    assert status_of(oracle, "task.halt", {"id": "a"}) == 409
    assert status_of(oracle, "task.halt", {"id": "b"}) == 404


@pytest.mark.parametrize("tags", [{"resonate:timer": "true"}, {"resonate:delay": str(T0 + 5)}])
def test_timers_and_delayed_tasks_are_not_dispatched(tags: Json) -> None:
    oracle = Oracle()
    create(oracle, "a", TARGET | tags)
    assert oracle.pushed == []
    assert task_of(oracle)["state"] == "pending"


def test_preload_is_the_rest_of_the_branch() -> None:
    oracle = Oracle()
    branch = {"resonate:branch": "a"}
    for promise_id in ("a:2", "a:1"):
        create(oracle, promise_id, branch)
    create(oracle, "a:3", {"resonate:branch": "a:3"})
    create(oracle, "a", TARGET | branch)
    status, data = oracle.request("task.acquire", {"id": "a", "version": 0, "pid": "p", "ttl": 5}, T0)
    assert status == 200
    assert isinstance(data, dict)
    assert [promise["id"] for promise in data["preload"]] == ["a:1", "a:2"]
