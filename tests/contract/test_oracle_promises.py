"""The oracle itself: promises, their deadlines, callbacks and listeners."""

from __future__ import annotations

import pytest

from .oracle import Oracle
from .wire import Json

T0 = 1_000_000
TARGET = {"resonate:target": "poll://any@g"}
EXTERNAL = {"resonate:external": "true"}


def create(
    oracle: Oracle, promise_id: str, tags: Json | None = None, timeout_at: int = T0 + 100, now: int = T0
) -> Json:
    status, data = oracle.request(
        "promise.create", {"id": promise_id, "timeoutAt": timeout_at, "tags": tags or {}}, now
    )
    assert status == 200, data
    assert isinstance(data, dict)
    record: Json = data["promise"]
    return record


def snapshot(oracle: Oracle, now: int = T0) -> Json:
    status, data = oracle.request("debug.snap", {}, now)
    assert status == 200
    assert isinstance(data, dict)
    return data


def status_of(oracle: Oracle, kind: str, data: object, now: int = T0) -> int:
    return oracle.request(kind, data, now)[0]


def test_a_created_promise_is_returned_as_recorded_and_the_first_create_wins() -> None:
    oracle = Oracle()
    first = create(oracle, "a", {"k": "1"})
    assert first == {
        "id": "a",
        "state": "pending",
        "param": {},
        "value": {},
        "tags": {"k": "1"},
        "timeoutAt": T0 + 100,
        "createdAt": T0,
    }
    assert create(oracle, "a", {"k": "2"}, T0 + 200) == first


@pytest.mark.parametrize(
    ("promise_id", "tags", "status"),
    [
        ("exec:run", {"resonate:origin": "exec", "resonate:branch": "exec:run", "resonate:parent": "exec:run"}, 200),
        ("exec:run.1", {"resonate:origin": "exec", "resonate:parent": "exec:run"}, 200),
        ("exec:run:input:1", {"resonate:origin": "exec", "resonate:parent": "exec"}, 200),
        ("exec:run:1", {"resonate:parent": "exec:run"}, 400),
        ("exec.run", {"resonate:parent": "exec"}, 400),
        ("executive", {"resonate:origin": "exec"}, 400),
        ("exec:run.1", {"resonate:origin": "exec:run"}, 400),
        ("a", {"resonate:delay": "soon"}, 400),
        ("a", {"resonate:target": ""}, 400),
        ("a", {"k": 1}, 400),
        (":a", {}, 400),
        ("", {}, 400),
    ],
)
def test_ids_extend_the_ancestors_that_their_tags_declare(promise_id: str, tags: Json, status: int) -> None:
    assert status_of(Oracle(), "promise.create", {"id": promise_id, "timeoutAt": T0 + 1, "tags": tags}) == status


@pytest.mark.parametrize(("tags", "state"), [({}, "rejected_timedout"), ({"resonate:timer": "true"}, "resolved")])
def test_a_deadline_is_inclusive_and_is_the_time_of_settling(tags: Json, state: str) -> None:
    oracle = Oracle()
    create(oracle, "a", tags)
    assert snapshot(oracle, T0 + 99)["promises"][0]["state"] == "pending"
    assert snapshot(oracle, T0 + 100)["promises"][0]["state"] == state
    _, data = oracle.request("promise.settle", {"id": "a", "state": "rejected"}, T0 + 150)
    assert isinstance(data, dict)
    assert (data["promise"]["state"], data["promise"]["settledAt"]) == (state, T0 + 100)


def test_a_promise_can_be_born_settled_and_its_task_fulfilled() -> None:
    oracle = Oracle()
    record = create(oracle, "a", TARGET, T0)
    assert (record["state"], record["createdAt"], record["settledAt"]) == ("rejected_timedout", T0, T0)
    assert oracle.snapshot()["tasks"] == [{"id": "a", "state": "fulfilled", "version": 0, "resumes": 0}]
    assert oracle.pushed == []


