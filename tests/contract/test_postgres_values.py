"""Odd text, ids and numbers at their limits, and schemas of any name in a database. Passwords are shown nowhere."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from durable.core.errors import StoreError, StoreNewer, StoreRefused, StoreUnreachable
from durable.core.limits import ID_CHARS_MAX
from durable.store.postgres import connection as connection_module
from durable.store.postgres import store as store_module
from durable.store.postgres.address import address_of
from durable.store.postgres.store import PostgresStore
from durable.store.postgres.writer_connection import UNKNOWN_MAX, WriterConnection
from tests.postgres_server import PostgresServer, rows_of

from .opened import acquire, opened, promise, root, settle

DEBIAN = "/usr/lib/postgresql"
"""Where Debian's servers are."""


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a server that is not there."""
    monkeypatch.setattr(store_module, "OPEN_UNHEARD_S", 0.3)


ODD = ["a\0b", "\ufdd0", "\ufdd01\0\ufdd00", "\\u0000", "\\\\\0", "🙂\u2028é", "'\"$1 ?1 %s"]
PASSWORD = "hunter2"


@pytest.mark.parametrize("text", ODD)
async def test_odd_text_comes_back_as_it_was(postgres_server: PostgresServer, text: str) -> None:
    await come_back(postgres_server.url(), text)


async def test_a_backslash_in_our_statements_is_one_whatever_the_server_is_set_to(
    postgres_server: PostgresServer,
) -> None:
    await come_back(f"{postgres_server.url()}&options=-c%20standard_conforming_strings%3Doff", "a\0b \\u0000 \\\\")


async def come_back(url: str, text: str) -> None:
    async with opened(url) as store:
        made = {**promise("p", tag=text), "param": {"data": text, "headers": {"h": text}}}
        made["tags"] |= {text: "name", "other": "x"}
        await store.request("promise.create", made)
        await store.request("promise.create", promise("q"))
        found = (await store.request("promise.settle", settle("p", data=text))).data["promise"]
        assert (found["param"]["data"], found["param"]["headers"], found["value"]["data"]) == (text, {"h": text}, text)
        for tags in ({"tag": text}, {text: "name"}, {"tag": text, text: "name"}):
            searched = (await store.request("promise.search", {"tags": tags})).data["promises"]
            assert [(each["id"], each["tags"]["tag"]) for each in searched] == [("p", text)]
        await store.request("output.append", {"execution": "exec:a", "chunks": [(0, "stdout", text)]})
        answer = await store.request("output.truncate", {"execution": "exec:a", "offset": len(text)})
        assert (answer.data["kept"], type(answer.data["kept"])) == (len(text), int)
        await store.request("kv.set", {"namespace": "n", "key": "k", "value": text, "quota": 1000})
        assert (await store.request("kv.get", {"namespace": "n", "key": "k"})).data["value"] == text


async def test_lone_surrogates_are_refused(postgres_server: PostgresServer) -> None:
    async with opened(postgres_server.url()) as store:
        for data in (promise("\ud800"), {**promise("p"), "param": {"data": "\udfff"}}, promise("p", tag="\ud800")):
            with pytest.raises(StoreRefused) as caught:
                await store.request("promise.create", data)
            assert caught.value.status == 400
        await store.request("promise.create", promise("p"))


def _long(first: str, *, length: int = ID_CHARS_MAX) -> str:
    """An id that does not get shorter by compression."""
    noise = "".join(chr(33 + byte % 90) for byte in os.urandom(length)).replace(":", "x").replace(".", "x")
    return (first + noise.replace("@", "x"))[:length]


async def test_ids_of_the_greatest_length_can_wait_for_each_other(postgres_server: PostgresServer) -> None:
    awaiter, awaited = _long("exec:a"), _long("exec:b")
    async with opened(postgres_server.url()) as store:
        for name in (awaiter, awaited):
            await store.request("promise.create", {**root("x"), "id": name})
        await store.request("task.acquire", {"id": awaiter, "version": 0, "pid": _long("e"), "ttl": 1000})
        actions = [{"kind": "promise.register_callback", "data": {"awaited": awaited, "awaiter": awaiter}}]
        await store.request("task.suspend", {"id": awaiter, "version": 1, "actions": actions})
        address = f"poll://any@{_long('g', length=ID_CHARS_MAX - 11).replace('/', 'x')}"
        await store.request("promise.register_listener", {"awaited": awaited, "address": address})
        await store.request("promise.settle", settle(awaited))
        found = (await store.request("task.get", {"id": awaiter})).data["task"]
        assert found["state"] == "pending"


async def test_what_is_too_long_for_an_index_is_refused_and_others_of_its_batch_are_not(
    postgres_server: PostgresServer,
) -> None:
    wide = "".join(chr(0x1F300 + byte) for byte in os.urandom(ID_CHARS_MAX))
    async with opened(postgres_server.url()) as store:
        posted = [store.post("promise.create", promise(name)) for name in ("a", wide, "b")]
        first, middle, last = await asyncio.gather(*posted, return_exceptions=True)
        assert isinstance(middle, StoreRefused)
        assert (middle.status, first.status, last.status) == (400, 200, 200)  # type: ignore[union-attr]
        assert "too long" in str(middle)


async def test_the_greatest_numbers(postgres_server: PostgresServer) -> None:
    most = 2**63 - 1
    async with opened(postgres_server.url()) as store:
        await store.request("promise.create", {**root("a"), "timeoutAt": most})
        await acquire(store, "a", ttl=most)
        beat = {"pid": "e1", "tasks": [{"id": "exec:a", "version": 1}]}
        await store.request("task.heartbeat", beat)
        assert (await store.request("task.get", {"id": "exec:a"})).data["task"]["ttl"] == most
        with pytest.raises(StoreRefused):
            await acquire(store, "a", version=most)
        with pytest.raises(StoreRefused):
            await store.request("output.append", {"execution": "exec:a", "chunks": [(most, "stdout", "x")]})


@pytest.mark.parametrize("schema", ["Team", "select", "_", "x" * 63, "user"])
async def test_schemas_of_any_name(postgres_server: PostgresServer, schema: str) -> None:
    async with opened(postgres_server.url(schema)) as store:
        await store.request("promise.create", promise("p"))
        assert [row.id for row in await store.reads.list_executions()] == []
    async with opened(postgres_server.url(schema), create=False) as store:
        await store.request("promise.get", {"id": "p"})


async def test_a_schema_of_another_program_and_one_of_a_newer_version_are_refused(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.url()
    schema = address_of(url).schema
    with psycopg.connect(address_of(url).conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"CREATE TABLE {schema}.orders (n int)")
    with pytest.raises(StoreError, match="tables of another program"):
        await PostgresStore.open(url)
    assert rows_of(url, "SELECT tablename FROM pg_tables WHERE schemaname=current_schema()") == [("orders",)]
    url = postgres_server.url()
    async with opened(url):
        pass
    monkeypatch.setattr(connection_module, "scripts", list)
    with pytest.raises(StoreNewer, match="upgrade durable-exec"):
        await PostgresStore.open(url)


async def test_a_database_of_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    with psycopg.connect(address_of(postgres_server.url()).conninfo, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(StoreError, match="encoding is not UTF8"):
        await PostgresStore.open(postgres_server.url().replace("/postgres?", "/latin?"))


async def test_a_database_with_an_order_of_its_own_lists_by_code_points(postgres_server: PostgresServer) -> None:
    with psycopg.connect(address_of(postgres_server.url()).conninfo, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS ordered")
        made = "CREATE DATABASE ordered TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        try:
            connection.execute(made.encode())
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.SyntaxError):
            assert DEBIAN not in str(postgres_server.binaries), "Debian's servers are built with ICU"
            pytest.skip("this server has no ICU: it is older than 15, or built without")
    names = ["B", "a", "Z", "_", "ä", "b"]
    async with opened(postgres_server.url().replace("/postgres?", "/ordered?")) as store:
        for name in names:
            await store.request("promise.create", promise(name))
        found = (await store.request("promise.search", {})).data["promises"]
        assert [each["id"] for each in found] == sorted(names)


@pytest.fixture
def guarded_server() -> Iterator[PostgresServer]:
    """It asks for a password."""
    server = PostgresServer()
    try:
        with psycopg.connect(address_of(server.url()).conninfo, autocommit=True) as connection:
            connection.execute("CREATE ROLE u LOGIN PASSWORD 'right' SUPERUSER")
        rules = server.data / "pg_hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        server.run("pg_ctl", "-D", str(server.data), "reload")
        yield server
    finally:
        server.stop()


def _told(error: BaseException) -> str:
    """All that anybody could be shown of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__) + repr(error.__cause__)


