"""Statements that are sent without waiting: what fails, what is large, what is prepared (specs/postgres.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from durable.store.postgres import statement_pipeline
from durable.store.postgres.address import address_of
from durable.store.postgres.connection import connect
from durable.store.postgres.statement_pipeline import StatementPipeline
from tests.postgres_server import PostgresServer


@pytest.fixture
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with connect(address_of(postgres_server.url())) as connection:
        yield connection


def prepared(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    texts = "SELECT statement FROM pg_prepared_statements WHERE name LIKE 'durable_%' ORDER BY 1"
    return connection.execute(texts.encode(), prepare=False).fetchall()


def test_values_come_back_as_they_were_sent(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    pipeline = StatementPipeline(connection)
    pipeline.begin()
    values = (2**62, -1, "a'b\\ü", b"\0\xff", None, True)
    asked = b"SELECT $1::bigint, $2::bigint, $3::text, $4::bytea, $5::text, $6::bigint, 1.5::numeric, ARRAY[$3::text]"
    sent = [pipeline.execute(asked, values) for _ in range(3)]
    none = pipeline.execute(b"SELECT 1 WHERE false")
    for each in reversed(sent):
        assert each.fetchall() == [(2**62, -1, "a'b\\ü", b"\0\xff", None, 1, 1.5, ["a'b\\ü"])]
    assert none.fetchone() is None
    pipeline.end()
    assert prepared(connection) == [(asked.decode(),)]


def test_what_fails_is_told_once_and_the_connection_goes_on(
    connection: psycopg.Connection[tuple[object, ...]],
) -> None:
    pipeline = StatementPipeline(connection)
    for ask in (lambda sent: sent.fetchall(), lambda _: pipeline.end()):
        pipeline.begin()
        pipeline.execute(b"BEGIN")
        good = pipeline.execute(b"SELECT 1")
        pipeline.execute(b"SELECT 1/$1::bigint", (0,))
        later = [pipeline.execute(b"SELECT $1::text || 'x'", ("a",)) for _ in range(2)]
        assert good.fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            ask(later[-1])
        if connection.pgconn.pipeline_status:
            with pytest.raises(psycopg.errors.PipelineAborted):
                pipeline.end()
        connection.execute(b"ROLLBACK")
    pipeline.begin()  # what was to be prepared after the failure was not
    assert [pipeline.execute(b"SELECT $1::text || 'x'", ("a",)).fetchall() for _ in range(2)] == [[("ax",)]] * 2
    pipeline.end()
    assert ("SELECT $1::text || 'x'",) in prepared(connection)


def test_more_in_both_directions_than_sockets_hold(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    pipeline, large = StatementPipeline(connection), b"x" * 2**20
    pipeline.begin()
    sent = [pipeline.execute(b"SELECT $1::bytea", (large,)) for _ in range(40)]
    assert sent[-1].fetchall() == [(large,)]
    assert sent[0].fetchall() == [(large,)]
    pipeline.end()


def test_statements_that_were_prepared_are_given_up_where_there_are_too_many(
    connection: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_pipeline, "PREPARED_MAX", 3)
    pipeline = StatementPipeline(connection)
    pipeline.begin()
    for number in (*range(5), *range(5)):
        text = b"SELECT %d + $1::bigint" % number
        assert [pipeline.execute(text, (1,)).fetchall() for _ in range(3)] == [[(number + 1,)]] * 3
    pipeline.end()
    assert 0 < len(prepared(connection)) <= 3


@pytest.mark.parametrize("waits", ["for rows", "for the end"])
def test_a_lost_connection_is_told(
    postgres_server: PostgresServer, connection: psycopg.Connection[tuple[object, ...]], waits: str
) -> None:
    pipeline = StatementPipeline(connection)
    (pid,) = connection.execute(b"SELECT pg_backend_pid()").fetchone() or (0,)
    pipeline.begin()
    sent = pipeline.execute(b"SELECT pg_sleep(30)")
    pipeline.execute(b"SELECT 1")
    connection.pgconn.flush()
    postgres_server.sql(f"SELECT pg_terminate_backend({pid})")
    waited: Callable[[], object] = sent.fetchall if waits == "for rows" else pipeline.end
    with pytest.raises(psycopg.OperationalError):
        waited()
    with pytest.raises(psycopg.Error):
        pipeline.end()
    assert connection.closed
