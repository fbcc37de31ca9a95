"""The process that runs one query: python -I -S query_process.py, what to run on stdin as JSON, the answer on stdout.

It is a process of its own because SQL decides what it takes: memory, temporary files and time are limited here, and
what goes wrong in SQLite with a hostile file ends this process only. Nothing but the standard library is imported.
"""

import base64
import json
import resource
import sqlite3
import sys
from contextlib import closing
from typing import Any
from urllib.parse import quote

MEMORY_BYTES_MAX = 512 * 2**20
FILE_BYTES_MAX = 64 * 2**20
"""Of each temporary file: sorting and recursion spill into them."""

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}


def _authorize(action: int, _first: str | None, second: str | None, _database: str | None, _view: str | None) -> int:
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second not in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _limit(seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cpu = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """`{rows}`, or `{error: kind, text | used}`: denied, exceeded (of `resource`), invalid."""
    bytes_max = asked["bytes_max"]
    uri = f"file:{quote(asked['path'])}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=asked["seconds"])) as connection:
        connection.execute("PRAGMA query_only=ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, bytes_max)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorize)
        try:
            return _rows(connection.execute(asked["sql"], asked["parameters"] or ()), asked["rows_max"], bytes_max)
        except (sqlite3.Error, sqlite3.Warning) as error:
            denied = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_AUTH or "not authorized" in str(error)
            return {"error": "denied" if denied else "invalid", "text": str(error)}


def _rows(cursor: sqlite3.Cursor, rows_max: int, bytes_max: int) -> dict[str, Any]:
    names = [column[0] for column in cursor.description or ()]
    each_row = sum(map(len, names)) + 8 * len(names)
    found: list[dict[str, Any]] = []
    size = 0
    for row in cursor:
        if len(found) >= rows_max:
            return {"error": "exceeded", "resource": "rows", "used": rows_max + 1}
        size += each_row + sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > bytes_max:
            return {"error": "exceeded", "resource": "result", "used": size}
        found.append(dict(zip(names, map(_plain, row), strict=True)))
    return {"rows": found}


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def main() -> None:
    """Run the query that stdin asks for."""
    asked = json.load(sys.stdin)
    _limit(asked["seconds"])
    try:
        answer = run(asked)
    except MemoryError:
        answer = {"error": "exceeded", "resource": "memory", "used": MEMORY_BYTES_MAX}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
