"""The entries of queues, their lines and their counts (specs/queues.md).

Entries of one key, function and priority stand in one line, in order. The keys of a queue stand in a round: the key
that was longest without an admission comes first. Every statement finds its rows by an index, so that the cost of an
entry does not depend on how many others wait.
"""

from __future__ import annotations

from typing import NamedTuple

from durable.core.limits import QUEUE_AHEAD_MS
from durable.queues.queue_load import QueueLoad, next_start_at
from durable.queues.states import EntryEvent, EntryState, step_entry
from durable.store.operations.event_notes import Note
from durable.store.operations.lock_keys import queue_key
from durable.store.operations.row_records import Queries, Row
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Refused

_LOAD = (
    "SELECT state,concurrency,per_engine,per_key,rate_count,rate_ms,delayed,waiting,running,started,next_start_at"
    " FROM queues WHERE name=?"
)
_ENTRY = "id,queue,key,target,rank,n,state,ready_at"


class QueueEntry(NamedTuple):
    """An entry: the columns that say where it stands."""

    id: str
    queue: str
    key: str
    target: str
    rank: int
    n: int
    state: EntryState
    ready_at: int

    @property
    def line(self) -> tuple[str, str, str, int]:
        """The key columns of its line."""
        return (self.queue, self.key, self.target, self.rank)


def target_of(group: str | None, function: str) -> str:
    """The group and the function of a task as one word: no group holds a space."""
    return f"{group or ''} {function}"


def load_of(queries: Queries, queue: str) -> QueueLoad | None:
    """A queue as it is, or None."""
    rows = queries.rows(_LOAD, (queue,))
    return QueueLoad(*rows[0]) if rows else None


def find(tx: Tx, promise_id: str) -> QueueEntry | None:
    """The entry of an execution, or None."""
    row = tx.row(f"SELECT {_ENTRY} FROM queue_entries WHERE id=?", (promise_id,))
    return None if row is None else _entry(row)


def _entry(row: Row) -> QueueEntry:
    promise_id, queue, key, target, rank, n, state, ready_at = row
    return QueueEntry(promise_id, queue, key, target, rank, n, EntryState(state), ready_at)


def has_place(tx: Tx, promise_id: str) -> bool:
    """Whether an execution that was put into a queue may be dispatched; one of which the queue knows nothing may."""
    row = tx.row("SELECT state, admitted_at FROM queue_entries WHERE id=?", (promise_id,))
    if row is None:
        return True
    # One that lies further ahead was admitted before the clock was set back.
    return row[0] == EntryState.ADMITTED and not tx.now < row[1] <= tx.now + QUEUE_AHEAD_MS


def require_place(tx: Tx, queue: str, promise_id: str, engine: str) -> None:
    """Refuse that an engine acquires an execution which still waits, or which is one more than it may run."""
    if not has_place(tx, promise_id):
        raise Refused(409, f"task {promise_id!r} waits in the queue {queue!r}")
    if not engine_has_room(tx, queue, engine, but=promise_id):
        raise Refused(409, f"engine {engine!r} runs as many executions of the queue {queue!r} as it may (per_engine)")
    tx.execute("UPDATE queue_entries SET engine=? WHERE id=?", (engine, promise_id))


def engine_has_room(tx: Tx, queue: str, engine: str, but: str = "", more: int = 0) -> bool:
    """Whether an engine may run another execution of a queue, and so many `more` that it is about to get. Those that it
    was offered count; `but` does not."""
    load = load_of(tx, queue)
    if load is None or load.per_engine is None:
        return True
    row = tx.row(
        "SELECT count(*) FROM queue_entries e JOIN tasks t ON t.id=e.id WHERE e.queue=? AND e.engine=?"
        " AND e.engine IS NOT NULL AND e.id<>? AND (t.state='acquired' OR (t.state='pending' AND t.due>?))",
        (queue, engine, but, tx.now),
    )
    assert row is not None
    return load.engine_has_room(row[0] + more)


# -- what comes in ----------------------------------------------------------------------------------------------


def put(
    tx: Tx,
    entry: QueueEntry,
    *,
    dedupe: str | None = None,
    debounce_until: int | None = None,
    engine: str | None = None,
) -> None:
    """Record a new entry: delayed, waiting at the end of its line, or, with the engine that has it, admitted."""
    tx.execute(
        f"INSERT INTO queue_entries ({_ENTRY}, admitted_at, engine, dedupe, debounce_until)"
        " VALUES (?,?,?,?,?,0,?,?,?,?,?,?)",
        (
            *entry[:5],
            entry.state,
            entry.ready_at,
            tx.now if entry.state is EntryState.ADMITTED else None,
            engine,
            dedupe,
            debounce_until,
        ),
    )
    tx.effects.notes.append(Note("enqueued", entry.queue, entry.id, entry.state))
    if entry.state is EntryState.ADMITTED:
        _begin(tx, entry, tx.now, waited=False)
    elif entry.state is EntryState.DELAYED:
        _delay(tx, entry)
    else:
        _line_up(tx, entry)


