"""`durable gc`: forgetting what is old, in batches that may be interrupted anywhere (specs/store.md, G1-G5).

Here executions with their promises, messages and checkpoints. The command then deletes what they leave: large chunks
(`blobs.py`; in an object store `sessions/checkpoints/retention.py`) and directories of runs (`run_storage.py`).

`sweep_executions` and `sweep_messages` are request kinds: each is one short transaction in the writer's queue, so that
engines go on beside it. `collect` sends them until nothing is left to do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.durations import STATES
from durable.core.frozen_record import FrozenRecord
from durable.core.ids import ORIGIN, PREFIX, parse_call
from durable.core.limits import CALLS_KEEP_MS, OUTBOX_KEEP_MS, SWEEP_ROWS
from durable.store.operations import execution_tags, kv, retentions, signals, streams
from durable.store.operations.children import PARENT
from durable.store.operations.listener_posts import URLS
from durable.store.operations.row_records import EVERY, load_tags
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    Answer,
    ExecutionDelete,
    Integer,
    Refused,
    SweepExecutions,
    SweepMessages,
    SweepRetention,
)
from durable.store.upkeep.run_storage import namespaces

if TYPE_CHECKING:
    from durable.store.direct_store import DirectStore


_PENDING = "SELECT 1 FROM promises WHERE id=? AND state='pending'"


class Collected(FrozenRecord, frozen=True):
    """Counts of what was deleted, or would be. `promises`: all those of the executions. `messages`: nobody came for."""

    executions: int = 0
    promises: int = 0
    messages: int = 0
    checkpoints: int = 0
    entries: int = 0
    """Of the audit."""
    namespaces: int = 0
    """Values that foreign code had kept under the id of its run."""
    actors: int = 0
    letters: int = 0
    """Dead letters, those of the actors included."""

    def plus(self, found: dict[str, int]) -> Collected:
        return Collected(**{name: count + found.get(name, 0) for name, count in asdict(self).items()})


async def collect(
    store: DirectStore, *, before: int, keep: int = 0, dry_run: bool = False
) -> AsyncGenerator[Collected]:
    """Forget what was settled before a time (ms), but for the `keep` newest; yields the totals after each batch."""
    newest = None
    if keep:
        newest = await store.reads.newest_roots(keep)
        before = min(before, newest)
    done, cursor, more = Collected(), "", True
    while more:
        request = {"after": cursor, "before": before, "newest": newest, "dry_run": dry_run}
        answer = (await store.request("sweep.executions", request)).data
        done, cursor, more = done.plus(answer), answer["next"], answer["more"]
        yield done
    more = True
    while more:
        answer = (await store.request("sweep.messages", {"dry_run": dry_run})).data
        done, more = done.plus(answer), answer["more"]
        yield done
    more = True
    while more:
        answer = (await store.request("sweep.audit", {"before": before, "dry_run": dry_run})).data
        done, more = done.plus(answer), answer["more"]
        yield done


async def expire(store: DirectStore) -> AsyncGenerator[Collected]:
    """Forget the executions that rules say are to be forgotten; yields the totals after each batch."""
    if not (await store.request("retention.list", {})).data["rules"]:
        return
    done, cursor, more = Collected(), "", True
    while more:
        answer = (await store.request("sweep.retention", {"after": cursor})).data
        done, cursor, more = done.plus(answer), answer["next"], answer["more"]
        yield done


async def sweep_actors(store: DirectStore, *, before: int, dry_run: bool = False) -> AsyncGenerator[Collected]:
    """Forget actors that were stopped or failed before a time (ms), and dead letters of before that time; yields the
    totals after each batch.
    """
    done, cursor, more = Collected(), "", True
    while more:
        request = {"after": cursor, "before": before, "dry_run": dry_run}
        answer = (await store.request("sweep.actors", request)).data
        done, cursor, more = done.plus(answer), answer["next"], answer["more"]
        yield done


async def thin(store: DirectStore, keep: dict[str, Any], *, dry_run: bool = False) -> AsyncGenerator[Collected]:
    """Drop the checkpoints of every session that need not be kept; yields the totals after each batch."""
    done, cursor, more = Collected(), "", True
    while more:
        request = {"after": cursor, "keep": keep, "dry_run": dry_run}
        answer = (await store.request("sweep.checkpoints", request)).data
        done, cursor, more = done.plus(answer), answer["next"], answer["more"]
        yield done


def root_of(promise_id: str) -> str:
    """The promise that another one is part of: `exec:<id>` for its steps and calls, the origin elsewhere."""
    if not promise_id.startswith(PREFIX):
        return promise_id.partition(":")[0]
    own = promise_id[len(PREFIX) :]
    return PREFIX + own.partition(":")[0].partition(".")[0]


def sweep_executions(tx: Tx, request: SweepExecutions) -> Answer:
    """Look at the next promises in order of id, and delete the trees of roots that nobody can need any more."""
    rows = tx.rows("SELECT id, settled_at FROM promises WHERE id > ? ORDER BY id LIMIT ?", (request.after, SWEEP_ROWS))
    done, rules = Collected(), retentions.all_rules(tx)
    for number, (promise_id, settled_at) in enumerate(rows):
        root, before = root_of(promise_id), request.before
        if promise_id == ORIGIN:
            continue
        if promise_id != root:
            if not _first(tx, promise_id, root):
                continue
            before = min(before, tx.now - CALLS_KEEP_MS)
        else:
            before = _before(tx, root, rules, request)
            if settled_at is None or settled_at >= before:
                continue
        if not _over(tx, root, before):
            continue
        found, whole = _forget(tx, root, dry_run=request.dry_run)
        done = done.plus(found)
        if done.promises >= SWEEP_ROWS:
            # The root of a tree that is not yet gone is looked at again.
            last = promise_id if whole else rows[number - 1][0] if number else request.after
            return Answer(200, {"next": last, "more": True, **asdict(done)})
    last = rows[-1][0] if rows else request.after
    return Answer(200, {"next": last, "more": len(rows) == SWEEP_ROWS, **asdict(done)})


def delete_execution(tx: Tx, request: ExecutionDelete) -> Answer:
    """Forget one execution, or the first part of a large one (`more`); refused where it is still needed (G10)."""
    name = request.id.removeprefix(PREFIX)
    row = tx.row("SELECT p.state FROM promises p JOIN tasks t ON t.id=p.id WHERE p.id=? AND t.timer=0", (request.id,))
    if row is None or request.id != root_of(request.id):
        raise Refused(404, f"there is no execution {name!r}")
    if row[0] == "pending":
        raise Refused(409, f"{name} has not ended: cancel it first")
    if not _over(tx, request.id, TIME_MAX_MS):
        raise Refused(409, f"{name} is still needed: something under it runs, or somebody waits for it or its parent")
    found, whole = _forget(tx, request.id, dry_run=request.dry_run)
    return Answer(200, {"more": not whole, **found})


def _before(tx: Tx, root: str, rules: dict[str, retentions.Rules], request: SweepExecutions) -> int:
    """The time before which a root that goes was settled: by the rule for it, or else by what was asked for."""
    row = tx.row("SELECT function, ended FROM tasks WHERE id=?", (root,)) if rules else None
    ruled, age_ms = (False, None) if row is None or not row[1] else retentions.kept_ms(rules, *row)
    if not ruled:
        return request.before
    before = 0 if age_ms is None else tx.now - age_ms
    return before if request.newest is None else min(before, request.newest)


def _forget(tx: Tx, root: str, *, dry_run: bool) -> tuple[dict[str, int], bool]:
    """Delete a tree, or the first part of a large one: the counts, and whether it is all."""
    tree, whole = _tree(tx, root, dry_run=dry_run)
    kept = namespaces(tx, root) if whole else []
    if not dry_run:
        streams.forget(tx, root)
        _delete(tx, tree)
        for namespace in kept:
            kv.forget(tx, namespace)
    return {"executions": whole, "promises": len(tree), "namespaces": len(kept)}, whole


class _Range(msgspec.Struct, frozen=True, array_like=True):
    """A place in the executions of one function that ended in one way, by when they were made."""

    function: str
    state: str
    created_at: Integer = -1
    id: str = ""


_EACH_FUNCTION = """
    WITH RECURSIVE each(function) AS (
        SELECT * FROM (SELECT function FROM tasks INDEXED BY tasks_function WHERE listed IS NOT NULL
            ORDER BY function LIMIT 1) first
        UNION ALL
        SELECT (SELECT function FROM tasks INDEXED BY tasks_function WHERE listed IS NOT NULL
            AND function > each.function ORDER BY function LIMIT 1)
        FROM each WHERE each.function IS NOT NULL
    )
    SELECT function FROM each WHERE function IS NOT NULL"""
_MADE_BEFORE = (
    "SELECT id, created_at FROM tasks INDEXED BY tasks_function WHERE function=? AND listed=? AND created_at < ?"
    " AND listed IS NOT NULL AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
)


def sweep_retention(tx: Tx, request: SweepRetention) -> Answer:
    """Look at the next executions that were made longer ago than the rule for them says, and delete those whose time
    is over. It reads no execution without a rule, and none that is younger."""
    rules = retentions.all_rules(tx)
    place = _range(request.after)
    done, left = Collected(), SWEEP_ROWS
    for function in sorted(row[0] for row in tx.rows(_EACH_FUNCTION)):
        for state in sorted(STATES):
            ruled, age_ms = retentions.kept_ms(rules, function, state)
            if not ruled or age_ms is None or (function, state) < (place.function, place.state):
                continue
            begin = place if (function, state) == (place.function, place.state) else _Range(function, state)
            before = tx.now - age_ms
            rows = tx.rows(_MADE_BEFORE, (function, state, before, begin.created_at, begin.id, left))
            for task_id, created_at in rows:
                if _settled_before(tx, task_id, before) and _over(tx, task_id, before):
                    found, whole = _forget(tx, task_id, dry_run=False)
                    done = done.plus(found)
                    if not whole:
                        return _batch(done, begin, more=True)
                begin = _Range(function, state, created_at, task_id)
            left -= len(rows)
            if left <= 0 or done.promises >= SWEEP_ROWS:
                return _batch(done, begin, more=True)
    return _batch(done, place, more=False)


def _range(after: str) -> _Range:
    """The place that a batch before told; the first one of "". Refused."""
    try:
        return msgspec.json.decode(after, type=_Range) if after else _Range("", "")
    except msgspec.MsgspecError:
        raise Refused(400, "the place to go on at is none: take it from `next` of the batch before") from None


def _batch(done: Collected, place: _Range, *, more: bool) -> Answer:
    return Answer(200, {"next": msgspec.json.encode(place).decode(), "more": more, **asdict(done)})


def _settled_before(tx: Tx, task_id: str, before: int) -> bool:
    """Whether a task is a root's, and its promise was settled before that."""
    row = tx.row("SELECT settled_at FROM promises WHERE id=?", (task_id,))
    return task_id == root_of(task_id) and row is not None and row[0] is not None and row[0] < before


