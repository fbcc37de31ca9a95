"""`query`: SQL that only reads, on a granted SQLite file, in a process of its own (query_process.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from capabilities.permissions.manifest import database_path
from capabilities.standard import query_process
from durable.core.errors import BadArguments, ResourceExceeded

RESULT_BYTES_MAX = 10 * 2**20
"""Text and blobs of one result, with the names of its columns in each row."""

_REMEDY = "let the query give less; a manifest can allow more rows: query.rows_max"
ANSWER_BYTES_MAX = 8 * RESULT_BYTES_MAX
"""As JSON: a control character takes six bytes there."""


class Query(Capability):
    """SELECTs on granted SQLite files."""

    name = "query"

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("database", "read", call.arguments["database"]),)

    async def call(
        self, call: CapabilityCall, database: str, sql: str, parameters: list[Any] | dict[str, Any] | None = None
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
        asked = {
            "path": str(path),
            "sql": sql,
            "parameters": parameters,
            "seconds": limits.seconds_max,
            "rows_max": limits.rows_max,
            "bytes_max": RESULT_BYTES_MAX,
        }
        return _rows(await _run(asked, limits.seconds_max), limits.rows_max)


async def _run(asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        query_process.__file__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            answer = await _talk(process, json.dumps(asked).encode())
    except TimeoutError:
        raise TimeoutError(f"the query took longer than {seconds:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if not answer:
        held = query_process.MEMORY_BYTES_MAX
        raise ResourceExceeded.of("memory", held, held, remedy=_REMEDY)
    found: dict[str, Any] = json.loads(answer)
    return found


async def _talk(process: asyncio.subprocess.Process, asked: bytes) -> bytes:
    """Its whole answer; nothing of one that is longer than an answer can be, or of a process that died."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(asked)
        await process.stdin.drain()
        process.stdin.close()
    parts, size = [], 0
    while chunk := await process.stdout.read(2**20):
        parts.append(chunk)
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            return b""
    return b"".join(parts) if await process.wait() == 0 else b""


def _rows(answer: dict[str, Any], rows_max: int) -> list[dict[str, Any]]:
    text = answer.get("text", "")
    match answer.get("error"):
        case None:
            rows: list[dict[str, Any]] = answer["rows"]
            return rows
        case "denied":
            raise PermissionError(f"only reading is allowed here: {text}")
        case "exceeded":
            limits = {"rows": rows_max, "result": RESULT_BYTES_MAX, "memory": query_process.MEMORY_BYTES_MAX}
            which = answer["resource"]
            raise ResourceExceeded.of(which, limits[which], answer["used"], remedy=_REMEDY)
        case _:
            raise ValueError(f"SQLite: {text}")
