"""The problems of a store, found without changing it; none when all is well (specs/store.md, "Doctor")."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from durable.core.clock import now_ms
from durable.core.errors import StoreError
from durable.core.limits import DISK_FREE_BYTES_MIN
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.file import APPLICATION_ID, load_key, migrations, reading
from durable.store.sqlite.value_files import ValueFiles
from durable.store.unfinished_copy import UNFINISHED, unfinished
from durable.store.upkeep import record_checks
from durable.store.upkeep.blobs import blobs, directory, orphans
from durable.store.upkeep.record_checks import SHOWN_MAX, Finding, Opens


def examine(path: Path, elsewhere: Iterable[str] = (), opens: Opens | None = None) -> list[Finding]:
    """Everything that is wrong, the worst first. Reads only. StoreError when there is no store at that path.

    `elsewhere`: digests of the blobs that are kept in another place than beside the file. `opens`: what reads
    manifests, so that those of checkpoints are looked into.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise StoreError(f"there is no store at {str(path)!r}; `durable run` or `durable exec` makes one")
    found = [Finding("permissions", message) for message in _permissions(path)]
    found += [Finding("key", message) for message in _key(path)]
    found += [Finding("disk", message) for message in _disk(path)]
    try:
        with reading(path) as connection:
            looks = _IN_THE_FILE | {"chunks": partial(_missing, elsewhere=elsewhere)}
            if opens is not None:
                looks["checkpoints"] = partial(_checkpoints, opens=opens)
            for check, look in looks.items():
                messages = list(look(connection, path))
                found += [Finding(check, message) for message in messages]
                if messages and check in _DECISIVE:
                    return found
    except StoreError as error:
        found.insert(0, Finding("file", str(error)))
    return found


def _schema(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    version, known = connection.execute("PRAGMA user_version").fetchone()[0], len(migrations())
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        yield "it is not a store: another program's database, or an empty file"
    elif version == UNFINISHED:
        yield unfinished(repr(str(path)))
    elif version > known:
        yield f"schema version {version}, this durable-exec knows up to {known}; upgrade durable-exec"
    elif version < known:
        yield f"schema version {version}, current is {known}; the next command that opens it brings it up to date"


def _integrity(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    for (line,) in connection.execute(f"PRAGMA integrity_check({SHOWN_MAX})"):
        if line != "ok":
            yield f"the file is damaged: {' '.join(line.split())}; restore a backup"


def _text(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    """SQLite checks its own structure, not that text is text: a damaged byte in it fails whoever reads it later."""
    columns = connection.execute(
        "SELECT t.name, group_concat(c.name) FROM sqlite_master t, pragma_table_info(t.name) c"
        " WHERE t.type='table' AND c.type='TEXT' GROUP BY t.name ORDER BY t.name"
    ).fetchall()
    connection.text_factory = _is_text
    try:
        for table, names in columns:
            rows = connection.execute(f"SELECT {names} FROM {table}")
            damaged = sum(any(value is False for value in row) for row in rows)
            if damaged:
                yield f"{damaged} rows of {table} hold text that is none; restore a backup"
    finally:
        connection.text_factory = str


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _checkpoints(connection: sqlite3.Connection, path: Path, opens: Opens) -> Iterator[str]:
    try:
        key = load_key(path, create=False)
    except StoreError:
        return  # found already
    yield from record_checks.checkpoints(connection.execute, key, opens)


def _missing(connection: sqlite3.Connection, path: Path, elsewhere: Iterable[str] = ()) -> Iterator[str]:
    there = {each.name for each in blobs(path)} | set(elsewhere)
    yield from record_checks.missing(connection.execute, there, f"put {directory(path)} back, or set DURABLE_BLOBS")


def _large_values(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    return record_checks.large_values(connection.execute, ValueFiles(path).read)


def _engines(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    return record_checks.engines(connection.execute, Liveness(Path(f"{path}.d")).alive, now_ms())


def _deployments(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    return record_checks.deployments(connection.execute, Liveness(Path(f"{path}.d")).alive)


def _orphans(_connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    found = [status.st_size for _, status in orphans(path, time.time())]
    if found:
        yield f"{len(found)} blobs ({sum(found)} bytes) are used by nothing; `durable gc` deletes them"


def _permissions(path: Path) -> Iterator[str]:
    private = [path, Path(f"{path}-wal"), Path(f"{path}-shm"), Path(f"{path}.key"), Path(f"{path}.d")]
    for each in private:
        try:
            status = each.stat()
        except FileNotFoundError:
            continue
        if stat.S_IMODE(status.st_mode) & 0o077:
            mode = "700" if each.is_dir() else "600"
            yield f"{str(each)!r} can be used by others (mode {stat.S_IMODE(status.st_mode):o}); `chmod {mode}` it"
        if status.st_uid != os.geteuid():
            yield f"{str(each)!r} belongs to another user (uid {status.st_uid})"
        if not os.access(each, os.R_OK | os.W_OK):
            yield f"{str(each)!r} cannot be read and written"


def _key(path: Path) -> Iterator[str]:
    if not Path(f"{path}.key").exists():
        yield f"the key {str(path)!r}.key is missing: no checkpoint can be restored; put it back from a backup"
        return
    try:
        load_key(path)
    except StoreError as error:
        yield str(error)


def _disk(path: Path) -> Iterator[str]:
    free = shutil.disk_usage(path.parent).free
    if free < DISK_FREE_BYTES_MIN:
        yield f"only {free} bytes are free on the disk of {str(path.parent)!r}; free some, `durable gc` may help"


type _Look = Callable[[sqlite3.Connection, Path], Iterator[str]]

_IN_THE_FILE: dict[str, _Look] = {
    "schema": _schema,
    "integrity": _integrity,
    "text": _text,
    "invariants": lambda connection, _: record_checks.invariants(connection.execute),
    "values": lambda connection, _: record_checks.values(connection.execute),
    "large values": _large_values,
    "engines": _engines,
    "deployments": _deployments,
    "chunks": _missing,
    "blobs": _orphans,
}
_DECISIVE = {"schema", "integrity", "text"}
"""The checks whose problems make the checks after them meaningless."""
