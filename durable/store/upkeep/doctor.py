"""The problems of a store, found without changing it; none when all is well (specs/store.md, "Doctor")."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from durable.core.clock import now_ms
from durable.core.errors import DurableError, StoreError
from durable.core.ids import PREFIX
from durable.core.limits import DISK_FREE_BYTES_MIN, LIVENESS_CHECK_S
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.file import APPLICATION_ID, load_key, migrations, reading
from durable.store.upkeep.blobs import blobs, directory, orphans
from durable.store.upkeep.invariants import broken

_SHOWN_MAX = 20
"""Problems of SQLite's own check that are shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `check` is the name of what found it; `message` says what to do, too."""

    check: str
    message: str


type Opens = Callable[[bytes, bytes], object]
"""Reads a checkpoint's manifest with the store's key; DurableError says why it is refused."""


def examine(path: Path, elsewhere: Container[str] = (), opens: Opens | None = None) -> list[Finding]:
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


def _schema(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    version, known = connection.execute("PRAGMA user_version").fetchone()[0], len(migrations())
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        yield "it is not a store: another program's database, or an empty file"
    elif version > known:
        yield f"schema version {version}, this durable-exec knows up to {known}; upgrade durable-exec"
    elif version < known:
        yield f"schema version {version}, current is {known}; the next command that opens it brings it up to date"


def _integrity(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    for (line,) in connection.execute(f"PRAGMA integrity_check({_SHOWN_MAX})"):
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


def _journal(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        yield f"journal mode {mode}, expected wal; the next command that opens it sets it"


def _invariants(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    for rule, what in broken(connection):
        yield f"{what}: does not hold: {rule}; report it, and restore a backup if something does not go on"


def _engines(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    liveness = Liveness(Path(f"{path}.d"))
    now = now_ms()
    gone = set()
    for engine, pid, joined_at in connection.execute("SELECT engine, pid, joined_at FROM engines ORDER BY engine"):
        if not liveness.alive(engine):
            gone.add(engine)
            seconds = (now - joined_at) // 1000
            yield f"engine {engine[:8]} (pid {pid}), begun {seconds} s ago, is dead; `durable resume` goes on for it"
    slack = int(LIVENESS_CHECK_S * 1000)
    for task, holder, lease_at in connection.execute(
        "SELECT id, pid, lease_at FROM tasks WHERE state='acquired' AND lease_at < ? ORDER BY lease_at, id",
        (now - slack,),
    ):
        if holder not in gone:
            late = (now - lease_at) // 1000
            yield f"{task} is held by {holder}, whose lease ended {late} s ago; `durable resume` frees it"


def _values(connection: sqlite3.Connection, _path: Path) -> Iterator[str]:
    """Recorded values that are not base64 of JSON; SQLite has no checksums, and the store does not look inside."""
    rows = connection.execute(
        "SELECT id, state, param_data, value_data FROM promises"
        " WHERE id >= 'exec:' AND id < 'exec;' AND (param_data IS NOT NULL OR value_data IS NOT NULL) ORDER BY id"
    )
    damaged = 0
    for promise, state, param, value in rows:
        named = "value" if value is not None and not _is_json(value) else "arguments"
        if named == "arguments" and (param is None or _is_json(param)):
            continue
        damaged += 1
        if damaged <= _SHOWN_MAX:
            yield f"{promise}: its recorded {named} are no JSON; {_how_to_go_on(promise, state)}"
    if damaged > _SHOWN_MAX:
        yield f"{damaged - _SHOWN_MAX} more recorded values are no JSON; restore a backup"


def _is_json(data: str) -> bool:
    try:
        msgspec.json.decode(base64.b64decode(data, validate=True))
    except (ValueError, msgspec.MsgspecError):
        return False
    return True


def _how_to_go_on(promise: str, state: str) -> str:
    execution = promise.removeprefix(PREFIX)
    root = execution.partition(":")[0].partition(".")[0]
    if state == "pending":
        return f"restore a backup, or `durable cancel {root}` and start it under another id"
    if root != execution:
        return (
            f"whatever of {root} reads it stops there: restore a backup, or `durable cancel {root}` and start it anew"
        )
    return f"its result cannot be read: restore a backup, or start {root} under another id"


def _checkpoints(connection: sqlite3.Connection, path: Path, opens: Opens) -> Iterator[str]:
    try:
        key = load_key(path, create=False)
    except StoreError:
        return  # found already
    newest: dict[str, int] = {}
    refused: list[tuple[int, str, str]] = []
    for checkpoint, session, manifest in connection.execute(
        "SELECT id, session, manifest FROM checkpoints ORDER BY id"
    ):
        newest[session] = checkpoint
        try:
            opens(manifest, key)
        except DurableError as error:
            refused.append((checkpoint, session, str(error)))
    bad = {checkpoint for checkpoint, _, _ in refused}
    for checkpoint, session, why in refused:
        back = f"`durable checkpoint drop {session} {checkpoint}`"
        if newest[session] in bad:
            back = f"`durable resume --skip-checkpoint {checkpoint}` goes on from the one before, where that is whole"
        yield f"checkpoint {checkpoint} of session {session!r} is refused: {why}; restore a backup, or {back}"


def _missing(connection: sqlite3.Connection, path: Path, elsewhere: Container[str] = ()) -> Iterator[str]:
    files = {each.name for each in blobs(path)}
    rows = connection.execute(
        "SELECT u.checkpoint, c.session, u.digest FROM checkpoint_uses u JOIN checkpoints c ON c.id=u.checkpoint"
        " WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.digest=u.digest) ORDER BY u.checkpoint"
    )
    lacking: dict[tuple[int, str], int] = {}
    for checkpoint, session, digest in rows:
        if digest not in files and digest not in elsewhere:
            lacking[checkpoint, session] = lacking.get((checkpoint, session), 0) + 1
    for (checkpoint, session), count in lacking.items():
        back = f"put {directory(path)} back, or set DURABLE_BLOBS"
        yield f"checkpoint {checkpoint} of session {session!r} lacks {count} chunks; {back}"


def _orphans(_connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    found = [status.st_size for _, status in orphans(path, time.time())]
    if found:
        yield f"{len(found)} blobs ({sum(found)} bytes) are used by no checkpoint; `durable gc` deletes them"


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
    "journal": _journal,
    "invariants": _invariants,
    "values": _values,
    "engines": _engines,
    "chunks": _missing,
    "blobs": _orphans,
}
_DECISIVE = {"schema", "integrity", "text"}
"""The checks whose problems make the checks after them meaningless."""
