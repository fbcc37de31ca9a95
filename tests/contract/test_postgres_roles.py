"""Users of a database with few rights and odd settings; tables that change under engines that run."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import durable
from durable.core.errors import StoreDenied, StoreError, StoreUnreachable
from durable.store.operations.lock_keys import lock_number, promise_key
from durable.store.postgres import connection
from durable.store.postgres import store as store_module
from durable.store.postgres.address import address_of
from durable.store.postgres.connection import migrate, scripts
from durable.store.postgres.doctor import examine_database
from durable.store.postgres.store import PostgresStore
from tests.postgres_server import PostgresServer, binaries, rows_of

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
    grant(postgres_server, schema, user)
    async with opened(url.replace(owner, user)) as store:
        await acquire(store, "a")
        assert len(await store.reads.list_executions()) == 1


def grant(server: PostgresServer, schema: str, user: str) -> None:
    """What docs/scale-out.md says that a user needs."""
    server.sql(
        f"GRANT USAGE ON SCHEMA {schema} TO {user}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {user}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}",
    )


async def test_sessions_need_no_more_rights_than_the_docs_say(postgres_server: PostgresServer) -> None:
    user = role(postgres_server, creates=False)
    url = postgres_server.url()
    async with opened(url):
        pass
    grant(postgres_server, address_of(url).schema, user)
    async with durable.open(url.replace("user=postgres", f"user={user}")) as engine:
        session = await engine.session("desk")
        await session.execute("x = 41")
        assert (await session.execute("x + 1")).value == 42


LACKS = {
    "REVOKE UPDATE ON {0}.tasks FROM {1}": "may not UPDATE in table tasks",
    "REVOKE SELECT ON {0}.secrets FROM {1}": "may not SELECT in table secrets",
    "REVOKE USAGE ON SEQUENCE {0}.checkpoints_id_seq FROM {1}": "may not use the sequence checkpoints_id_seq",
    "ALTER TABLE {0}.promises ENABLE ROW LEVEL SECURITY": "row-level security hides rows of table promises",
}


@pytest.mark.parametrize("change", LACKS)
async def test_a_right_that_is_lacking_is_told_at_the_opening(postgres_server: PostgresServer, change: str) -> None:
    """And by the doctor, with what gives it; not by an execution that is halted in its middle."""
    user = role(postgres_server, creates=False)
    url = postgres_server.url()
    schema = address_of(url).schema
    async with opened(url):
        pass
    grant(postgres_server, schema, user)
    postgres_server.sql(f"CREATE TABLE {schema}.of_another_program (n int)", change.format(schema, user))
    theirs = url.replace("user=postgres", f"user={user}")
    with pytest.raises(StoreError, match=LACKS[change]) as caught:
        await PostgresStore.open(theirs)
    told = [each.message for each in examine_database(theirs) if each.check == "grants"]
    assert len(told) == 1
    assert told[0] in str(caught.value)
    postgres_server.sql(told[0].split("`")[1])
    async with opened(theirs):
        pass


@pytest.mark.parametrize("of", ["ROLE", "DATABASE"])
async def test_a_database_that_takes_no_writes_is_told(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setattr(store_module, "OPEN_UNHEARD_S", 0.3)
    name = role(postgres_server)
    if of == "DATABASE":
        postgres_server.sql(f"CREATE DATABASE {name}")
    postgres_server.sql(f"ALTER {of} {name} SET default_transaction_read_only = on")
    url = url_for(postgres_server, name)
    url = url.replace("/postgres?", f"/{name}?") if of == "DATABASE" else url
    with pytest.raises(StoreUnreachable, match="it is a standby, or default_transaction_read_only is on"):
        await PostgresStore.open(url)


async def test_a_user_who_may_not_log_in_is_told_at_once(postgres_server: PostgresServer) -> None:
    user = role(postgres_server)
    postgres_server.sql(f"ALTER ROLE {user} NOLOGIN")
    with pytest.raises(StoreDenied, match="not permitted to log in"):
        await PostgresStore.open(url_for(postgres_server, user))


def _certificate(folder: Path, name: str) -> None:
    """A certificate for the host `name`, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (folder / "server.key").chmod(0o600)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server at an address of this process alone, which lets nobody in without TLS from there."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed; see DURABLE_TEST_POSTGRES_BIN")
    pid = os.getpid()
    server = PostgresServer(listen_addresses=f"'127.{pid >> 16 & 127}.{pid >> 8 & 255}.{pid % 254 + 1}'")
    try:
        _certificate(server.data, "db.example")
        if os.geteuid() == 0:
            for name in ("server.crt", "server.key"):
                shutil.chown(server.data / name, "postgres", "postgres")
        (server.data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.0/8 trust\n")
        server.sql("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
        yield server
    finally:
        server.stop()


async def test_tls_with_a_certificate_that_is_checked(encrypted: PostgresServer, tmp_path: Path) -> None:
    ((address,),) = encrypted.sql("SHOW listen_addresses")
    _certificate(tmp_path, "db.example")
    other = f"&sslrootcert={tmp_path / 'server.crt'}"
    root_file = f"&sslrootcert={shutil.copy(encrypted.data / 'server.crt', tmp_path / 'root.crt')}"
    url = f"postgresql://postgres@{{}}:5432/postgres?hostaddr={address}&schema=tls"
    async with opened(url.format("db.example") + "&sslmode=verify-full" + root_file) as store:
        await store.request("promise.create", promise("p"))
    for host, options in {
        "another.example": f"verify-full{root_file}",  # the name is not that of the certificate
        "db.example": f"verify-full{other}",  # somebody else signed it
    }.items():
        with pytest.raises(StoreError, match="does not fit what the server shows") as caught:
            await PostgresStore.open(f"{url.format(host)}&sslmode={options}")
        assert not isinstance(caught.value, StoreUnreachable)
    with pytest.raises(StoreDenied, match="no encryption"):
        await PostgresStore.open(f"{url.format('db.example')}&sslmode=disable")
    with pytest.raises(StoreError, match="does not exist"):
        await PostgresStore.open(f"{url.format('db.example')}&sslmode=verify-full&sslrootcert={tmp_path}/none.crt")


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
