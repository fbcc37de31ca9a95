"""Checkpoint rows and small chunks; what a manifest means is the checkpoint package's business (S11)."""

from __future__ import annotations

from durable.core.ids import PREFIX
from durable.core.limits import CHECKPOINTS_KEPT
from durable.store.cascade import forget_checkpoints, note_progress
from durable.store.records import Row
from durable.store.requests import Answer, CheckpointGet, CheckpointPublish, ChunkGet, Record, Refused, Session
from durable.store.sessions import require_epoch
from durable.store.transaction import Tx

_COLUMNS = "id, session, epoch, execution, n, statement, final, label, created_at"


def _record(row: Row) -> Record:
    return {
        "id": row[0],
        "session": row[1],
        "epoch": row[2],
        "execution": row[3],
        "n": row[4],
        "statement": row[5],
        "final": bool(row[6]),
        "label": row[7],
        "created_at": row[8],
    }


def publish(tx: Tx, request: CheckpointPublish) -> Answer:
    """Make a checkpoint the newest, fenced by the epoch; `dropped` names chunks that nothing refers to any more."""
    require_epoch(tx, request.session, request.epoch)
    tx.connection.executemany("INSERT INTO chunks (digest, data) VALUES (?,?) ON CONFLICT DO NOTHING", request.chunks)
    made = tx.execute(
        "INSERT INTO checkpoints (session, epoch, execution, n, statement, final, label, manifest, created_at)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        (
            request.session,
            request.epoch,
            request.execution,
            request.n,
            request.statement,
            request.final,
            request.label,
            request.manifest,
            tx.now,
        ),
    ).lastrowid
    uses = {*request.uses, *(digest for digest, _ in request.chunks)}
    tx.connection.executemany(
        "INSERT INTO checkpoint_uses (checkpoint, digest) VALUES (?,?)", [(made, each) for each in uses]
    )
    if request.execution is not None:
        note_progress(tx, PREFIX + request.execution.removeprefix(PREFIX))
    tx.effects.sessions.add(request.session)
    return Answer(200, {"checkpoint": made, "dropped": _retire(tx, request.session)})


def _retire(tx: Tx, session: str) -> list[str]:
    """Drop all but the last unlabelled checkpoints, and the chunks that only they used."""
    old = tx.rows(
        "SELECT id FROM checkpoints WHERE session=? AND label IS NULL ORDER BY id DESC LIMIT -1 OFFSET ?",
        (session, CHECKPOINTS_KEPT),
    )
    if not old:
        return []
    return forget_checkpoints(tx, [row[0] for row in old])


def latest(tx: Tx, request: Session) -> Answer:
    """The newest checkpoint of a session, with its manifest, or null."""
    row = tx.row(
        f"SELECT {_COLUMNS}, manifest FROM checkpoints WHERE session=? ORDER BY id DESC LIMIT 1", (request.session,)
    )
    return Answer(200, {"checkpoint": None if row is None else {**_record(row), "manifest": row[9]}})


def get(tx: Tx, request: CheckpointGet) -> Answer:
    row = tx.row(f"SELECT {_COLUMNS}, manifest FROM checkpoints WHERE id=?", (request.checkpoint,))
    if row is None:
        raise Refused(404, f"checkpoint {request.checkpoint} does not exist")
    return Answer(200, {"checkpoint": {**_record(row), "manifest": row[9]}})


def drop(tx: Tx, request: CheckpointGet) -> Answer:
    """Forget one checkpoint, so that the one before it is the newest; 409 while a worker of the session lives on it."""
    row = tx.row("SELECT session FROM checkpoints WHERE id=?", (request.checkpoint,))
    if row is None:
        raise Refused(404, f"checkpoint {request.checkpoint} does not exist")
    found = tx.row("SELECT owner FROM sessions WHERE name=? AND worker_pid IS NOT NULL", (row[0],))
    if found is not None and found[0] is not None and tx.liveness.alive(found[0]):
        raise Refused(409, f"session {row[0]!r} has a worker; close its engine first")
    forget_checkpoints(tx, [request.checkpoint])
    tx.effects.sessions.add(row[0])
    return Answer(200, {"session": row[0]})


def listing(tx: Tx, request: Session) -> Answer:
    """All checkpoints of a session, oldest first, without manifests."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM checkpoints WHERE session=? ORDER BY id", (request.session,))
    return Answer(200, {"checkpoints": [_record(row) for row in rows]})


def chunks(tx: Tx, request: ChunkGet) -> Answer:
    """The chunks that are here, by digest; a missing one is absent from the answer."""
    found: Record = {}
    for digest in request.digests:
        row = tx.row("SELECT data FROM chunks WHERE digest=?", (digest,))
        if row is not None:
            found[digest] = row[0]
    return Answer(200, {"chunks": found})