def _first(tx: Tx, call: str, root: str) -> bool:
    """Whether it is the first call of a run that has no promise of its own: then it stands for all of it (G7)."""
    if parse_call(call) is None or tx.row("SELECT 1 FROM promises WHERE id=?", (root,)) is not None:
        return False
    earlier = f"SELECT 1 FROM promises WHERE {_under(root)} AND id < ?2 LIMIT 1"
    return tx.row("SELECT 1 FROM promises WHERE id=?", (call,)) is not None and tx.row(earlier, (root, call)) is None


def _under(root: str, column: str = "id") -> str:
    """Under a root, whose id is ?1: all of a foreign origin; the calls, steps and children of an execution."""
    calls = f"({column} > ?1 || ':' AND {column} < ?1 || ';')"
    return f"({calls} OR ({column} > ?1 || '.' AND {column} < ?1 || '/'))" if ":" in root else calls


def _over(tx: Tx, root: str, before: int) -> bool:
    """Whether nothing under a settled root runs, was settled or begun lately, or is waited for from elsewhere (G2)."""
    under = _under(root)
    own = (
        f"SELECT 1 FROM tasks WHERE {under} AND state<>'fulfilled' AND timer=0 LIMIT 1",
        f"SELECT 1 FROM callbacks WHERE {_under(root, 'awaited')} LIMIT 1",
        f"SELECT 1 FROM listeners WHERE {_under(root, 'awaited')} LIMIT 1",
        # The call of what has ended can go; a promise that somebody made by hand may be settled yet.
        f"SELECT 1 FROM promises p WHERE {under} AND state='pending' AND external <> 0 AND capability IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id=p.id) LIMIT 1",
    )
    lately = f"SELECT 1 FROM promises WHERE {under} AND COALESCE(settled_at, created_at) >= ?2 LIMIT 1"
    over = tx.row(lately, (root, before)) is None and all(tx.row(sql, (root,)) is None for sql in own)
    return over and not _has_open_parent(tx, root)


