"""A SQLite file as an end of `durable copy` (specs/store.md, "Copy")."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from durable.core.blob_files import sync_path, write_private
from durable.core.errors import Conflict, StoreError, StoreMissing
from durable.store import owner_check
from durable.store.operations.row_records import Row
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.file import (
    APPLICATION_ID,
    SQLITE_ERRORS,
    check_version,
    explain,
    load_key,
    migrations,
    reading,
)
from durable.store.unfinished_copy import UNFINISHED
from durable.store.upkeep.backup import FORGET_HOLDERS
from durable.store.upkeep.blobs import alone, blobs, directory
from durable.store.upkeep.copied_tables import USED_BLOBS, WANTED

_BESIDE = ("-journal", "-wal", "-shm", ".key")


class _File:
    """The reading of both ends: tables and blobs."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def columns(self, table: str) -> list[str]:
        return [row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")]

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        return iter(self._connection.execute(f"SELECT {','.join(columns)} FROM {table} {WANTED.get(table, '')}"))

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        used = {row[0] for row in self._connection.execute(USED_BLOBS)}
        for file in blobs(self._path):
            if file.name in used:
                yield file.name, file.read_bytes()


class SourceFile(_File):
    """The file that is copied, in a transaction that keeps others from writing."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self.key = load_key(path, create=False)

    def living(self) -> list[str]:
        liveness = Liveness(Path(f"{self._path}.d"))
        rows = self._connection.execute("SELECT engine, pid FROM engines ORDER BY engine").fetchall()
        return [f"engine {engine[:8]} (pid {pid})" for engine, pid in rows if liveness.alive(engine)]

    def last_number(self, table: str) -> int:
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name=?", (table,)).fetchone()
        return 0 if row is None else int(row[0])


class TargetFile(_File):
    """The file that is made. Its key and its blobs are beside it before it is finished."""

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        places = ",".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({places})", rows)

    def put_blobs(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        root = directory(self._path)
        for digest, data in blobs:
            place = root / digest[:2] / digest
            for folder in (root, place.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            write_private(place, data)
        for folder in (*root.glob("??"), root, root.parent):
            if folder.is_dir():
                sync_path(folder)

    def finish(self, key: bytes, last_numbers: dict[str, int]) -> None:
        for sql in FORGET_HOLDERS:
            self._connection.execute(sql)
        for table, number in last_numbers.items():
            self._connection.execute("DELETE FROM sqlite_sequence WHERE name=?", (table,))
            self._connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?,?)", (table, number))
        write_private(Path(f"{self._path}.key"), key)
        self._connection.execute(f"PRAGMA user_version={len(migrations())}")
        self._connection.execute("COMMIT")
        sync_path(self._path.parent)


@contextmanager
def source_file(path: Path) -> Iterator[SourceFile]:
    """The store at a path, while nobody else writes it. StoreError."""
    if not path.exists():
        raise StoreMissing(f"there is no store at {str(path)!r}")
    with reading(path) as connection, alone(path):
        version, newest = connection.execute("PRAGMA user_version").fetchone()[0], len(migrations())
        check_version(path, version, newest)
        if version < newest:
            raise StoreError(f"store {str(path)!r} is of an older version; `durable list` brings it up to date")
        if os.access(path, os.W_OK):
            connection.execute("PRAGMA query_only=OFF")
            connection.execute("BEGIN IMMEDIATE")
        else:
            connection.execute("BEGIN")
        yield SourceFile(path, connection)
        connection.execute("ROLLBACK")


@contextmanager
def target_file(path: Path) -> Iterator[TargetFile]:
    """A new store at a path. Conflict when something is there; what an interrupted copy left is begun again."""
    owner_check.check(path)
    if path.exists() and _is_unfinished(path):
        shutil.rmtree(f"{path}.d", ignore_errors=True)
        for end in _BESIDE:
            Path(f"{path}{end}").unlink(missing_ok=True)
        path.unlink()
    for each in (path, Path(f"{path}.key"), Path(f"{path}.d")):
        if each.exists():
            raise Conflict(f"{str(each)!r} exists; a copy never overwrites, choose another path")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for script in migrations():
                for statement in script.split(";\n"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={UNFINISHED}")
            connection.execute("COMMIT")
            Path(f"{path}.d").mkdir(mode=0o700)
            connection.execute("BEGIN IMMEDIATE")
            yield TargetFile(path, connection)
    except SQLITE_ERRORS as error:
        raise explain(path, error) from error
    except OSError as error:
        raise StoreError(f"the copy {str(path)!r} cannot be written: {error.strerror}") from error


def _is_unfinished(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            marks = ("PRAGMA application_id", "PRAGMA user_version")
            return [connection.execute(each).fetchone()[0] for each in marks] == [APPLICATION_ID, UNFINISHED]
    except sqlite3.Error:
        return False
