"""Connections to the database: opened with bounded waits, their errors ours, the schema brought up to date."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.adapt import Dumper, Loader
from psycopg.types.numeric import Int8Dumper

from durable.core.disk_space import ADVICE
from durable.core.errors import StoreDenied, StoreError, StoreFull, StoreNewer, StoreUnreachable
from durable.store.operations.lock_keys import store_lock
from durable.store.postgres.address import Address
from durable.store.postgres.database_rights import lacking
from durable.store.unfinished_copy import UNFINISHED, unfinished

logging.getLogger("psycopg").addHandler(logging.NullHandler())
"""Lost connections are no news: engines go on by themselves. An application that sets up logging sees them."""

KEY_BYTES = 32
VERSION_MIN = 14
_BOUNDS = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",
}
"""A server that went away without a word is noticed within about ten seconds, and one that takes no writes (a standby
that nobody promoted yet, a disk that is full) counts as away. The URL may say otherwise."""

_MARKS_KEEP_S = 30 * 86_400
"""Marks of commits that a killed process left; no process is cut off from the server for so long and then goes on."""

_PID = b"SELECT pg_backend_pid()"

_TIMES = ("statement_timeout", "lock_timeout")
UNTIMED_HERE = f"SELECT {', '.join(f"set_config('{name}', '0', true)" for name in _TIMES)}".encode()
"""For the transaction: who waits for a lock, or for much that is due, waits as long as it takes."""
_UNTIMED = f"SELECT {', '.join(f"set_config('{name}', '0', false)" for name in _TIMES)}".encode()

MIGRATE_TRIES_MAX = 10
"""Lists of engines that go on may hold tables in an order of their own: then one of both is to try again."""

_MIGRATING = 0x6475_7261_626C_6500
"""The advisory lock of bringing the schema up to date: "durable"."""


class _FlagDumper(Dumper):
    """Flags are numbers, as in SQLite."""

    oid = psycopg.adapters.types["int8"].oid

    def dump(self, obj: Any) -> bytes:
        return b"1" if obj else b"0"


class _NumberLoader(Loader):
    """The sum of whole numbers is a `numeric` there; here it is the number that SQLite would give."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else float(text)


def _options(address: Address) -> dict[str, Any]:
    given = psycopg.conninfo.conninfo_to_dict(address.conninfo)
    options = {**_BOUNDS, **given, "client_encoding": "utf8"}
    options.setdefault("application_name", "durable-exec")
    if address.password is not None:
        options["password"] = address.password
    return options


def adapt(connection: Any) -> None:
    """Send numbers of every size as one type, so that a statement is prepared once."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(bool, _FlagDumper)
    connection.adapters.register_loader("numeric", _NumberLoader)
    connection.cursor_factory = psycopg.AsyncRawCursor if _is_async(connection) else psycopg.RawCursor
    connection.prepare_threshold = 1


def _is_async(connection: Any) -> bool:
    return isinstance(connection, psycopg.AsyncConnection)


def connect(address: Address) -> psycopg.Connection[Any]:
    """A connection for a thread. Raises StoreError: StoreUnreachable where it may be reached later."""
    try:
        connection = psycopg.connect(**_options(address), autocommit=True)
    except psycopg.Error as error:
        raise explain(address, error) from None
    adapt(connection)
    try:
        (pid,) = connection.execute(_PID, prepare=False).fetchone() or (0,)
        if not _is_pooled(connection, pid):
            connection.execute(_UNTIMED, prepare=False)
    except psycopg.Error as error:
        connection.close()
        raise explain(address, error) from None
    return connection


async def connect_async(address: Address) -> psycopg.AsyncConnection[Any]:
    """The same for the loop."""
    try:
        connection = await psycopg.AsyncConnection.connect(**_options(address), autocommit=True)
    except psycopg.Error as error:
        raise explain(address, error) from None
    adapt(connection)
    try:
        (pid,) = await (await connection.execute(_PID, prepare=False)).fetchone() or (0,)
        if not _is_pooled(connection, pid):
            await connection.execute(_UNTIMED, prepare=False)
    except psycopg.Error as error:
        await connection.close()
        raise explain(address, error) from None
    return connection


def _is_pooled(connection: Any, pid: int) -> bool:
    """Whether there is a pooler in between: then prepare no statements, since the next transaction may be another
    server process's, and leave its settings alone, which are others' as well.

    A pooler tells its clients a process of its own making, since it stands for all that it gives them.
    """
    pooled = bool(connection.info.backend_pid != pid)
    if pooled:
        connection.prepare_threshold = None
    return pooled


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler was noticed when the connection was made."""
    return connection.prepare_threshold is None


