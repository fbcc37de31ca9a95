"""The tests of what every store promises run on a file and on a database; the others say why they are a file's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import opened

BOTH = {
    "test_http_api",
    "test_http_client",
    "test_http_events",
    "test_oracle_store",
    "test_store_actors",
    "test_store_deadlines",
    "test_store_keep",
    "test_store_leases",
    "test_store_overlaps",
    "test_store_processes",
    "test_store_queues",
    "test_store_schedules",
    "test_store_sdk",
    "test_store_searches",
    "test_store_sessions",
    "test_store_signals",
    "test_store_streams",
    "test_store_tasks",
    "test_store_values",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of BOTH twice, but for those that say `pytest.mark.file_only("why")`."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if name in BOTH and metafunc.definition.get_closest_marker("file_only") is None:
        metafunc.parametrize("store_kind", ["file", "postgres"], indirect=True)


@pytest.fixture(autouse=True)
def store_kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where `opened` opens stores during the test."""
    kind = getattr(request, "param", "file")
    if kind == "postgres":
        opened.PLACES.append(opened.Places(request.getfixturevalue("postgres_server")))
    yield
    if kind == "postgres":
        opened.PLACES.pop()
