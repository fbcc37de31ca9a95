"""Engines on one file: joining, what they serve, leaving, and burying the dead (specs/store.md, S8)."""

from __future__ import annotations

import msgspec

from durable.store.operations import deployments
from durable.store.operations.lock_keys import engine_key
from durable.store.operations.row_records import dump
from durable.store.operations.settlement import end_attempt, make_pending
from durable.store.operations.transaction import EngineServes, Tx
from durable.store.protocol.requests import Answer, Engine, EngineJoin, EngineServe, Nothing, Refused

_functions = msgspec.json.Decoder(list[str])


def join(tx: Tx, request: EngineJoin) -> Answer:
    """Register an engine of this process, with its lock as proof of life."""
    try:
        tx.liveness.hold(request.engine)
    except FileExistsError as error:
        raise Refused(409, str(error)) from error
    except OSError as error:
        raise Refused(409, f"engine {request.engine!r} is alive in another process ({error})") from error
    functions = frozenset(request.functions)
    tx.execute(
        "INSERT INTO engines (engine, grp, pid, functions, serves_sessions, joined_at, queues, deployment)"
        " VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT (engine)"
        " DO UPDATE SET grp=?2, pid=?3, functions=?4, serves_sessions=?5, joined_at=?6, queues=?7, deployment=?8",
        (
            request.engine,
            request.group,
            request.pid,
            dump(sorted(functions)),
            request.serves_sessions,
            tx.now,
            None if request.queues is None else dump(sorted(request.queues)),
            request.deployment,
        ),
    )
    queues = None if request.queues is None else frozenset(request.queues)
    tx.served[request.engine] = EngineServes(functions, request.serves_sessions, queues, request.deployment)
    deployments.join(tx, request.deployment, functions)
    tx.effects.rescan = tx.effects.peers = True
    return Answer(200, {})


def move(tx: Tx, request: Engine) -> Answer:
    """An engine elsewhere comes by this server from now on; it joins here next."""
    tx.liveness.take_over(request.engine)
    return Answer(200, {})


def serve(tx: Tx, request: EngineServe) -> Answer:
    """Add functions to what an engine serves."""
    row = tx.row("SELECT functions FROM engines WHERE engine=?", (request.engine,))
    served = tx.served.get(request.engine)
    if row is None or served is None:
        raise Refused(404, f"engine {request.engine!r} has not joined")
    functions = frozenset(_functions.decode(row[0])) | frozenset(request.functions)
    tx.execute("UPDATE engines SET functions=? WHERE engine=?", (dump(sorted(functions)), request.engine))
    tx.served[request.engine] = served._replace(functions=functions)
    deployments.join(tx, served.deployment, request.functions)
    tx.effects.rescan = True
    return Answer(200, {})


def leave(tx: Tx, request: Engine) -> Answer:
    """Go in order: tasks are due at once and no attempt counts, sessions have no owner. Idempotent."""
    for (task_id,) in _held_tasks(tx, request.engine):
        if _still_holds(tx, request.engine, task_id):
            make_pending(tx, task_id)
    for (session,) in tx.rows(
        "UPDATE sessions SET owner=NULL, worker_pid=NULL, worker_start=NULL WHERE owner=? RETURNING name",
        (request.engine,),
    ):
        tx.effects.sessions.add(session)
    tx.execute("DELETE FROM engines WHERE engine=?", (request.engine,))
    tx.served.pop(request.engine, None)
    tx.leases.leave(request.engine)
    tx.liveness.release(request.engine)
    tx.effects.rescan = tx.effects.peers = True
    return Answer(200, {})


def bury(tx: Tx, engine: str, *, unheard: bool = False) -> None:
    """Release what a dead engine held, at once. Its sessions keep their owner's name until somebody takes them.

    `unheard`: it is elsewhere, and may be at work all the same (L4).
    """
    tx.lock(engine_key(engine))
    row = tx.row("SELECT 1 FROM engines WHERE engine=?", (engine,))
    if row is None or tx.liveness.alive(engine):
        return
    held = _held_tasks(tx, engine)
    for (task_id,) in held:
        if _still_holds(tx, engine, task_id):
            end_attempt(tx, task_id, "died", f"engine {engine} died", claimed=unheard)
    tx.execute("DELETE FROM engines WHERE engine=?", (engine,))
    tx.liveness.forget(engine)
    tx.effects.dead.append((engine, len(held)))
    tx.effects.rescan = tx.effects.peers = True


def lost(tx: Tx, request: Engine) -> Answer:
    """An engine elsewhere, whose lock this process holds for it, has not been heard of for its lease: it is dead."""
    tx.served.pop(request.engine, None)
    tx.liveness.release(request.engine)
    bury(tx, request.engine, unheard=True)
    return Answer(200, {})


def _held_tasks(tx: Tx, engine: str) -> list[tuple[str]]:
    return tx.rows("SELECT id FROM tasks WHERE state='acquired' AND pid=? ORDER BY lease_at, id", (engine,))


def _still_holds(tx: Tx, engine: str, task_id: str) -> bool:
    """Whether the task did not go with another one that was lost, and nobody ended it before it was locked here."""
    tx.lock_promise(task_id)
    return tx.row("SELECT 1 FROM tasks WHERE id=? AND state='acquired' AND pid=?", (task_id, engine)) is not None


def listing(tx: Tx, _request: Nothing) -> Answer:
    rows = tx.rows("SELECT engine, grp, functions, pid, deployment FROM engines ORDER BY joined_at, engine")
    return Answer(
        200,
        {
            "engines": [
                {
                    "engine": row[0],
                    "group": row[1],
                    "functions": _functions.decode(row[2]),
                    "pid": row[3],
                    "deployment": row[4],
                    "alive": tx.liveness.alive(row[0]),
                }
                for row in rows
            ]
        },
    )