def _delay(tx: Tx, entry: QueueEntry) -> None:
    tx.execute("UPDATE queues SET delayed=delayed+1 WHERE name=?", (entry.queue,))
    tx.wake_at(entry.ready_at)


def _line_up(tx: Tx, entry: QueueEntry) -> None:
    """Let it stand at the end of its line, and its key at the end of the round where nothing of it waited."""
    row = tx.row(
        "UPDATE queues SET turn=turn+1, waiting=waiting+1 WHERE name=? RETURNING turn, per_key", (entry.queue,)
    )
    assert row is not None, f"an entry is of a queue: {entry.queue}"
    place, per_key = row
    tx.execute(
        "UPDATE queue_entries SET state='waiting', n=?, ready_at=? WHERE id=?", (place, max(tx.now, 0), entry.id)
    )
    key = tx.row(
        "INSERT INTO queue_keys (queue, key, running, waiting, turn) VALUES (?,?,0,1,?)"
        " ON CONFLICT (queue, key) DO UPDATE SET waiting=queue_keys.waiting+1,"
        " turn=CASE WHEN queue_keys.waiting=0 THEN excluded.turn ELSE queue_keys.turn END RETURNING running, turn",
        (entry.queue, entry.key, place),
    )
    assert key is not None
    running, turn = key
    tx.execute(
        "INSERT INTO queue_lines (queue, key, target, rank, waiting, open, turn) VALUES (?,?,?,?,1,?,?)"
        " ON CONFLICT (queue, key, target, rank) DO UPDATE SET waiting=queue_lines.waiting+1",
        (*entry.line, per_key is None or running < per_key, turn),
    )
    tx.effects.queue_changed(entry.queue)


def hand_over(tx: Tx, entry: QueueEntry, before: str) -> None:
    """An execution takes the entry of the one `before` as it is: its place, or where it stands. It is not halted."""
    tx.execute("UPDATE queue_entries SET id=?, engine=NULL WHERE id=?", (entry.id, before))
    if entry.state is EntryState.HELD:
        step_entry(entry.state, EntryEvent.RESUME)
        _line_up(tx, entry)
    tx.effects.queue_changed(entry.queue)


def ripen(tx: Tx) -> None:
    """Let the delayed entries whose time has come stand in their lines."""
    for (promise_id,) in tx.rows(
        "SELECT id FROM queue_entries WHERE state='delayed' AND ready_at <= ? ORDER BY ready_at", (tx.now,)
    ):
        entry = find(tx, promise_id)
        assert entry is not None
        tx.lock(queue_key(entry.queue))
        entry = find(tx, promise_id)
        if entry is not None and entry.state is EntryState.DELAYED and entry.ready_at <= tx.now:
            step_entry(entry.state, EntryEvent.RIPEN)
            tx.execute("UPDATE queues SET delayed=delayed-1 WHERE name=?", (entry.queue,))
            _line_up(tx, entry)


def postpone(tx: Tx, entry: QueueEntry, ready_at: int) -> None:
    """Move the time of a delayed entry."""
    step_entry(entry.state, EntryEvent.POSTPONE)
    tx.execute("UPDATE queue_entries SET ready_at=? WHERE id=?", (ready_at, entry.id))
    tx.wake_at(ready_at)


# -- who begins -------------------------------------------------------------------------------------------------

_TARGETS = """
    WITH RECURSIVE each(target) AS (
        SELECT * FROM (SELECT target FROM queue_lines WHERE queue = ?1 AND open = 1 ORDER BY target LIMIT 1) first
        UNION ALL
        SELECT (SELECT target FROM queue_lines WHERE queue = ?1 AND open = 1 AND target > each.target
            ORDER BY target LIMIT 1)
        FROM each WHERE each.target IS NOT NULL
    )
    SELECT target FROM each WHERE target IS NOT NULL"""
_FIRST_LINE = (
    "SELECT rank, turn, key, target FROM queue_lines WHERE queue=? AND target=? AND open=1 ORDER BY rank, turn LIMIT 1"
)


def open_targets(tx: Tx, queue: str) -> list[str]:
    """The groups and functions of which entries wait whose keys may have another place."""
    return [row[0] for row in tx.rows(_TARGETS, (queue,))]


