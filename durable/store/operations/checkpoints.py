"""Checkpoint rows and small chunks; what a manifest means is the checkpoint package's business (S11)."""

from __future__ import annotations

from durable.core.ids import PREFIX
from durable.core.limits import CODE_LABELS_MAX, SWEEP_ROWS
from durable.store.operations.lock_keys import CHECKPOINTS
from durable.store.operations.row_records import EVERY, Row, dump
from durable.store.operations.sessions import require_epoch
from durable.store.operations.settlement import drop_checkpoints, forget_checkpoints, note_progress
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    Answer,
    CheckpointGet,
    CheckpointLabel,
    CheckpointPublish,
    ChunkGet,
    Keep,
    Record,
    Refused,
    Session,
    SweepCheckpoints,
)

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


GROUND = (
    "SELECT * FROM (WITH old AS (SELECT id FROM checkpoints WHERE session=?1 AND (label IS NULL OR ?2 = 0)"
    f" ORDER BY id DESC LIMIT {EVERY} OFFSET ?3),"
    " released AS (SELECT DISTINCT u.digest FROM old JOIN checkpoint_uses u ON u.checkpoint=old.id)"
    " SELECT 'gone' AS word, NULL AS id, value AS digest FROM json_each(?4)"
    " WHERE NOT EXISTS (SELECT 1 FROM checkpoint_uses WHERE digest=value)"
    " UNION ALL SELECT 'old', id, NULL FROM old"
    " UNION ALL SELECT 'unused', NULL, digest FROM released WHERE digest NOT IN (SELECT value FROM json_each(?5))"
    " AND NOT EXISTS (SELECT 1 FROM checkpoint_uses o WHERE o.digest=released.digest"
    " AND o.checkpoint NOT IN (SELECT id FROM old))) ground"
)
"""Before a checkpoint is made: which chunks that it carries on nobody has any more, which older checkpoints of its
session need not be kept then, and which chunks only those use."""


def ground_of(request: CheckpointPublish) -> tuple[object, ...]:
    """The parameters of GROUND."""
    keep = request.keep
    counts = request.label is None or not keep.labelled
    uses = sorted({*request.uses, *(digest for digest, _ in request.chunks)})
    return request.session, keep.labelled, max(0, keep.last - counts), dump(request.carried), dump(uses)


def publish(tx: Tx, request: CheckpointPublish) -> Answer:
    """Make a checkpoint the newest, fenced by the epoch; `dropped` names chunks that nothing refers to any more."""
    tx.lock(CHECKPOINTS)
    require_epoch(tx, request.session, request.epoch)
    asked = ground_of(request)
    found = tx.rows(GROUND, asked)
    for word, _, digest in found:
        if word == "gone":
            raise Refused(409, f"chunk {digest} went with the last checkpoint that used it; begin from the newest")
    tx.execute_many("INSERT INTO chunks (digest, data) VALUES (?,?) ON CONFLICT DO NOTHING", request.chunks)
    made = tx.insert_checkpoint(
        (
            request.session,
            request.epoch,
            request.execution,
            request.n,
            request.statement,
            request.final,
            request.label,
            request.by_code,
            request.manifest,
            tx.now,
        )
    )
    # In one statement, in order of the key: a namespace of 200 MB has thousands of them.
    tx.execute("INSERT INTO checkpoint_uses (checkpoint, digest) SELECT ?, value FROM json_each(?)", (made, asked[-1]))
    if request.execution is not None and request.progress:
        note_progress(tx, PREFIX + request.execution.removeprefix(PREFIX))
    tx.effects.sessions.add(request.session)
    if request.keep.age_ms is not None or request.by_code:
        old = superfluous(tx, request.session, request.keep, (made, request.label), code_labels=request.by_code)
        return Answer(200, {"checkpoint": made, "dropped": forget_checkpoints(tx, old) if old else []})
    unused = sorted(digest for word, _, digest in found if word == "unused")
    drop_checkpoints(tx, [row[1] for row in found if row[0] == "old"], unused)
    return Answer(200, {"checkpoint": made, "dropped": unused})


def newest_of(tx: Tx, session: str) -> Row | None:
    """The number and the label of a session's newest checkpoint."""
    return tx.row("SELECT id, label FROM checkpoints WHERE session=? ORDER BY id DESC LIMIT 1", (session,))


def superfluous(tx: Tx, session: str, keep: Keep, newest: Row, *, code_labels: bool = True) -> list[int]:
    """Checkpoints of a session that need not be kept: never its newest. `code_labels`: code may have given too many."""
    counts = newest[1] is None or not keep.labelled
    others = "SELECT id FROM checkpoints WHERE session=?1 AND id<?2 AND (label IS NULL OR ?3 = 0)"
    older = (session, newest[0], keep.labelled)
    found = tx.rows(f"{others} ORDER BY id DESC LIMIT {EVERY} OFFSET ?4", (*older, max(0, keep.last - counts)))
    if keep.age_ms is not None:
        found += tx.rows(f"{others} AND created_at<?4", (*older, tx.now - keep.age_ms))
    if code_labels:
        labelled = "SELECT id FROM checkpoints WHERE session=? AND by_code <> 0 AND label IS NOT NULL"
        found += tx.rows(f"{labelled} ORDER BY id DESC LIMIT {EVERY} OFFSET ?", (session, CODE_LABELS_MAX))
    return sorted({row[0] for row in found})


def relabel(tx: Tx, request: CheckpointLabel) -> Answer:
    """Give a checkpoint another label, or none. It is not by its code any more."""
    row = tx.row(
        "UPDATE checkpoints SET label=?, by_code=0 WHERE id=? RETURNING session", (request.label, request.checkpoint)
    )
    if row is None:
        raise Refused(404, f"checkpoint {request.checkpoint} does not exist")
    return Answer(200, {"session": row[0]})


def sweep(tx: Tx, request: SweepCheckpoints) -> Answer:
    """Drop what need not be kept of the next sessions in order of name."""
    sessions = tx.rows(
        "SELECT DISTINCT session FROM checkpoints WHERE session > ? ORDER BY session LIMIT ?",
        (request.after, SWEEP_ROWS),
    )
    count = 0
    for number, (session,) in enumerate(sessions):
        newest = newest_of(tx, session)
        old = [] if newest is None else superfluous(tx, session, request.keep, newest)
        count += len(old)
        if not request.dry_run:
            forget_checkpoints(tx, old)
        if count >= SWEEP_ROWS and number + 1 < len(sessions):
            return Answer(200, {"next": session, "more": True, "checkpoints": count})
    last = sessions[-1][0] if sessions else request.after
    return Answer(200, {"next": last, "more": len(sessions) == SWEEP_ROWS, "checkpoints": count})


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
    """Forget one checkpoint. The newest, so that the one before it is: 409 while a worker lives on it."""
    row = tx.row(
        "SELECT session, id=(SELECT max(id) FROM checkpoints n WHERE n.session=c.session)"
        " FROM checkpoints c WHERE id=?",
        (request.checkpoint,),
    )
    if row is None:
        raise Refused(404, f"checkpoint {request.checkpoint} does not exist")
    found = tx.row("SELECT owner FROM sessions WHERE name=? AND worker_pid IS NOT NULL", (row[0],))
    if row[1] and found is not None and found[0] is not None and tx.liveness.alive(found[0]):
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
