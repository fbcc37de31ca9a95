"""Where a test can end the process: before and after every statement that writes, and every commit.

Nothing of this runs in production: a store has the class of connection that `watched` makes only when `Store.open` was
given a hook, which is an object of the caller's and cannot be switched on from outside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Literal, override

type Fault = Callable[[Literal["before", "after"], str], None]
"""Called on the writer's thread with the statement that is about to run, or that ran."""

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER", "COMMIT", "ROLLBACK")


def writes(sql: str) -> bool:
    """Whether a statement changes the file; `PRAGMA name=value` does for some names."""
    word = sql.lstrip().upper()
    while word.startswith("--"):
        word = word.partition("\n")[2].lstrip()
    return word.startswith(_WRITES) or (word.startswith("PRAGMA") and "=" in word)


def watched(fault: Fault) -> type[sqlite3.Connection]:
    """A connection that tells the hook of each write. BEGIN writes nothing."""

    class Watched(sqlite3.Connection):
        @override
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if not writes(sql):
                return super().execute(sql, parameters)
            fault("before", sql)
            cursor = super().execute(sql, parameters)
            fault("after", sql)
            return cursor

        @override
        def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
            fault("before", sql)
            cursor = super().executemany(sql, parameters)
            fault("after", sql)
            return cursor

    return Watched