async def test_a_wrong_password_is_an_error_at_once_that_does_not_show_it(
    guarded_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = f"host={guarded_server.directory}"
    urls = [f"postgresql://u:{PASSWORD}@/postgres?{host}", f"postgresql://u@/postgres?{host}&password={PASSWORD}"]
    urls += [f"postgresql://u:%68unter2@/postgres?{host}", f"postgresql://u@/nothing?{host}&password=%68unter2"]
    urls += [f"postgresql://u@/postgres?{host}"]
    monkeypatch.setenv("DURABLE_STORE_PASSWORD", PASSWORD)
    for url in urls:
        with pytest.raises(StoreError, match="DURABLE_STORE_PASSWORD") as caught:
            await PostgresStore.open(url)
        assert not isinstance(caught.value, StoreUnreachable)
        assert PASSWORD not in _told(caught.value) + caplog.text
    monkeypatch.setenv("DURABLE_STORE_PASSWORD", "right")
    async with opened(urls[-1]) as store:
        assert "right" not in repr(store.address) + store.name + str(store.path)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:1{PASSWORD}/x@db/d",
        f"postgresql://u:12/{PASSWORD}@db/d",
        f"postgresql://u:12?{PASSWORD}@db/d",
        f"postgresql://u:12#{PASSWORD}@db/d",
        f"postgresql://u:%zz{PASSWORD}@db/d",
        f"postgresql://u:[{PASSWORD}@db/d",
        f"postgresql://u:{PASSWORD}@db:port/d",
        f"postgresql://u:{PASSWORD}@db/d?schema=9",
        f"postgresql://u@127.0.0.1:1/d?PASSWORD={PASSWORD}",
        f"postgresql://u@127.0.0.1:1/d?passwrd={PASSWORD}",
        f"postgresql://u@127.0.0.1:1/d?sslpassword={PASSWORD}",
        f"postgresql://u:{PASSWORD}@127.0.0.1:1/d",
        f"postgresql://u:x{PASSWORD}@y{PASSWORD}@127.0.0.1:1/d",
    ],
)
async def test_no_error_shows_a_part_of_a_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await PostgresStore.open(url.replace("@db", "@127.0.0.1:1" if "@db:" not in url else "@db"))
    assert PASSWORD not in _told(caught.value)
    assert not list(tmp_path.iterdir())