def test_settling_twice_echoes_the_first() -> None:
    oracle = Oracle()
    create(oracle, "a")
    value = {"data": "MQ==", "headers": {"h": "1"}}
    _, first = oracle.request("promise.settle", {"id": "a", "state": "resolved", "value": value}, T0 + 1)
    assert isinstance(first, dict)
    assert (first["promise"]["value"], first["promise"]["settledAt"]) == (value, T0 + 1)
    assert oracle.request("promise.settle", {"id": "a", "state": "rejected"}, T0 + 2) == (200, first)
    assert status_of(oracle, "promise.settle", {"id": "b", "state": "resolved"}) == 404
    assert status_of(oracle, "promise.settle", {"id": "a", "state": "rejected_timedout"}) == 400


def test_settling_cascades_to_task_awaiters_and_listeners() -> None:
    oracle = Oracle()
    create(oracle, "a:1", TARGET)
    create(oracle, "a:2", TARGET)
    for awaited, awaiter in (("a:1", "a:2"), ("a:2", "a:1")):
        assert status_of(oracle, "promise.register_callback", {"awaited": awaited, "awaiter": awaiter}) == 200
    listener = {"awaited": "a:1", "address": "poll://uni@g/p"}
    assert status_of(oracle, "promise.register_listener", listener) == 200
    assert status_of(oracle, "promise.settle", {"id": "a:1", "state": "resolved"}) == 200
    state = oracle.snapshot()
    assert state["callbacks"] == state["listeners"] == []
    assert [(task["state"], task["resumes"]) for task in state["tasks"]] == [("fulfilled", 0), ("pending", 1)]
    assert [(address, message["kind"]) for address, message in oracle.pushed] == [("poll://uni@g/p", "unblock")]
    assert oracle.pushed[0][1]["data"]["promise"]["state"] == "resolved"


@pytest.mark.parametrize("tags", [EXTERNAL, TARGET, {"resonate:timer": "true"}, {"resonate:scope": "global"}])
def test_external_promises_can_be_listened_to_and_are_swept(tags: Json) -> None:
    oracle = Oracle()
    create(oracle, "a", tags)
    assert status_of(oracle, "promise.register_listener", {"awaited": "a", "address": "poll://any@g/p"}) == 200
    assert status_of(oracle, "debug.tick", {"time": T0 + 100}, T0 + 100) == 200
    assert [address for address, _ in oracle.pushed] == ["poll://any@g/p"]


@pytest.mark.parametrize(
    ("awaited", "awaiter", "status"),
    [
        ("a:1", "a:1", 400),
        ("b:1", "a:1", 400),
        ("a:9", "a:1", 404),
        ("a:2", "a:9", 422),
        ("a:2", "a:3", 422),
        ("a:3", "a:1", 422),
        ("a:2", "a:1", 200),
    ],
)
def test_who_may_await_whom(awaited: str, awaiter: str, status: int) -> None:
    oracle = Oracle()
    create(oracle, "a:1", TARGET)
    create(oracle, "a:2", EXTERNAL)
    create(oracle, "a:3")
    create(oracle, "b:1", EXTERNAL)
    assert status_of(oracle, "promise.register_callback", {"awaited": awaited, "awaiter": awaiter}) == status
    assert oracle.callbacks == ({(awaited, awaiter)} if status == 200 else set())


def test_listeners_need_an_address_and_an_external_promise() -> None:
    oracle = Oracle()
    create(oracle, "a")
    assert status_of(oracle, "promise.register_listener", {"awaited": "a", "address": "poll://any@g"}) == 422
    assert status_of(oracle, "promise.register_listener", {"awaited": "b", "address": "poll://any@g"}) == 404
    assert status_of(oracle, "promise.register_listener", {"awaited": "a", "address": "poll://uni@g"}) == 400


def test_nothing_is_registered_on_what_is_settled() -> None:
    oracle = Oracle()
    create(oracle, "a:1", TARGET, T0 + 1)
    create(oracle, "a:2", EXTERNAL)
    assert status_of(oracle, "promise.register_callback", {"awaited": "a:2", "awaiter": "a:1"}, T0 + 1) == 200
    assert status_of(oracle, "promise.register_listener", {"awaited": "a:1", "address": "poll://any@g"}, T0 + 1) == 200
    assert oracle.callbacks == oracle.listeners == set()
