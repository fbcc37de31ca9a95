"""Printed output: one sequence of characters over both streams, in contiguous chunks (specs/store.md, S10)."""

from __future__ import annotations

from durable.store.operations.sessions import require_epoch
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, OutputAppend, OutputTruncate, Refused

END = "SELECT start, length FROM output WHERE execution=? ORDER BY start DESC LIMIT 1"
"""Where an execution's output ends: the last chunk."""


def append(tx: Tx, request: OutputAppend) -> Answer:
    """Add chunks that begin where the record ends, or where its last chunk begins and reach further: that is rewritten.

    A gap or an overlap is refused whole.
    """
    if request.session is not None and request.epoch is not None:
        require_epoch(tx, request.session, request.epoch)
    start, length = tx.row(END, (request.execution,)) or (0, 0)
    rewritten = False
    rows: list[tuple[str, int, int, str, str]] = []
    for chunk in request.chunks:
        covers = len(chunk.text) if chunk.length is None else chunk.length
        if len(chunk.text) > covers:
            raise Refused(400, f"a chunk of {len(chunk.text)} characters that covers {covers}")
        if length and chunk.start == start and covers > length:
            rewritten = rewritten or not rows
            del rows[-1:]
        elif chunk.start != start + length:
            ends = f"output of {request.execution!r} ends at {start + length}"
            raise Refused(409, f"{ends}, this chunk begins at {chunk.start}")
        if covers:
            # A lone surrogate cannot be stored; one character takes its place, so that offsets stay true.
            text = chunk.text.encode("utf-8", "replace").decode()
            rows.append((request.execution, chunk.start, covers, chunk.stream, text))
            start, length = chunk.start, covers
    if rewritten:
        tx.execute("DELETE FROM output WHERE execution=? AND start=?", (request.execution, rows[0][1]))
    tx.execute_many("INSERT INTO output (execution, start, length, stream, text) VALUES (?,?,?,?,?)", rows)
    if rows:
        tx.effects.output.add(request.execution)
    return Answer(200, {"end": start + length})


def truncate(tx: Tx, request: OutputTruncate) -> Answer:
    """Forget what was printed from the offset on: the execution resumes before it. Readers learn it from `rewinds`.

    `kept`: how many of the characters before it are in chunks that hold text.
    """
    last = tx.row(END, (request.execution,))
    if last is not None and last[0] + last[1] > request.offset:
        tx.execute("DELETE FROM output WHERE execution=? AND start>=?", (request.execution, request.offset))
        _cut_inside(tx, request.execution, request.offset)
        _rewind(tx, request.execution, request.offset)
        tx.effects.output.add(request.execution)
    kept = tx.row(
        "SELECT CAST(coalesce(sum(length), 0) AS BIGINT) FROM output WHERE execution=? AND text<>''",
        (request.execution,),
    )
    assert kept is not None
    return Answer(200, {"kept": kept[0]})


def _cut_inside(tx: Tx, execution: str, offset: int) -> None:
    """End the last chunk at the offset. Of one with less text nothing tells what was there: it becomes a gap."""
    last = tx.row("SELECT start, length, text FROM output WHERE execution=? ORDER BY start DESC LIMIT 1", (execution,))
    if last is not None and last[0] + last[1] > offset:
        start, length, text = last
        kept = text[: offset - start] if len(text) == length else ""
        tx.execute(
            "UPDATE output SET text=?, length=? WHERE execution=? AND start=?", (kept, offset - start, execution, start)
        )


def _rewind(tx: Tx, execution: str, start: int) -> None:
    """Record the cut. It stands for older ones that were not before it: who has not seen those has not seen this."""
    last = tx.row("SELECT n FROM rewinds WHERE execution=? ORDER BY n DESC LIMIT 1", (execution,))
    tx.execute("DELETE FROM rewinds WHERE execution=? AND start>=?", (execution, start))
    n = 1 if last is None else last[0] + 1
    tx.execute("INSERT INTO rewinds (execution, n, start) VALUES (?,?,?)", (execution, n, start))
