"""How a pass ended, from what its worker said or what the final checkpoint carries."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from bridge.protocol.messages import Error, Result
from durable.core.errors import ResourceExceeded
from durable.core.limits import PRINTED_CHARS_MAX, WARNINGS_MAX
from durable.functions.failures import cut, document, read_document
from durable.records.displays import DISPLAY
from durable.records.result import Texts
from durable.records.stored_output import CopyRow, Stream
from durable.sessions.execution.cell import CellDone, Failed, Pass
from durable.store.port import ReadsFace
from durable.store.rows import ExecutionRow

UNSAVED_ROWS_MAX = 20
"""Executions that are looked at for what was not saved."""


def outcome_from(
    reply: Result | Error | ResourceExceeded, execution_id: str, told: Mapping[str, Any] = MappingProxyType({})
) -> CellDone | Failed:
    """The outcome that a worker's reply is. told: what the engine says of the execution besides."""
    if isinstance(reply, ResourceExceeded):
        return Failed({**document(reply, execution_id), **told})
    if isinstance(reply, Error):
        return Failed(
            {
                "type": "error",
                "exception_type": cut(reply.exception_type),
                "exception_message": cut(reply.exception_message),
                "traceback": cut(reply.traceback),
                "execution_id": execution_id,
                "execution_time": reply.execution_time,
                **_about(reply),
                **told,
            }
        )
    value = {"value": reply.value, "repr": cut(reply.repr), "execution_time": reply.execution_time}
    return CellDone({"id": execution_id, **value, **_about(reply), **told})


async def unsaved_before(reads: ReadsFace, session: str, execution: str) -> list[str]:
    """The notes of an execution whose worker was restored: which executions before it were not saved."""
    if execution == f"{session}@1":
        return []
    lost: list[str] = []
    for row in await reads.list_executions(session=session, limit=UNSAVED_ROWS_MAX):
        if row.id != execution and row.state in ("completed", "failed"):
            why = not_saved(row)
            if not why:
                break
            lost.append(f"what {row.id} left is gone: it was not saved ({why}), and the session was restored")
    return lost[::-1]


def not_saved(row: ExecutionRow) -> str:
    """Why what a settled cell left was not saved; empty where it was."""
    record = row.value if row.state == "completed" else read_document(row.value)
    why = record.get("not_saved") if isinstance(record, dict) else None
    return why if isinstance(why, str) else ""


async def told_of(found: Pass, reads: ReadsFace) -> dict[str, Any]:
    """The engine's own entries in the record of an execution, where there is something to say.

    A cell of a durable function has the end of its output there: a replay reads it without asking for it.
    """
    told: dict[str, Any] = {"earlier": found.earlier} if found.earlier else {}
    if found.failures:
        told["failures"] = [*found.failures]
    if found.not_saved:
        told["not_saved"] = found.not_saved
    if not found.execution_id.startswith(f"{found.cell.session}@"):
        told |= await _printed(found, reads)
    return told


async def _printed(found: Pass, reads: ReadsFace) -> dict[str, Any]:
    """The last characters of the output, by stream, and the offset in the output at which they begin."""
    end, origin = found.copy.offset, found.recent.origin
    begin = max(0, end - PRINTED_CHARS_MAX)
    rows: list[CopyRow] = []
    if begin < origin:
        stored = await reads.output(found.execution_id, begin, limit=2**31)
        rows = [CopyRow(row.offset, row.stream, row.text, row.chars) for row in stored if row.offset < origin]
    recent = found.recent.since(max(begin, origin)) or []
    rows += [CopyRow(event.offset, _stream(event.stream), event.data, event.end - event.offset) for event in recent]
    texts = Texts.of(rows)
    if not (texts.stdout or texts.stderr or begin):
        return {}
    return {"printed": [texts.stdout, texts.stderr], "printed_from": begin}


def _stream(name: str) -> Stream:
    return "stderr" if name == "stderr" else "display" if name == DISPLAY else "stdout"


def _about(reply: Result | Error) -> dict[str, Any]:
    """Further entries in the record of an execution, where there is something to say."""
    found: dict[str, Any] = {} if reply.mode == "simple_sync" else {"mode": reply.mode}
    if reply.warnings:
        found["warnings"] = [cut(text) for text in reply.warnings[:WARNINGS_MAX]]
    if reply.rollback is not None:
        found["rollback"] = msgspec.structs.asdict(reply.rollback)
    return found


def recordable(outcome: Result | Error) -> dict[str, Any]:
    """The outcome as a final checkpoint keeps it: in the worker's words, its texts cut as the record's are."""
    said = {name: value for name, value in msgspec.to_builtins(outcome).items() if name not in ("id", "timestamp")}
    usual = {"undrained": 0, "mode": "simple_sync", "warnings": [], "rollback": None}
    said = {name: value for name, value in said.items() if name not in usual or value != usual[name]}
    texts = ("repr", "exception_type", "exception_message", "traceback")
    return said | {name: cut(said[name]) for name in texts if name in said}


def outcome_of(found: Mapping[str, Any], execution_id: str) -> CellDone | Failed:
    """The outcome that a final checkpoint carries."""
    if found.get("type") == "error":
        return Failed({**found, "execution_id": execution_id})
    return CellDone({**found, "id": execution_id})