def is_lost(error: BaseException) -> bool:
    """Whether it is the connection that failed: what was asked may be asked again on another one."""
    if isinstance(error, StoreUnreachable):
        return True
    if isinstance(error, psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    state = error.sqlstate
    # 57P0x: the server ends; 08xxx: connection exceptions; 25P03/25P04: a stopped transaction was ended by the server.
    return state is None or state.startswith(("08", "57P")) or state in ("25P03", "25P04", "53300")


def is_old_plan(error: BaseException) -> bool:
    """Whether a newer version has changed a column's type under a statement that this connection prepared before."""
    return isinstance(error, psycopg.errors.FeatureNotSupported) and "cached plan" in str(error)


_HINTS = {
    "28P01": "the password is wrong; it is read from the URL, DURABLE_STORE_PASSWORD or ~/.pgpass",
    "28000": "the server does not let this user in from here (pg_hba.conf)",
    "3D000": "the database does not exist; make it with `createdb`",
    "42501": "the user may not do that; to make a store takes CREATE on the database, or on a schema that is there; to"
    " use one, USAGE of its schema and sequences, and SELECT, INSERT, UPDATE and DELETE on its tables",
    "25006": "it takes no writes: it is a standby, or default_transaction_read_only is on for it or this user",
    "53100": f"the server's disk is full; {ADVICE}",
    "53300": "the server has no connection left; an engine needs four",
}


_DENIED = ("authentication", "no password supplied", "pg_hba.conf", "not permitted to log in")
"""In the messages of those who were not let in: while a connection is made, errors have no other mark."""


_UNTRUSTED = ("certificate verify failed", "server certificate for", "does not support SSL", "requires SSL")
"""In the messages where TLS is asked for and the server shows no certificate that fits: waiting does not help."""

_NO_CONNECTION = ("too many connections", "too many clients", "remaining connection slots")


def explain(address: Address, error: psycopg.Error) -> StoreError:
    """An error of the database as ours: what happened where, and what to do."""
    text = " ".join(str(error).split())
    hint = _HINTS.get(error.sqlstate or "", "")
    if "password" in text and not hint:
        hint = _HINTS["28P01"]
    elif "read-only" in text:
        hint = _HINTS["25006"]
    elif "database" in text and "does not exist" in text:
        hint = _HINTS["3D000"]  # while connecting an error has no code
    elif any(each in text for each in _NO_CONNECTION):
        hint = _HINTS["53300"]
    untrusted = any(each in text for each in _UNTRUSTED)
    if untrusted:
        hint = "TLS as the URL asks for it (sslmode, sslrootcert) does not fit what the server shows"
    if address.password:
        text = text.replace(address.password, "…")
    message = f"store {address.shown!r}: {text}" + (f"; {hint}" if hint else "")
    if isinstance(error, psycopg.errors.DiskFull):
        return StoreFull(message)
    if error.sqlstate in ("28P01", "28000") or any(each in text for each in _DENIED):
        return StoreDenied(message)
    refused = error.sqlstate == "3D000" or "does not exist" in text or untrusted
    if is_lost(error) and not refused:
        return StoreUnreachable(message)
    return StoreError(message)


def scripts() -> list[str]:
    """The migrations, in their order."""
    directory = Path(__file__).with_name("migrations")
    names = sorted(each.name for each in directory.iterdir() if each.name.endswith(".sql"))
    assert [int(name.removesuffix(".sql")) for name in names] == list(range(1, len(names) + 1))
    return [(directory / name).read_text("utf-8") for name in names]


def prepare(address: Address, *, create: bool) -> bytes:
    """Bring the schema up to date, once for all who open the store at a time; the store's key."""
    from durable.core.errors import StoreMissing

    with connect(address) as connection:
        major = connection.info.server_version // 10_000
        if major < VERSION_MIN:
            raise StoreError(
                f"store {address.shown!r}: PostgreSQL {major} is too old; {VERSION_MIN} or newer is needed"
            )
        try:
            if connection.execute("SHOW server_encoding").fetchone() != ("UTF8",):
                raise StoreError(f"store {address.shown!r}: the database's encoding is not UTF8; make one that is")
            version = schema_version(connection, address)
            known = scripts()
            if version == UNFINISHED:
                raise StoreError(unfinished(repr(address.shown)))
            if version is None and not create:
                raise StoreMissing(f"there is no store at {address.shown!r}; `durable run` or `durable exec` makes one")
            if version is None or version < len(known):
                _migrate_alone(connection, address, known)
            elif version > len(known):
                raise _newer(address, version, len(known))
            denied = lacking(connection, address.schema)
            if denied:
                more = f" ({len(denied) - 1} more; `durable doctor` lists them)" if len(denied) > 1 else ""
                raise StoreError(f"store {address.shown!r}: {denied[0]}{more}")
            schema = sql.Identifier(address.schema)
            found = connection.execute(
                sql.SQL("SELECT value FROM {}.secrets WHERE name='checkpoints'").format(schema)
            ).fetchone()
            old = sql.SQL("DELETE FROM {}.commits WHERE at < (extract(epoch from now()) - {}) * 1000")
            connection.execute(old.format(schema, _MARKS_KEEP_S))
        except psycopg.Error as error:
            raise explain(address, error) from None
    assert found is not None
    return bytes(found[0])


def is_there(connection: psycopg.Connection[Any], address: Address) -> bool:
    """Whether the schema holds a store, also one that this user may not read."""
    query = "SELECT 1 FROM pg_tables WHERE schemaname=$1 AND tablename='store_version'"
    return connection.execute(query, (address.schema,)).fetchone() is not None


def schema_version(connection: psycopg.Connection[Any], address: Address) -> int | None:
    """The version of the schema; None where there is none."""
    if not is_there(connection, address):
        return None
    query = sql.SQL("SELECT version FROM {}.store_version").format(sql.Identifier(address.schema))
    row = connection.execute(query).fetchone()
    return None if row is None else int(row[0])


def _newer(address: Address, version: int, newest: int) -> StoreNewer:
    return StoreNewer(
        f"store {address.shown!r} has schema version {version}, this durable-exec knows up to {newest};"
        " upgrade durable-exec"
    )


def _migrate_alone(connection: psycopg.Connection[Any], address: Address, known: list[str]) -> None:
    for attempt in range(MIGRATE_TRIES_MAX):
        try:
            migrate(connection, address, known)
            return
        except psycopg.errors.DeadlockDetected:
            if attempt + 1 == MIGRATE_TRIES_MAX:
                raise


def migrate(connection: psycopg.Connection[Any], address: Address, known: list[str]) -> None:
    """Run the migrations that the schema lacks, once for all who do so at a time."""
    schema = sql.Identifier(address.schema)
    with connection.transaction():
        connection.execute(UNTIMED_HERE)
        connection.execute("SELECT pg_advisory_xact_lock($1)", (_MIGRATING,))
        # Engines that run hold it with each other: they wait until the tables are as the scripts leave them.
        connection.execute("SELECT pg_advisory_xact_lock($1)", (store_lock(address.schema),))
        version = schema_version(connection, address) or 0  # another process may have been first
        if version > len(known):
            raise _newer(address, version, len(known))
        # IF NOT EXISTS would ask for the right to make one where there is one
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname=$1", (address.schema,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(schema))
        if not version:
            if connection.execute("SELECT 1 FROM pg_tables WHERE schemaname=$1", (address.schema,)).fetchone():
                raise StoreError(
                    f"store {address.shown!r}: the schema {address.schema!r} holds tables of another program;"
                    " name another one with ?schema="
                )
            connection.execute("CREATE TABLE store_version (version bigint NOT NULL)")
            connection.execute("INSERT INTO store_version VALUES (0)")
        for script in known[version:]:
            with psycopg.ClientCursor(connection) as cursor:
                cursor.execute(script.encode())
        connection.execute("UPDATE store_version SET version=$1", (len(known),))
        connection.execute(
            "INSERT INTO secrets (name, value) VALUES ('checkpoints', $1) ON CONFLICT DO NOTHING",
            (secrets.token_bytes(KEY_BYTES),),
        )
