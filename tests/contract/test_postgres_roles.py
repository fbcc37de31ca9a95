"""Users of a database with few rights and odd settings; tables that change under engines that run."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import psycopg
import pytest

from durable.core.errors import StoreError
from durable.store.operations.lock_keys import lock_number, promise_key
from durable.store.postgres import connection
from durable.store.postgres.address import address_of
from durable.store.postgres.connection import migrate, scripts
from tests.postgres_server import PostgresServer, rows_of

from .opened import acquire, opened, promise, root, settle, state

_names = itertools.count()


def role(server: PostgresServer, *, creates: bool = True) -> str:
    """A new user of the database, with the right to make schemas or without."""
    name = f"user_{next(_names)}"
    server.sql(f"CREATE ROLE {name} LOGIN")
    if creates:
        server.sql(f"GRANT CREATE ON DATABASE postgres TO {name}")
    return name


def url_for(server: PostgresServer, user: str) -> str:
    return server.url().replace("user=postgres", f"user={user}")


def until_somebody_waits(url: str) -> None:
    """Until a transaction waits for a key."""
    while not rows_of(url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
        time.sleep(0.01)


SETTINGS = {
    "statement_timeout": "200ms",
    "lock_timeout": "100ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "search_path": "pg_catalog",
    "timezone": "Pacific/Chatham",
    "datestyle": "German",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "plan_cache_mode": "force_custom_plan",
}


def _pooled(made: Any, _pid: int) -> bool:
    made.prepare_threshold = None
    return True


@pytest.mark.parametrize("pooled", [False, True])
async def test_what_a_user_is_set_to_changes_nothing(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    """Least of all how long a request may wait for what others hold; behind a pooler, too, whose connections are left
    as they are."""
    if pooled:
        monkeypatch.setattr(connection, "_is_pooled", _pooled)
    user = role(postgres_server)
    for name, value in SETTINGS.items():
        postgres_server.sql(f"ALTER ROLE {user} SET {name} = '{value}'")
    url = url_for(postgres_server, user)
    address = address_of(url)
    text = "é€😀\\x"
    async with opened(url) as store:
        await store.request("promise.create", promise(text))
        with psycopg.connect(address.conninfo) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(address.schema, promise_key(text)),))
            settled = asyncio.ensure_future(store.request("promise.settle", settle(text)))
            await asyncio.sleep(0.3)  # longer than the timeouts
            assert not settled.done()
            other.rollback()
        assert (await settled).data["promise"]["id"] == text
        assert (await store.reads.get_promise(text)).state == "resolved"


async def test_transactions_see_what_was_committed_while_they_waited(postgres_server: PostgresServer) -> None:
    user = role(postgres_server)
    postgres_server.sql(f"ALTER ROLE {user} SET default_transaction_isolation = 'repeatable read'")
    url = url_for(postgres_server, user)
    address = address_of(url)
    async with opened(url) as store:
        await store.request("promise.create", promise("p"))
        with psycopg.connect(address.conninfo) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(address.schema, promise_key("p")),))
            seen = asyncio.ensure_future(state(store, "p"))
            await asyncio.to_thread(until_somebody_waits, url)
            table = f'"{address.schema}".promises'
            other.execute(f"UPDATE {table} SET state='resolved', settled_at=created_at WHERE id='p'".encode())
            other.commit()
        assert await seen == "resolved"


async def test_a_schema_that_somebody_else_made_is_enough(postgres_server: PostgresServer) -> None:
    """So are the tables: who uses a store need not be who may change them."""
    owner, user = role(postgres_server, creates=False), role(postgres_server, creates=False)
    url = url_for(postgres_server, owner)
    schema = address_of(url).schema
    with pytest.raises(StoreError, match="CREATE on the database, or on a schema that is there"):
        async with opened(url):
            pass
    postgres_server.sql(f"CREATE SCHEMA {schema} AUTHORIZATION {owner}")
    async with opened(url) as store:
        await store.request("promise.create", root("a"))
    postgres_server.sql(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    postgres_server.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}")
    async with opened(url.replace(owner, user)) as store:
        await acquire(store, "a")
        assert len(await store.reads.list_executions()) == 1


async def test_statements_that_were_prepared_before_the_tables_changed_go_on(postgres_server: PostgresServer) -> None:
    """An engine of an older version goes on while a newer one brings the schema up to date."""
    url = postgres_server.url()
    schema = address_of(url).schema

    async def used(store: Any) -> None:
        for _ in range(3):
            assert await state(store, "p") == "pending"
            assert (await store.reads.get_promise("p")).state == "pending"

    async with opened(url) as store:
        await store.request("promise.create", promise("p"))
        await used(store)
        for change in ("ALTER COLUMN param_data TYPE varchar", "ADD COLUMN more text"):
            postgres_server.sql(f"ALTER TABLE {schema}.promises {change}")
            await used(store)


async def test_engines_that_run_wait_while_the_tables_change(postgres_server: PostgresServer) -> None:
    """The scripts have the store for themselves, so that neither they nor an engine's transaction is a deadlock's."""
    url = postgres_server.url()
    address = address_of(url)
    async with opened(url) as store:
        await store.request("promise.create", promise("p"))
        with psycopg.connect(address.conninfo, autocommit=True) as migrating:
            migrating.cursor_factory = psycopg.RawCursor
            with migrating.transaction():
                migrate(migrating, address, scripts())
                waits = asyncio.ensure_future(state(store, "p"))
                await asyncio.to_thread(until_somebody_waits, url)
                assert not waits.done()
        assert await waits == "pending"