_RECORDED = (
    "EXISTS (SELECT 1 FROM promises p WHERE (p.id > queue_entries.id || '.' AND p.id < queue_entries.id || '/')"
    " OR (p.id > queue_entries.id || ':' AND p.id < queue_entries.id || ';'))"
)


def next_entry(tx: Tx, queue: str, targets: list[str]) -> tuple[QueueEntry, bool] | None:
    """The entry that begins next among those of these targets: by priority, then the key's turn, then its place. With
    whether something is recorded under its execution, as under a fork, which has not begun either."""
    lines = [row for target in targets if (row := tx.row(_FIRST_LINE, (queue, target))) is not None]
    if not lines:
        return None
    rank, _, key, target = min(lines)
    row = tx.row(
        f"SELECT {_ENTRY}, {_RECORDED} FROM queue_entries"
        " WHERE queue=? AND key=? AND target=? AND rank=? AND state='waiting' ORDER BY n LIMIT 1",
        (queue, key, target, rank),
    )
    assert row is not None, f"a line has an entry: {queue} {key} {target}"
    return _entry(row[:-1]), bool(row[-1])


def admit(tx: Tx, entry: QueueEntry, begins_at: int) -> None:
    """Give a waiting entry a place: it counts from now on until its execution ends. It begins at that time, or later
    where the engine is late; of those with the same time in the order of `n`."""
    state = step_entry(entry.state, EntryEvent.ADMIT)
    tx.execute(
        "UPDATE queue_entries SET state=?, admitted_at=?, n=(SELECT turn FROM queues WHERE name=queue_entries.queue),"
        " dedupe=CASE WHEN debounce_until IS NULL THEN dedupe ELSE NULL END WHERE id=?",
        (state, begins_at, entry.id),
    )
    _begin(tx, entry, begins_at, waited=True)


def _begin(tx: Tx, entry: QueueEntry, begins_at: int, *, waited: bool) -> None:
    """Count a start: of the queue, of the key, which goes to the end of the round, and of the rate."""
    row = tx.row(
        "UPDATE queues SET waiting=waiting-?2, running=running+1, started=started+1, turn=turn+1 WHERE name=?1"
        " RETURNING turn, per_key, started, rate_count, rate_ms",
        (entry.queue, int(waited)),
    )
    assert row is not None, f"an entry is of a queue: {entry.queue}"
    waited_ms = max(0, begins_at - entry.ready_at) if waited else 0
    tx.effects.notes.append(Note("admitted", entry.queue, entry.id, ms=waited_ms))
    turn, per_key, started, rate_count, rate_ms = row
    key = tx.row(
        "INSERT INTO queue_keys (queue, key, running, waiting, turn) VALUES (?1,?2,1,0,?3)"
        " ON CONFLICT (queue, key) DO UPDATE SET running=queue_keys.running+1, waiting=queue_keys.waiting-?4, turn=?3"
        " RETURNING running, waiting",
        (entry.queue, entry.key, turn, int(waited)),
    )
    assert key is not None
    running, waiting = key
    if waited:
        _shorten_line(tx, entry)
    if waiting:
        tx.execute(
            "UPDATE queue_lines SET turn=?, open=? WHERE queue=? AND key=?",
            (turn, per_key is None or running < per_key, entry.queue, entry.key),
        )
    if rate_count is not None:
        tx.execute("INSERT INTO queue_starts (queue, n, at) VALUES (?,?,?)", (entry.queue, started, begins_at))
        tx.execute("DELETE FROM queue_starts WHERE queue=? AND n<=?", (entry.queue, started - rate_count))
        note_rate(tx, entry.queue, started, rate_count, rate_ms)


def note_rate(tx: Tx, queue: str, started: int, count: int | None, rate_ms: int | None) -> None:
    """Record from when the rate admits another entry, `started` having been admitted so far."""
    last = (
        None
        if count is None
        else tx.row("SELECT at FROM queue_starts WHERE queue=? AND n=?", (queue, started + 1 - count))
    )
    # One that lies further ahead began before the clock was set back: it counts as now.
    at = next_start_at(rate_ms, None if last is None else last[0] if last[0] <= tx.now + QUEUE_AHEAD_MS else tx.now)
    tx.execute("UPDATE queues SET next_start_at=? WHERE name=?", (at, queue))


# -- what goes out ----------------------------------------------------------------------------------------------


def leave(tx: Tx, promise_id: str, queue: str) -> None:
    """The execution of an entry has ended: its place is free, or its line is one shorter."""
    tx.lock(queue_key(queue))
    entry = find(tx, promise_id)
    if entry is None:
        return
    step_entry(entry.state, EntryEvent.END)
    tx.execute("DELETE FROM queue_entries WHERE id=?", (promise_id,))
    if entry.state is EntryState.ADMITTED:
        _give_back(tx, entry)
    else:
        _withdraw(tx, entry)
    tx.effects.queue_changed(queue)


