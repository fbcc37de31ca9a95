"""Storage of foreign code under the id of its own run: values in the store, files beside it (specs/store.md, G6)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from durable.core.ids import PREFIX
from durable.store import owner_check
from durable.store.operations.transaction import Tx
from durable.store.sqlite.file import SQLITE_ERRORS, explain

NAMESPACE = "session/execution/"
"""Before the id. No session has a name with a slash."""
DIRECTORY = "executions"
"""Beside the store; in it a directory by each id."""

_SWEPT = ".swept."
"""Before the name of what is being deleted; no id that keeps files begins with a dot."""
THERE = "SELECT 1 FROM promises WHERE id=?1 OR (id > ?1 || ':' AND id < ?1 || ';') LIMIT 1"
"""Whether there is a promise of a run, or a call of it; the parameter is its promise's id."""


def namespaces(tx: Tx, root: str) -> list[str]:
    """The namespaces of an execution, by its promise, and of what ran inside it."""
    own = NAMESPACE + root.removeprefix(PREFIX)
    sql = "SELECT namespace FROM kv_usage WHERE namespace=?1 OR (namespace > ?1 || '.' AND namespace < ?1 || '/')"
    return [row[0] for row in tx.rows(sql, (own,))]


def sweep_directories(store: Path, *, dry_run: bool = False) -> int:
    """Delete the files of runs of which nothing is recorded any more; how many runs' they were.

    A directory is moved aside while nobody can record anything: a run has its call's promise before it makes one, so
    whoever takes the id again makes a new directory.
    """
    directory = Path(f"{store}.d") / DIRECTORY
    if not directory.is_dir():
        return 0
    with _opened(store) as connection:
        return sweep_each(
            directory, lambda path: _recorded(connection, path), lambda path: _moved(connection, path), dry_run=dry_run
        )


def sweep_each(
    directory: Path, recorded: Callable[[Path], bool], moved: Callable[[Path], bool], *, dry_run: bool
) -> int:
    """The same for any store. `moved`: whether it looked again with nobody writing, and moved the directory aside."""
    gone = [path for path in directory.iterdir() if not recorded(path)]
    if dry_run:
        return sum(not path.name.startswith(_SWEPT) for path in gone)
    count = sum(moved(path) for path in gone)
    for path in directory.glob(f"{_SWEPT}*"):  # also what a sweep that was killed left
        from shutil import rmtree  # it brings compression with it, and there is seldom anything to delete

        rmtree(path, ignore_errors=True)
    return count


def move_aside(path: Path) -> bool:
    """Put a directory where nobody looks for it; False where that is done already, or cannot be."""
    if path.name.startswith(_SWEPT):
        return False
    try:
        path.rename(path.with_name(f"{_SWEPT}{path.name}"))
    except OSError:  # another upkeep was first, or what it left is still there: the next one takes it
        return False
    return True


@contextmanager
def _opened(store: Path) -> Iterator[sqlite3.Connection]:
    owner_check.check(store)
    try:
        with closing(sqlite3.connect(store, timeout=5.0, isolation_level=None)) as connection:
            yield connection
    except SQLITE_ERRORS as error:
        raise explain(store, error) from error


def _recorded(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there is a promise of this run, or a call of it."""
    return connection.execute(THERE, (PREFIX + path.name,)).fetchone() is not None


def _moved(connection: sqlite3.Connection, path: Path) -> bool:
    """Look again with nobody writing, and move it aside."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        return not _recorded(connection, path) and move_aside(path)
    finally:
        connection.execute("ROLLBACK")
