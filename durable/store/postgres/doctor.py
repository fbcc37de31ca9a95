"""The problems of a store in a database and of its server, found without changing them (specs/store.md, "Doctor")."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from durable.core.errors import StoreMissing
from durable.core.limits import BLOB_GRACE_S
from durable.store.operations.row_records import Row
from durable.store.postgres.address import Address, address_of
from durable.store.postgres.chunks import UNUSED, kept_chunk
from durable.store.postgres.connection import (
    KEY_BYTES,
    VERSION_MIN,
    connect,
    explain,
    is_there,
    schema_version,
    scripts,
)
from durable.store.postgres.database_rights import lacking
from durable.store.postgres.dialect import given, translated
from durable.store.postgres.holder import is_gone
from durable.store.postgres.liveness import NOW
from durable.store.unfinished_copy import UNFINISHED, unfinished
from durable.store.upkeep import record_checks
from durable.store.upkeep.record_checks import Finding, Opens

VERSION_TRIED_MAX = 18
"""The newest PostgreSQL that this was tried on."""
CLOCK_SKEW_S_MAX = 2.0
"""What a person notices: deadlines and the times that commands show are the server's."""
TRANSACTION_S_MAX = 300
"""None of ours takes seconds, but for a copy. What is open longer keeps dead rows from being removed."""
DEAD_ROWS_MIN = 10_000
DEAD_SHARE_MAX = 1.0
"""As many dead rows as living ones: autovacuum begins at a fifth."""
CONNECTIONS_SHARE_MAX = 0.9
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class _Looked:
    """A connection on which checks look, in one transaction that reads only."""

    address: Address
    connection: psycopg.Connection[Any]

    def run(self, statement: str, parameters: tuple[Any, ...] = ()) -> Iterator[Row]:
        """Run one of the statements that all kinds of stores share; its rows as they come."""
        with psycopg.RawServerCursor(self.connection, "doctor") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(translated(statement), parameters)
            for row in cursor:
                yield given(row)

    def ask(self, statement: str, *parameters: Any) -> list[Row]:
        """Run one of PostgreSQL's own."""
        return self.connection.execute(statement.encode(), parameters).fetchall()


type Elsewhere = Callable[[bytes], Container[str]]
"""Gives the digests of the large chunks that an object store keeps, by the store's key."""


def examine_database(url: str, elsewhere: Elsewhere | None = None, opens: Opens | None = None) -> list[Finding]:
    """Everything that is wrong, the worst first. Reads only. StoreError when there is no store, or it is not reached.

    `opens`: what reads manifests, so that those of checkpoints are looked into.
    """
    address = address_of(url)
    found: list[Finding] = []
    with _looking(address) as looked:
        for check, look in _SERVER.items():
            found += [Finding(check, message) for message in look(looked)]
        for check, decisive in (("grants", _grants), ("schema", _schema)):
            messages = list(decisive(looked))
            found += [Finding(check, message) for message in messages]
            if messages:
                return found  # the checks after them could not read, or would read what they do not know
        looked.ask("SELECT set_config('search_path', $1, true)", address.schema)
        for check, look in _STORE.items():
            found += [Finding(check, message) for message in look(looked)]
        key = _key_of(looked)
        if opens is not None and key is not None:
            found += [Finding("checkpoints", each) for each in record_checks.checkpoints(looked.run, key, opens)]
        objects = elsewhere(key) if elsewhere is not None and key is not None else ()
        found += [Finding("chunks", each) for each in _missing(looked, objects)]
    return found


@contextmanager
def _looking(address: Address) -> Iterator[_Looked]:
    with connect(address) as connection:
        try:
            if not is_there(connection, address):
                raise StoreMissing(f"there is no store at {address.shown!r}; `durable run` or `durable exec` makes one")
            with connection.transaction():
                connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield _Looked(address, connection)
        except psycopg.Error as error:
            raise explain(address, error) from None


def _server(looked: _Looked) -> Iterator[str]:
    major = looked.connection.info.server_version // 10_000
    if major < VERSION_MIN:
        yield f"PostgreSQL {major} is too old; {VERSION_MIN} or newer is needed"
    elif major > VERSION_TRIED_MAX:
        yield f"PostgreSQL {major} was not tried with this durable-exec; {VERSION_MIN} to {VERSION_TRIED_MAX} were"


