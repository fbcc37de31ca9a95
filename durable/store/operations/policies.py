"""Permissions that were changed while a session lives, and the audit of what was decided (specs/permission.md)."""

from __future__ import annotations

import msgspec

from durable.core.limits import SWEEP_ROWS
from durable.store.operations.row_records import dump
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    Answer,
    AuditAppend,
    AuditList,
    PolicyGet,
    PolicySet,
    Record,
    Refused,
    SweepAudit,
)

EVERYWHERE = "*"
"""The row whose document holds for every session."""

_document = msgspec.json.Decoder(dict[str, object])
_COLUMNS = "id, at, who, execution, what, resource, verdict, reason, policy, times"


def version_of(tx: Tx, session: str) -> int:
    """The version that fences a decision: it grows when the session's or everybody's permissions change."""
    row = tx.row("SELECT coalesce(sum(version), 0) FROM policies WHERE name IN (?, '*')", (session,))
    assert row is not None
    return int(row[0])


def _read(tx: Tx, name: str) -> Record:
    row = tx.row("SELECT version, document FROM policies WHERE name=?", (name,))
    return {"version": 0, "document": {}} if row is None else {"version": row[0], "document": _document.decode(row[1])}


def get(tx: Tx, request: PolicyGet) -> Answer:
    """Both documents that hold for a session, with the version that fences its calls."""
    own, everywhere = _read(tx, request.name), _read(tx, EVERYWHERE)
    version = version_of(tx, request.name)
    return Answer(200, {"version": version, "own": own, "everywhere": everywhere})


def put(tx: Tx, request: PolicySet) -> Answer:
    """Replace a document that is still the one that was read; 409 says that somebody was faster."""
    before = _read(tx, request.name)["version"]
    if before != request.before:
        raise Refused(409, f"the permissions of {request.name!r} changed meanwhile: version {before}")
    tx.execute(
        "INSERT INTO policies (name, version, document) VALUES (?1,?2,?3)"
        " ON CONFLICT (name) DO UPDATE SET version=?2, document=?3",
        (request.name, before + 1, dump(request.document)),
    )
    tx.effects.sessions.add(request.name)
    tx.effects.policies.add(request.name)
    tx.effects.peers = True
    return Answer(200, {"version": before + 1})


def append(tx: Tx, request: AuditAppend) -> Answer:
    """Add decisions to the audit."""
    tx.execute_many(
        "INSERT INTO audit (at, who, execution, what, resource, verdict, reason, policy, times)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        [(tx.now, *entry) for entry in request.entries],
    )
    return Answer(200, {})


def listing(tx: Tx, request: AuditList) -> Answer:
    """The newest entries, newest first; `before` is the id of the last one of the page before."""
    where, parameters = ["id < ?"], [request.before if request.before is not None else 2**63 - 1]
    if request.who is not None:
        where.append("who = ?")
        parameters.append(request.who)  # type: ignore[arg-type]
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT {int(request.limit)}",
        tuple(parameters),
    )
    names = _COLUMNS.split(", ")
    return Answer(200, {"entries": [dict(zip(names, row, strict=True)) for row in rows]})


def sweep(tx: Tx, request: SweepAudit) -> Answer:
    """Forget entries before a time, a batch at a time."""
    sql = "SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?"
    rows = tx.rows(sql, (request.before, SWEEP_ROWS))
    if not request.dry_run:
        tx.execute_many("DELETE FROM audit WHERE id=?", rows)
    return Answer(200, {"more": len(rows) == SWEEP_ROWS and not request.dry_run, "entries": len(rows)})
