"""An execution as one JSON document with a version: read, kept, imported elsewhere (specs/execution.md, Records)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from durable.core import ids
from durable.core.errors import BadArguments, Conflict, ExecutionError
from durable.core.value_codec import damage_in, is_sealed
from durable.engine.views import iso, kind_of
from durable.executions import exported_record
from durable.executions.states import PROMISE_OF
from durable.functions.failures import rebuild
from durable.records import notation
from durable.store.operations.execution_tags import tags_of
from durable.store.port import StoreFace
from durable.store.protocol.stream_tags import is_write
from durable.store.rows import ExecutionRow, PromiseRow, promise_row

KIND = "durable-execution"
VERSION = 1


@dataclass(frozen=True)
class ExecutionDocument:
    """Everything of an execution at one moment, as JSON.

    id: its id. context: its arguments, its function, the execution that it was forked from. results: its result or
    error, and what each operation came to. metadata: state, tags, attempts, notes. timestamps: ISO 8601 in UTC.
    record: what `engine.import_execution` and `durable import` recreate it from; the rest is for people. Where values
    are encrypted the record has them so, and the rest has none, unless they were asked for.
    """

    id: str
    context: dict[str, Any]
    results: dict[str, Any]
    metadata: dict[str, Any]
    timestamps: dict[str, Any]
    record: dict[str, Any]
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_json(cls, document: str | dict[str, Any]) -> Self:
        """From a document, or its text. BadArguments for what is none, or of another version."""
        try:
            found = json.loads(document) if isinstance(document, str) else document
        except (ValueError, RecursionError) as error:
            raise BadArguments(f"the document is not JSON: {error}") from None
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise BadArguments("this is no exported execution; `durable export ID` writes one")
        if found.get("version") != VERSION:
            raise BadArguments(
                f"the document has version {found.get('version')!r}, this durable-exec reads version {VERSION}; import "
                "it with the durable-exec that wrote it, or a newer one"
            )
        exported_record.check(found.get("record"))
        names = ("id", "context", "results", "metadata", "timestamps", "record")
        missing = [name for name in names if name not in found]
        if missing:
            raise BadArguments(f"the document lacks {', '.join(missing)}")
        root = found["record"]["promises"][0]
        own = root.get("id") if isinstance(root, dict) else None
        if own != f"{ids.PREFIX}{found['id']}":
            raise BadArguments(f"the document is of {found['id']!r}, and its record of {own!r}: it was changed by hand")
        return cls(**{name: found[name] for name in names})


async def export_document(store: StoreFace, row: ExecutionRow, *, open_values: bool = False) -> ExecutionDocument:
    """The document of a durable function's execution. Conflict for code in a session; ValueDamaged."""
    if kind_of(row) != "function":
        raise Conflict(
            f"{row.id} is code in a session, whose variables a document cannot hold: durable checkpoint export"
        )
    record = await exported_record.export(store, row)
    for promise in record["promises"]:
        for name in ("param", "value"):
            damage = damage_in(str((promise.get(name) or {}).get("data") or ""))
            if damage is not None:
                raise damage
    sealed = any(is_sealed(each) for each in record["promises"])
    shows = open_values or not sealed
    under = [promise_row(each) for each in record["promises"][1:]]
    param = row.param if isinstance(row.param, dict) else {}
    context = {
        "function": row.function,
        "arguments": {
            "args": notation.shown(param.get("args") or []),
            "kwargs": notation.shown(param.get("kwargs") or {}),
        },
        "forked_from": row.tags.get("durable:from"),
    }
    error = _error(row.id, PROMISE_OF.get(row.state, ""), row.value)
    results = {
        "result": notation.shown(row.value) if row.state == "completed" else None,
        "error": None if error is None else {"type": error.exception_type, "message": error.exception_message},
        "operations": [_operation(each, shows=shows) for each in under if ":retry:" not in each.id],
    }
    if not shows:
        context["arguments"] = results["result"] = None
        results["error"] = None if error is None else {"type": "", "message": ""}
    metadata = {
        "state": row.state,
        "tags": tags_of(row.tags),
        "starts": row.starts,
        "attempts": row.attempts,
        "note": row.note,
        "last_error": row.last_error,
        "sealed": sealed,
    }
    timestamps = {
        "created_at": iso(row.created_at),
        "settled_at": iso(row.settled_at),
        "timeout_at": iso(row.timeout_at),
    }
    return ExecutionDocument(row.id, context, results, metadata, timestamps, record)


def _operation(row: PromiseRow, *, shows: bool) -> dict[str, Any]:
    error = _error(row.id, "" if row.state in ("pending", "resolved") else row.state, row.value)
    value = None if row.state != "resolved" or not shows else row.param if is_write(row.tags) else row.value
    return {
        "id": row.id.removeprefix(ids.PREFIX),
        "kind": row.tags.get("durable:kind", "call"),
        "name": row.tags.get("durable:name", ""),
        "state": row.state,
        "value": notation.shown(value),
        "error": None if error is None or not shows else f"{error.exception_type}: {error.exception_message}",
        "created_at": iso(row.created_at),
        "settled_at": iso(row.settled_at),
    }


def _error(execution_id: str, state: str, value: Any) -> ExecutionError | None:
    return rebuild(state, value, execution_id.removeprefix(ids.PREFIX)) if state else None
