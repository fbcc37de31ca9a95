"""The oracle itself: search with cursors, schedules, cron, debugging."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from .cron import next_run
from .oracle import Oracle
from .test_oracle_promises import EXTERNAL, T0, TARGET, create, status_of
from .wire import Json


def walk(oracle: Oracle, kind: str, name: str, query: Json) -> list[list[str]]:
    """The ids of every page."""
    pages: list[list[str]] = []
    cursor: Json = {}
    while True:
        status, data = oracle.request(kind, query | cursor, T0)
        assert status == 200
        assert isinstance(data, dict)
        pages.append([record["id"] for record in data[name]])
        if "cursor" not in data:
            return pages
        cursor = {"cursor": data["cursor"]}


def test_pages_are_in_id_order_and_end_without_a_cursor() -> None:
    oracle = Oracle()
    for promise_id in ("d", "b", "a", "c"):
        create(oracle, promise_id, EXTERNAL if promise_id in "ac" else None)
    assert walk(oracle, "promise.search", "promises", {"limit": 3}) == [["a", "b", "c"], ["d"]]
    assert walk(oracle, "promise.search", "promises", {"limit": 2}) == [["a", "b"], ["c", "d"]]
    assert walk(oracle, "promise.search", "promises", {"limit": 1, "tags": EXTERNAL}) == [["a"], ["c"]]
    assert walk(oracle, "promise.search", "promises", {"state": "resolved"}) == [[]]


def test_search_sees_deadlines_that_have_just_come() -> None:
    oracle = Oracle()
    create(oracle, "a", TARGET, T0 + 1)
    for kind, name, state in (
        ("promise.search", "promises", "rejected_timedout"),
        ("task.search", "tasks", "fulfilled"),
    ):
        _, data = oracle.request(kind, {"state": state}, T0 + 1)
        assert isinstance(data, dict)
        assert [record["id"] for record in data[name]] == ["a"]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": True}, {"cursor": "?"}, {"state": "done"}])
def test_bad_queries_are_refused(query: Json) -> None:
    assert status_of(Oracle(), "promise.search", query) == 400
    assert status_of(Oracle(), "task.search", query) == 400


def test_schedules_are_kept_once_and_deleted_once() -> None:
    oracle = Oracle()
    request = {
        "id": "s",
        "cron": "0 0 1 1 *",
        "promiseId": "s-{{.timestamp}}",
        "promiseTimeout": 5,
        "promiseTags": TARGET,
    }
    status, data = oracle.request("schedule.create", request, T0)
    assert status == 200
    assert oracle.request("schedule.create", request | {"cron": "1 1 1 1 *"}, T0 + 1) == (200, data)
    assert oracle.request("schedule.get", {"id": "s"}, T0) == (200, data)
    assert walk(oracle, "schedule.search", "schedules", {"tags": TARGET}) == [["s"]]
    assert [status_of(oracle, "schedule.delete", {"id": "s"}) for _ in range(2)] == [200, 404]
    assert status_of(oracle, "schedule.get", {"id": "s"}) == 404
    assert status_of(oracle, "schedule.create", request | {"promiseTags": {}}) == 400
    assert status_of(oracle, "schedule.create", request | {"cron": "61 * * * *"}) == 400


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("* * * * *", "2030-03-17T17:46:40", "2030-03-17T17:47:00"),
        ("*/15 9-17 * * MON-FRI", "2030-03-15T17:46:00", "2030-03-18T09:00:00"),
        ("0 0 29 FEB *", "2097-01-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 12 13 * 5", "2030-03-12T00:00:00", "2030-03-13T12:00:00"),
        ("5,35 0 * * 7", "2030-03-16T23:59:59", "2030-03-17T00:05:00"),
        ("10/20 0 1 * *", "2030-03-01T00:10:00", "2030-03-01T00:30:00"),
    ],
)
def test_cron(cron: str, after: str, expected: str) -> None:
    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000

    assert next_run(cron, ms(after)) == ms(expected)


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "0 0 30 2 *", "-1 * * * *"]
)
def test_what_is_no_cron(cron: str) -> None:
    assert next_run(cron, T0) is None


def test_debugging_is_refused_unless_asked_for() -> None:
    for kind, data in (("debug.reset", {}), ("debug.tick", {"time": T0}), ("debug.snap", {})):
        assert status_of(Oracle(debug=False), kind, data) == 403
        assert status_of(Oracle(), kind, data) == 200