def _has_open_parent(tx: Tx, root: str) -> bool:
    """Whether it is the child of an execution that has not ended, which is shown with it and may be forked."""
    row = tx.row("SELECT tags FROM promises WHERE id=?", (root,))
    link = None if row is None else load_tags(row[0]).get(PARENT)
    return link is not None and tx.row(_PENDING, (root_of(link),)) is not None


def _tree(tx: Tx, root: str, *, dry_run: bool) -> tuple[list[str], bool]:
    """A root and all under it, or the first part of a large tree without its root; and whether it is all."""
    limit = EVERY if dry_run else SWEEP_ROWS
    found = [row[0] for row in tx.rows(f"SELECT id FROM promises WHERE {_under(root)} LIMIT ?2", (root, limit))]
    whole = dry_run or len(found) < SWEEP_ROWS
    there = tx.row("SELECT 1 FROM promises WHERE id=?", (root,)) is not None
    return ([*found, root] if whole and there else found), whole


def _delete(tx: Tx, promises: list[str]) -> None:
    """Promises with their tasks, places in sessions and output."""
    for promise_id in promises:
        row = tx.row("DELETE FROM tasks WHERE id=? RETURNING session, n", (promise_id,))
        if row is not None:
            for sql in ("DELETE FROM output WHERE execution=?", "DELETE FROM rewinds WHERE execution=?"):
                tx.execute(sql, (promise_id.removeprefix(PREFIX),))
            tx.execute("DELETE FROM discards WHERE execution=?", (promise_id,))
            signals.forget(tx, promise_id)
            execution_tags.forget(tx, promise_id)
            tx.execute("DELETE FROM cells WHERE session=? AND n=?", row)
    tx.execute_many("DELETE FROM promises WHERE id=?", [(promise_id,) for promise_id in promises])


def sweep_messages(tx: Tx, request: SweepMessages) -> Answer:
    """Delete messages that nobody came for."""
    messages = tx.rows(
        "SELECT id FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT ?) AND created_at < ?"
        f" AND NOT ({URLS})",  # those have a time of their own
        (SWEEP_ROWS, tx.now - OUTBOX_KEEP_MS),
    )
    if not request.dry_run:
        tx.execute_many("DELETE FROM outbox WHERE id=?", messages)
    more = len(messages) == SWEEP_ROWS and not request.dry_run
    return Answer(200, {"more": more, "messages": len(messages)})
