"""What executions printed: one sequence of characters over both streams, in contiguous chunks (specs/store.md, S10)."""

from __future__ import annotations

from durable.store.requests import Answer, OutputAppend, OutputTruncate, Refused
from durable.store.sessions import require_epoch
from durable.store.transaction import Tx

_END = "SELECT start, length FROM output WHERE execution=? ORDER BY start DESC LIMIT 1"


def append(tx: Tx, request: OutputAppend) -> Answer:
    """Add chunks that begin where the record ends; a gap or an overlap is refused whole."""
    if request.session is not None and request.epoch is not None:
        require_epoch(tx, request.session, request.epoch)
    last = tx.row(_END, (request.execution,))
    end = 0 if last is None else last[0] + last[1]
    rows = []
    for start, stream, text in request.chunks:
        if start != end:
            raise Refused(409, f"output of {request.execution!r} ends at {end}, this chunk begins at {start}")
        if text:
            # A lone surrogate cannot be stored; one character takes its place, so that offsets stay true.
            rows.append((request.execution, start, len(text), stream, text.encode("utf-8", "replace").decode()))
        end += len(text)
    tx.connection.executemany("INSERT INTO output (execution, start, length, stream, text) VALUES (?,?,?,?,?)", rows)
    if rows:
        tx.effects.output.add(request.execution)
    return Answer(200, {"end": end})


def truncate(tx: Tx, request: OutputTruncate) -> Answer:
    """Forget what was printed from the offset on: the execution resumes before it. Readers learn it from `rewinds`."""
    last = tx.row(_END, (request.execution,))
    if last is None or last[0] + last[1] <= request.offset:
        return Answer(200, {})
    tx.execute("DELETE FROM output WHERE execution=? AND start>=?", (request.execution, request.offset))
    cut = tx.row("SELECT start, text FROM output WHERE execution=? ORDER BY start DESC LIMIT 1", (request.execution,))
    if cut is not None and cut[0] + len(cut[1]) > request.offset:
        keep = request.offset - cut[0]
        tx.execute(
            "UPDATE output SET text=?, length=? WHERE execution=? AND start=?",
            (cut[1][:keep], keep, request.execution, cut[0]),
        )
    _rewind(tx, request.execution, request.offset)
    tx.effects.output.add(request.execution)
    return Answer(200, {})


def _rewind(tx: Tx, execution: str, start: int) -> None:
    """Record the cut. It stands for older ones that were not before it: who has not seen those has not seen this."""
    last = tx.row("SELECT n FROM rewinds WHERE execution=? ORDER BY n DESC LIMIT 1", (execution,))
    tx.execute("DELETE FROM rewinds WHERE execution=? AND start>=?", (execution, start))
    n = 1 if last is None else last[0] + 1
    tx.execute("INSERT INTO rewinds (execution, n, start) VALUES (?,?,?)", (execution, n, start))
