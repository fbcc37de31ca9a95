"""The rules that hold in a store after every commit, as queries for what breaks them (specs/store.md, "Invariants").

SQLite and PostgreSQL both take them.

Read-only, for `durable doctor` and the tests. Each rule walks through whole tables: never used while work waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from durable.core.limits import CHECKPOINTS_KEPT
from durable.store.operations.row_records import Row

_FOUND_MAX = 20
"""Broken rows shown for one rule."""


class BrokenRule(NamedTuple):
    """A row that breaks a rule: the rule's name and what, a promise id mostly."""

    rule: str
    what: str


_HEAD = "NOT EXISTS (SELECT 1 FROM cells c WHERE c.session=t.session AND c.settled=0 AND c.n<t.n)"

RULES: dict[str, str] = {
    "what is kept as JSON is JSON": """
        SELECT id FROM promises WHERE NOT json_valid(tags)
        UNION ALL SELECT name FROM sessions WHERE options<>'' AND NOT json_valid(options)
        UNION ALL SELECT engine FROM engines WHERE NOT json_valid(functions)
        UNION ALL SELECT id FROM schedules WHERE NOT json_valid(promise_tags) OR NOT json_valid(promise_param)
        UNION ALL SELECT name FROM actors WHERE NOT json_valid(restarts) OR NOT json_valid(coalesce(state, '{}'))""",
    "a settled promise has a time of settlement, a pending one has neither that nor a value": """
        SELECT id FROM promises WHERE (state='pending') <> (settled_at IS NULL)
            OR (state='pending' AND (value_data IS NOT NULL OR outcome IS NOT NULL))""",
    "a promise is pending or in one of four terminal states": """
        SELECT id FROM promises
        WHERE state NOT IN ('pending', 'resolved', 'rejected', 'rejected_canceled', 'rejected_timedout')""",
    "a task belongs to a promise, and is fulfilled iff that is settled (S3)": """
        SELECT t.id FROM tasks t LEFT JOIN promises p ON p.id=t.id
        WHERE p.id IS NULL OR (t.state='fulfilled') <> (p.state<>'pending')""",
    "a task says how its promise was settled": """
        SELECT t.id FROM tasks t JOIN promises p ON p.id=t.id
        WHERE t.ended IS DISTINCT FROM CASE p.state
            WHEN 'pending' THEN NULL
            WHEN 'resolved' THEN 'completed'
            WHEN 'rejected' THEN CASE WHEN p.outcome='lost' THEN 'lost' ELSE 'failed' END
            WHEN 'rejected_canceled' THEN 'cancelled'
            ELSE 'timed_out' END""",
    "only a task that is pending says whose lease of it lapsed": """
        SELECT id FROM tasks WHERE lapsed_pid IS NOT NULL AND state<>'pending'""",
    "a promise with a target has a task": """
        SELECT p.id FROM promises p
        WHERE EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(p.tags) THEN p.tags ELSE '{}' END)
                WHERE key='resonate:target')
            AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id=p.id)""",
    "a task has a holder and a lease iff it is acquired": """
        SELECT id FROM tasks WHERE (state='acquired') <> (pid IS NOT NULL)
            OR (state='acquired') <> (lease_at IS NOT NULL) OR (state='acquired') <> (ttl IS NOT NULL)""",
    "a task is due iff it is pending, no timer, first in its session, and has a place in its queue (S5)": f"""
        SELECT t.id FROM tasks t
        WHERE (t.due IS NOT NULL) <> (t.state='pending' AND t.timer=0 AND (t.session IS NULL OR {_HEAD})
            AND NOT EXISTS (SELECT 1 FROM queue_entries e WHERE e.id=t.id AND e.state<>'admitted'))""",
    "only the first unsettled cell of a session runs or waits (S9)": f"""
        SELECT t.id FROM tasks t
        WHERE t.session IS NOT NULL AND t.state IN ('acquired', 'suspended') AND NOT {_HEAD}""",
    "a suspended task waits for something": """
        SELECT t.id FROM tasks t
        WHERE t.state='suspended' AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.awaiter=t.id)""",
    "a callback is from a pending promise to an unfinished task (S3)": """
        SELECT c.awaited || ' -> ' || c.awaiter FROM callbacks c
        LEFT JOIN promises p ON p.id=c.awaited LEFT JOIN tasks t ON t.id=c.awaiter
        WHERE p.id IS NULL OR p.state<>'pending' OR t.state='fulfilled'
            OR (t.id IS NULL AND NOT EXISTS (
                SELECT 1 FROM promises l WHERE l.id=c.awaiter AND l.tags LIKE '%"durable:child"%'))""",
    "a pending link is to a child that has not ended, or begins with a fork that waits (children.K2, queues.Q19)": """
        SELECT l.id FROM promises l WHERE l.state='pending' AND l.tags LIKE '%"durable:child"%'
            AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.awaiter=l.id)
            AND NOT EXISTS (SELECT 1 FROM queue_entries e
                WHERE e.state<>'admitted' AND l.id > e.id || '.' AND l.id < e.id || '/')""",
    "a listener waits for a pending promise (S3)": """
        SELECT l.awaited FROM listeners l LEFT JOIN promises p ON p.id=l.awaited
        WHERE p.id IS NULL OR p.state<>'pending'""",
    "a cell is its task's place in the session, settled iff its promise is": """
        SELECT c.promise FROM cells c LEFT JOIN tasks t ON t.id=c.promise LEFT JOIN promises p ON p.id=c.promise
        WHERE t.id IS NULL OR t.session<>c.session OR t.n<>c.n OR (c.settled=1) <> (p.state<>'pending')""",
    "a task of a session has a place in it": """
        SELECT t.id FROM tasks t WHERE t.session IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM cells c WHERE c.session=t.session AND c.n=t.n AND c.promise=t.id)""",
    "a session's numbers are never used again (S9)": """
        SELECT c.promise FROM cells c LEFT JOIN sessions s ON s.name=c.session
        WHERE s.name IS NULL OR c.n>=s.next_n""",
    "output is contiguous (S10)": """
        SELECT execution FROM (
            SELECT execution, start, length, length(text) AS long,
                lag(start + length, 1, 0) OVER (PARTITION BY execution ORDER BY start) AS earlier FROM output
        ) placed WHERE start<>earlier OR length<1 OR long>length""",
    "a checkpoint that uses a chunk exists": """
        SELECT u.digest FROM checkpoint_uses u LEFT JOIN checkpoints c ON c.id=u.checkpoint WHERE c.id IS NULL""",
    "a chunk is used (S11)": """
        SELECT digest FROM chunks WHERE NOT EXISTS (SELECT 1 FROM checkpoint_uses u WHERE u.digest=chunks.digest)""",
    "a session keeps no more unlabelled checkpoints than it may (S11)": f"""
        SELECT session FROM checkpoints WHERE label IS NULL GROUP BY session HAVING count(*) > {CHECKPOINTS_KEPT}""",
    "what was given up is rejected (S6)": """
        SELECT id FROM promises WHERE outcome IS NOT NULL AND (outcome<>'lost' OR state<>'rejected')""",
    "the tags of an execution are in the index, and no others": """
        SELECT g.id FROM execution_tags g LEFT JOIN promises p ON p.id=g.id LEFT JOIN tasks t ON t.id=g.id
        WHERE p.id IS NULL OR t.created_at<>g.created_at
            OR NOT EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(p.tags) THEN p.tags ELSE '{}' END)
                WHERE key='durable:tag:' || g.name AND value=g.value)""",
    "of one name signals lie there, or waits stand in line, never both (signals.G2)": """
        SELECT w.promise FROM signal_waits w JOIN promises p ON p.id=w.promise AND p.state='pending'
        WHERE EXISTS (SELECT 1 FROM signals s WHERE s.execution=w.execution AND s.name=w.name AND s.taken=0)""",
    "a promise that waits for a signal stands in line (signals.G2)": """
        SELECT p.id FROM promises p WHERE p.state='pending'
            AND EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(p.tags) THEN p.tags ELSE '{}' END)
                WHERE key='durable:signal')
            AND NOT EXISTS (SELECT 1 FROM signal_waits w WHERE w.promise=p.id)""",
    "a queue counts its entries (queues.Q2)": """
        SELECT q.name FROM queues q WHERE
            q.delayed<>(SELECT count(*) FROM queue_entries e WHERE e.queue=q.name AND e.state='delayed')
            OR q.waiting<>(SELECT count(*) FROM queue_entries e WHERE e.queue=q.name AND e.state='waiting')
            OR q.running<>(SELECT count(*) FROM queue_entries e WHERE e.queue=q.name AND e.state='admitted')""",
    "a key of a queue counts its entries, and has some (queues.Q2)": """
        SELECT k.queue || ' ' || k.key FROM queue_keys k WHERE k.waiting+k.running=0
            OR k.waiting<>(SELECT count(*) FROM queue_entries e
                WHERE e.queue=k.queue AND e.key=k.key AND e.state='waiting')
            OR k.running<>(SELECT count(*) FROM queue_entries e
                WHERE e.queue=k.queue AND e.key=k.key AND e.state='admitted')""",
    "a line of a queue counts its entries, is open iff its key may begin, and has its key's turn (queues.Q2)": """
        SELECT l.queue || ' ' || l.key FROM queue_lines l JOIN queues q ON q.name=l.queue
        LEFT JOIN queue_keys k ON k.queue=l.queue AND k.key=l.key
        WHERE k.key IS NULL OR k.turn<>l.turn OR l.waiting=0
            OR (l.open=1) <> (q.per_key IS NULL OR k.running<q.per_key)
            OR l.waiting<>(SELECT count(*) FROM queue_entries e WHERE e.queue=l.queue AND e.key=l.key
                AND e.target=l.target AND e.rank=l.rank AND e.state='waiting')""",
    "an entry of a queue is of a pending promise, and stands in a line if it waits (queues.Q1)": """
        SELECT e.id FROM queue_entries e LEFT JOIN promises p ON p.id=e.id LEFT JOIN tasks t ON t.id=e.id
        WHERE p.state IS NULL OR p.state<>'pending' OR t.queue IS NULL OR t.queue<>e.queue
            OR (e.state='held' AND t.state<>'halted') OR (e.state IN ('delayed', 'waiting') AND t.version>0)
            OR (e.state='waiting' AND NOT EXISTS (SELECT 1 FROM queue_lines l WHERE l.queue=e.queue AND l.key=e.key
                AND l.target=e.target AND l.rank=e.rank))""",
    "of a queue with a rate the last starts are known, as many as its count (queues.Q6)": """
        SELECT s.queue FROM queue_starts s JOIN queues q ON q.name=s.queue
        WHERE s.n>q.started OR (q.rate_count IS NOT NULL AND s.n<=q.started-q.rate_count)""",
    "an item of a stream is a write that is recorded, before the next offset (streams.T1)": """
        SELECT i.promise FROM stream_items i LEFT JOIN promises p ON p.id=i.promise
            LEFT JOIN streams s ON s.execution=i.execution AND s.name=i.name
        WHERE p.id IS NULL OR p.state<>'resolved' OR s.next_n IS NULL OR i.n + i.items > s.next_n""",
    "items of a stream do not overlap (streams.T2)": """
        SELECT promise FROM (SELECT promise, n, lag(n + items, 1, 0)
            OVER (PARTITION BY execution, name ORDER BY n) AS earlier FROM stream_items) placed WHERE n<earlier""",
    "what is published is recorded (streams.T7)": """
        SELECT k.execution FROM published k LEFT JOIN promises p ON p.id=k.promise
        WHERE p.id IS NULL OR p.state<>'resolved'""",
    "a schedule's next tick is after its last (S12)": """
        SELECT id FROM schedules WHERE last_run_at IS NOT NULL AND next_run_at<=last_run_at""",
}
"""Rules by what they say; each query selects what breaks it, one text a row."""


def broken(run: Callable[[str, tuple[Any, ...]], Iterable[Row]]) -> list[BrokenRule]:
    """Every rule that does not hold, with the first rows that break it. `run` runs a statement."""
    found = []
    for rule, sql in RULES.items():
        for row in run(f"{sql} LIMIT {_FOUND_MAX}", ()):
            found.append(BrokenRule(rule, str(row[0])))
    return found