async def test_no_such_database_and_no_server_are_told(postgres_server: PostgresServer) -> None:
    with pytest.raises(StoreError, match="createdb") as caught:
        await PostgresStore.open(postgres_server.url().replace("/postgres?", "/nothing?"))
    assert not isinstance(caught.value, StoreUnreachable)
    with pytest.raises(StoreUnreachable):
        await PostgresStore.open("postgresql:///postgres?host=/nowhere")
    with pytest.raises(StoreUnreachable):
        await PostgresStore.open("postgresql://127.0.0.1:1/postgres")


async def test_ids_with_the_character_that_stands_for_nul(postgres_server: PostgresServer) -> None:
    name = "exec:\ufdd0\ufdd00"
    async with opened(postgres_server.url()) as store:
        for _ in range(2):
            await store.request("promise.create", {**root("x"), "id": name})
        await store.request("task.acquire", {"id": name, "version": 0, "pid": "e1", "ttl": 60_000})
        step = promise(f"{name}.1")
        for _ in range(2):
            fenced = {"id": name, "version": 1, "action": {"kind": "promise.create", "data": step}}
            await store.request("task.fence", fenced)
        action = {"kind": "promise.settle", "data": settle(name)}
        await store.request("task.fulfill", {"id": name, "version": 1, "action": action})
        found = (await store.request("promise.get", {"id": name})).data["promise"]
        assert (found["id"], found["state"]) == (name, "resolved")
        under = (await store.request("promise.get", {"id": f"{name}.1"})).data["promise"]
        assert under["state"] == "rejected_canceled"


async def test_statements_that_the_server_has_forgotten_are_prepared_anew(postgres_server: PostgresServer) -> None:
    """A pipeline that failed leaves the driver with another idea of what is prepared than the server has."""
    url = postgres_server.url()
    async with opened(url) as store:
        await store.request("promise.create", promise("a"))
        session = WriterConnection(address_of(url))
        for _ in range(UNKNOWN_MAX + 2):
            for _ in range(2):
                assert session.rows("SELECT id FROM promises WHERE id=?", ("a",)) == [("a",)]
            assert session._connection is not None
            session._connection.pgconn.exec_(b"DEALLOCATE ALL")
        session.close()


async def test_no_statement_is_compiled(postgres_server: PostgresServer) -> None:
    """The server would compile the look for halted executions for tens of milliseconds, each time."""
    url = postgres_server.url()
    async with opened(url) as store:
        session = WriterConnection(address_of(url))
        assert session.rows("SELECT current_setting('jit')") == [("off",)]
        session.close()
        assert await store.reads._rows("SELECT current_setting('jit')", []) == [("off",)]