def _give_back(tx: Tx, entry: QueueEntry) -> None:
    row = tx.row("UPDATE queues SET running=running-1 WHERE name=? RETURNING per_key, running", (entry.queue,))
    assert row is not None, f"an entry is of a queue: {entry.queue}"
    per_key, left = row
    assert left >= 0, f"a place is given back once: {entry.id}"
    key = tx.row(
        "UPDATE queue_keys SET running=running-1 WHERE queue=? AND key=? RETURNING running, waiting",
        (entry.queue, entry.key),
    )
    assert key is not None
    _forget_key(tx, entry, *key)
    if key[1] and per_key is not None and key[0] < per_key:
        tx.execute("UPDATE queue_lines SET open=1 WHERE queue=? AND key=?", (entry.queue, entry.key))


def _withdraw(tx: Tx, entry: QueueEntry) -> None:
    """An entry that has no place leaves where it stands."""
    if entry.state is EntryState.DELAYED:
        tx.execute("UPDATE queues SET delayed=delayed-1 WHERE name=?", (entry.queue,))
    if entry.state is not EntryState.WAITING:
        return
    tx.execute("UPDATE queues SET waiting=waiting-1 WHERE name=?", (entry.queue,))
    key = tx.row(
        "UPDATE queue_keys SET waiting=waiting-1 WHERE queue=? AND key=? RETURNING running, waiting",
        (entry.queue, entry.key),
    )
    assert key is not None
    _forget_key(tx, entry, *key)
    _shorten_line(tx, entry)


def _forget_key(tx: Tx, entry: QueueEntry, running: int, waiting: int) -> None:
    if not running and not waiting:
        tx.execute("DELETE FROM queue_keys WHERE queue=? AND key=?", (entry.queue, entry.key))


def _shorten_line(tx: Tx, entry: QueueEntry) -> None:
    where = " WHERE queue=? AND key=? AND target=? AND rank=?"
    row = tx.row(f"UPDATE queue_lines SET waiting=waiting-1{where} RETURNING waiting", entry.line)
    assert row is not None
    if not row[0]:
        tx.execute(f"DELETE FROM queue_lines{where}", entry.line)


def off_engine(tx: Tx, promise_id: str) -> None:
    """The execution waits or is halted, and runs on no engine."""
    row = tx.row("UPDATE queue_entries SET engine=NULL WHERE id=? RETURNING queue", (promise_id,))
    load = None if row is None else load_of(tx, row[0])
    if load is not None and load.per_engine is not None:
        assert row is not None
        tx.effects.queue_changed(row[0])


# -- what is halted, and renamed --------------------------------------------------------------------------------


def hold(tx: Tx, promise_id: str, queue: str) -> None:
    """The execution of an entry is halted: before it began it leaves its line; later it keeps its place."""
    tx.lock(queue_key(queue))
    entry = find(tx, promise_id)
    if entry is None:
        return
    if entry.state is EntryState.ADMITTED:
        off_engine(tx, promise_id)
        return
    state = step_entry(entry.state, EntryEvent.HALT)
    _withdraw(tx, entry)
    tx.execute("UPDATE queue_entries SET state=? WHERE id=?", (state, promise_id))


def take_back(tx: Tx, promise_id: str, queue: str, not_before: int) -> bool:
    """The execution of an entry is resumed: whether it goes back to its line, since it has no place yet."""
    if has_place(tx, promise_id):
        return False
    tx.lock(queue_key(queue))
    entry = find(tx, promise_id)
    if entry is None or entry.state is EntryState.ADMITTED:
        return False
    if not_before > tx.now:
        state = step_entry(entry.state, EntryEvent.POSTPONE)
        tx.execute("UPDATE queue_entries SET state=?, ready_at=? WHERE id=?", (state, not_before, promise_id))
        _delay(tx, entry._replace(ready_at=not_before))
    else:
        step_entry(entry.state, EntryEvent.RESUME)
        _line_up(tx, entry)
    return True


def rename(tx: Tx, promise_id: str, function: str) -> None:
    """The function of an execution is known by another id: its entry stands in the line of that."""
    entry = find(tx, promise_id)
    if entry is None:
        return
    tx.lock(queue_key(entry.queue))
    renamed = entry._replace(target=target_of(entry.target.partition(" ")[0], function))
    tx.execute("UPDATE queue_entries SET target=? WHERE id=?", (renamed.target, promise_id))
    if entry.state is EntryState.WAITING:
        _withdraw(tx, entry)
        _line_up(tx, renamed)
