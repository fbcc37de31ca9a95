"""`query`: SQL that only reads, on a granted SQLite file. SQLite itself refuses what is not allowed."""

from __future__ import annotations

import base64
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from capabilities.call import Call
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from durable.core.errors import BadArguments, ResourceExceeded

RESULT_BYTES_MAX = 10 * 2**20
"""Text and blobs of one result."""
_STEPS = 10_000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}


def database_path(target: str) -> Path:
    """The file that a manifest names by a path or by `sqlite:///path`. BadArguments for another scheme."""
    if "://" not in target:
        return Path(target).expanduser()
    parts = urlsplit(target)
    if parts.scheme != "sqlite" or parts.netloc:
        raise BadArguments(f"{parts.scheme}: only SQLite files can be queried; write a path or sqlite:///path")
    return Path(unquote(parts.path[1:])).expanduser()


def _authorize(action: int, _first: str | None, second: str | None, _database: str | None, _view: str | None) -> int:
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second not in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


class Query(Capability):
    """SELECTs on granted SQLite files."""

    name = "query"

    def touches(self, call: Call) -> tuple[Resource, ...]:
        return (Resource("database", "read", call.arguments["database"]),)

    def call(
        self, call: Call, database: str, sql: str, parameters: list[Any] | dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a SELECT, each a dict by column; blobs as base64. `database` is a name from the manifest.

        PermissionError for anything that is not reading; ValueError for what SQLite cannot run; TimeoutError.
        """
        limits = call.policy.manifest.query
        target = limits.databases.get(database)
        if target is None:
            raise BadArguments(f"no file is known for the database {database!r}; a manifest names it: query.databases")
        path = database_path(target).absolute()
        if not path.is_file():
            raise FileNotFoundError(f"the database {database!r} does not exist")
        uri = f"file:{quote(str(path))}?mode=ro"
        deadline = time.monotonic() + limits.seconds_max
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=limits.seconds_max)) as connection:
            connection.execute("PRAGMA query_only=ON")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, RESULT_BYTES_MAX)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_authorizer(_authorize)
            connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
            try:
                return _rows(connection.execute(sql, parameters or ()), limits.rows_max)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_AUTH or "not authorized" in str(error):
                    raise PermissionError(f"only reading is allowed here: {error}") from None
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    raise TimeoutError(f"the query took longer than {limits.seconds_max:g} s") from None
                raise ValueError(f"SQLite: {error}") from None
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise ValueError(f"SQLite: {error}") from None


def _rows(cursor: sqlite3.Cursor, rows_max: int) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    found: list[dict[str, Any]] = []
    size = 0
    for row in cursor:
        if len(found) >= rows_max:
            raise ResourceExceeded.of("rows", rows_max, rows_max + 1)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > RESULT_BYTES_MAX:
            raise ResourceExceeded.of("result", RESULT_BYTES_MAX, size)
        found.append(dict(zip(names, map(_plain, row), strict=True)))
    return found


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