def _encoding(looked: _Looked) -> Iterator[str]:
    ((encoding,),) = looked.ask("SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        yield f"the database's encoding is {encoding}, not UTF8; make a database that has it"


def _durability(looked: _Looked) -> Iterator[str]:
    for name, value in looked.ask("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(_DURABLE)):
        if value == "off":
            yield f"{name} is off on the server: a crash of its machine loses what was acknowledged; turn it on"


def _clock(looked: _Looked) -> Iterator[str]:
    before = time.time()
    ((server,),) = looked.ask("SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    ahead = server - after if server > after else server - before if server < before else 0.0
    if abs(ahead) > CLOCK_SKEW_S_MAX:
        way = "ahead of" if ahead > 0 else "behind"
        yield f"the server's clock is {abs(ahead):.0f} s {way} this machine's; set both by NTP"


def _connections(looked: _Looked) -> Iterator[str]:
    ((used, most),) = looked.ask(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections')::bigint"
    )
    if used > most * CONNECTIONS_SHARE_MAX:
        yield f"{used} of {most} connections are in use, and an engine needs four; raise max_connections, or pool them"


def _transactions(looked: _Looked) -> Iterator[str]:
    rows = looked.ask(
        "SELECT pid, application_name, state, extract(epoch FROM clock_timestamp() - xact_start)::bigint"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start < clock_timestamp() - make_interval(secs => $1) ORDER BY xact_start",
        TRANSACTION_S_MAX,
    )
    for pid, program, state, seconds in rows:
        yield (
            f"a transaction of {program or 'a program'} (server process {pid}, {state}) has been open for {seconds} s:"
            f" it keeps dead rows from being removed; `SELECT pg_terminate_backend({pid})` ends it"
        )


def _bloat(looked: _Looked) -> Iterator[str]:
    rows = looked.ask(
        "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = $1"
        " AND n_dead_tup >= $2 AND n_dead_tup > $3 * n_live_tup ORDER BY n_dead_tup DESC",
        looked.address.schema,
        DEAD_ROWS_MIN,
        DEAD_SHARE_MAX,
    )
    for table, living, dead in rows:
        yield (
            f"table {table} has {dead} dead rows beside {living}: autovacuum does not keep up;"
            f" `VACUUM (ANALYZE) {looked.address.schema}.{table}`, and look for long transactions"
        )


def _schema(looked: _Looked) -> Iterator[str]:
    version, known = schema_version(looked.connection, looked.address), len(scripts())
    if version == UNFINISHED:
        yield unfinished(repr(looked.address.shown))
    elif version is None or version > known:
        yield f"schema version {version}, this durable-exec knows up to {known}; upgrade durable-exec"
    elif version < known:
        yield f"schema version {version}, current is {known}; the next command that opens it brings it up to date"


def _grants(looked: _Looked) -> Iterator[str]:
    yield from lacking(looked.connection, looked.address.schema)


def _key(looked: _Looked) -> Iterator[str]:
    if _key_of(looked) is None:
        yield "the key in the table `secrets` is missing or damaged: no checkpoint can be restored; restore a backup"


def _key_of(looked: _Looked) -> bytes | None:
    rows = looked.ask("SELECT value FROM secrets WHERE name='checkpoints'")
    return bytes(rows[0][0]) if rows and len(rows[0][0]) == KEY_BYTES else None


def _engines(looked: _Looked) -> Iterator[str]:
    alive, now = _living(looked)
    return record_checks.engines(looked.run, alive, now)


def _deployments(looked: _Looked) -> Iterator[str]:
    return record_checks.deployments(looked.run, _living(looked)[0])


def _living(looked: _Looked) -> tuple[Callable[[str], bool], int]:
    """Says which engines are alive, and the server's time in ms."""
    leases = {engine: (holder, until) for engine, holder, until in looked.ask("SELECT * FROM engine_leases")}
    ((now,),) = looked.ask(f"SELECT {NOW}")

    def alive(engine: str) -> bool:
        holder, until = leases.get(engine, ("", 0))
        return bool(until >= now) and not is_gone(holder)

    return alive, now


def _large_values(looked: _Looked) -> Iterator[str]:
    return record_checks.large_values(looked.run, partial(kept_chunk, looked.connection))


def _missing(looked: _Looked, elsewhere: Container[str]) -> Iterator[str]:
    there = {row[0] for row in looked.run("SELECT digest FROM blobs")}

    class Either(Container[str]):
        def __contains__(self, digest: object) -> bool:
            return digest in there or digest in elsewhere

    return record_checks.missing(looked.run, Either(), "restore a backup, or set DURABLE_BLOBS")


def _orphans(looked: _Looked) -> Iterator[str]:
    ((count, size),) = looked.ask(
        f"SELECT count(*), coalesce(sum(size), 0) {UNUSED}",
        int(BLOB_GRACE_S * 1000),
    )
    if count:
        yield f"{count} blobs ({size} bytes) are used by nothing; `durable gc` deletes them"


type _Look = Callable[[_Looked], Iterator[str]]

_SERVER: dict[str, _Look] = {
    "server": _server,
    "encoding": _encoding,
    "durability": _durability,
    "clock": _clock,
    "connections": _connections,
    "transactions": _transactions,
    "bloat": _bloat,
}
_STORE: dict[str, _Look] = {
    "key": _key,
    "invariants": lambda looked: record_checks.invariants(looked.run),
    "values": lambda looked: record_checks.values(looked.run),
    "large values": _large_values,
    "engines": _engines,
    "deployments": _deployments,
    "blobs": _orphans,
}
