"""Deployments: which engines run an execution, by the code that they were started with (specs/versions.md, D1-D8).

What has begun belongs to the deployment of the engine that began it. What has not is routed by its function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from durable.core.definition_id import CELL, is_capability, spellings
from durable.core.limits import COUNTED_ROWS_MAX
from durable.store.operations.row_records import Queries, dump
from durable.store.operations.transaction import EngineServes, Tx
from durable.store.protocol.requests import Answer, Deployment, Nothing, Record, Refused

KEY = "\0deployments"
"""Held while routes are changed."""

_functions = msgspec.json.Decoder(list[str])
_ROUTE = (
    "INSERT INTO deployment_routes (function, deployment, turn) SELECT value, ?1, ?2 FROM json_each(?3) WHERE true"
    " ON CONFLICT (function) DO UPDATE SET deployment=excluded.deployment, turn=excluded.turn"
    " WHERE deployment_routes.turn < excluded.turn"
)
_OPEN = "SELECT listed FROM tasks WHERE deployment=? AND deployment<>'' AND listed=? LIMIT ?"
OPEN_WORDS = ("pending", "running", "waiting", "interrupted")


def join(tx: Tx, name: str, functions: Iterable[str]) -> None:
    """An engine of a deployment serves these functions: new work of theirs goes to it, unless a newer one has them."""
    if not name:
        return
    tx.lock(KEY)
    own = {each for each in functions if each != CELL and not is_capability(each)}
    row = tx.row("SELECT turn, functions FROM deployments WHERE name=?", (name,))
    if row is None:
        turn, known = _next_turn(tx), set[str]()
    else:
        turn, known = row[0], set(_functions.decode(row[1]))
    tx.execute(
        "INSERT INTO deployments (name, turn, functions, created_at, joined_at) VALUES (?1,?2,?3,?4,?4)"
        " ON CONFLICT (name) DO UPDATE SET functions=?3, joined_at=?4",
        (name, turn, dump(sorted(own | known)), tx.now),
    )
    if own - known:
        tx.execute(_ROUTE, (name, turn, dump(sorted(own - known))))


def _next_turn(tx: Tx) -> int:
    row = tx.row("SELECT coalesce(max(turn), 0) + 1 FROM deployments")
    assert row is not None
    return int(row[0])


def use(tx: Tx, request: Deployment) -> Answer:
    """Have new work go to this deployment, as far as it serves the functions."""
    name = request.deployment
    tx.lock(KEY)
    row = tx.row("SELECT functions FROM deployments WHERE name=?", (name,))
    if row is None:
        raise Refused(404, f"there is no deployment {name!r}")
    turn = _next_turn(tx)
    tx.execute("UPDATE deployments SET turn=? WHERE name=?", (turn, name))
    tx.execute(_ROUTE, (name, turn, row[0]))
    tx.effects.rescan = tx.effects.peers = True
    return Answer(200, {})


def delete(tx: Tx, request: Deployment) -> Answer:
    """Forget a deployment without open executions and living engines; its functions go to the newest other one."""
    name = request.deployment
    tx.lock(KEY)
    if tx.row("SELECT 1 FROM deployments WHERE name=?", (name,)) is None:
        raise Refused(404, f"there is no deployment {name!r}")
    engines = tx.rows("SELECT engine FROM engines WHERE deployment=?", (name,))
    if any(tx.liveness.alive(engine) for (engine,) in engines):
        raise Refused(409, f"engines of the deployment {name!r} are alive")
    count = sum(open_of(tx, name).values())
    if count:
        raise Refused(409, f"{count} executions of the deployment {name!r} have not ended; move them first")
    tx.execute("DELETE FROM deployments WHERE name=?", (name,))
    gone = [row[0] for row in tx.rows("SELECT function FROM deployment_routes WHERE deployment=?", (name,))]
    tx.execute("DELETE FROM deployment_routes WHERE deployment=?", (name,))
    for other, turn, functions in tx.rows("SELECT name, turn, functions FROM deployments"):
        tx.execute(_ROUTE, (other, turn, dump(sorted(set(gone) & set(_functions.decode(functions))))))
    tx.effects.rescan = tx.effects.peers = True
    return Answer(200, {})


def open_of(queries: Queries, name: str) -> dict[str, int]:
    """How many executions of a deployment have not ended, by state; of each COUNTED_ROWS_MAX at most."""
    found = {word: len(queries.rows(_OPEN, (name, word, COUNTED_ROWS_MAX))) for word in OPEN_WORDS}
    return {word: count for word, count in found.items() if count}


def listing(tx: Tx, _request: Nothing) -> Answer:
    """All deployments, the newest first: what new work goes to them, their engines, their open executions."""
    routed: dict[str, list[str]] = {}
    for function, name in tx.rows("SELECT function, deployment FROM deployment_routes ORDER BY function"):
        routed.setdefault(name, []).append(function)
    rows = tx.rows("SELECT name, functions, created_at, joined_at FROM deployments ORDER BY turn DESC")
    return Answer(200, {"deployments": [_record(tx, row, routed.get(row[0], [])) for row in rows]})


def _record(tx: Tx, row: tuple[str, str, int, int], routed: list[str]) -> Record:
    engines = tx.rows("SELECT engine FROM engines WHERE deployment=? ORDER BY joined_at", (row[0],))
    return {
        "name": row[0],
        "functions": _functions.decode(row[1]),
        "new_work": routed,
        "engines": [engine for (engine,) in engines if tx.liveness.alive(engine)],
        "open": open_of(tx, row[0]),
        "created_at": row[2],
        "joined_at": row[3],
    }


# -- who runs what ----------------------------------------------------------------------------------------------


def of_engine(tx: Tx, engine: str) -> str:
    """The deployment of an engine, "" for none."""
    served = tx.served.get(engine)
    if served is not None:
        return served.deployment
    row = tx.row("SELECT deployment FROM engines WHERE engine=?", (engine,))
    return "" if row is None else str(row[0])


def owner(tx: Tx, function: str, version: int, recorded: str | None, *, routes: bool) -> str:
    """The deployment whose engines may begin or go on with an execution; "" for those of none.

    version: how often it was acquired. recorded: what its task says. routes: whether there are any deployments.
    """
    if recorded is not None:
        return recorded
    if version or not routes:
        return ""
    return routes_of(tx, [function]).get(function, "")


def routes_of(tx: Tx, functions: Collection[str]) -> dict[str, str]:
    """For each of these functions the deployment that its new executions go to; without those that have none."""
    spelled = {each: function for function in functions for each in spellings(function)}
    rows = tx.rows(
        "SELECT function, deployment FROM deployment_routes WHERE function IN (SELECT value FROM json_each(?))"
        " ORDER BY turn",
        (dump(sorted(spelled)),),
    )
    return {spelled[function]: deployment for function, deployment in rows}


def of_child(tx: Tx, session: str | None, recorded: str | None) -> str | None:
    """The deployment of a child execution: its parent's, by what the parent's task says.

    None where it is not decided: for those that a cell starts, and where there are no deployments.
    """
    if session is not None or recorded is not None:
        return recorded
    if tx.fences.deployments is None:
        tx.fences.deployments = tx.row("SELECT 1 FROM deployments LIMIT 1") is not None
    return "" if tx.fences.deployments else None


def is_pinned(function: str, session: str | None) -> bool:
    """Whether who runs a task depends on deployments: one of a durable function, but no message to an actor."""
    return bool(function) and session is None


def require(tx: Tx, task_id: str, recorded: str | None, version: int, engine: str) -> None:
    """Refuse that an engine goes on with what another deployment began."""
    if recorded is None and not version:
        return
    mine = of_engine(tx, engine)
    if mine != (recorded or ""):
        raise Refused(409, f"task {task_id!r} belongs to the deployment {recorded or ''!r}, the engine to {mine!r}")


def served_by(served: EngineServes | None, deployment: str) -> bool:
    """Whether an engine is of that deployment."""
    return (served.deployment if served is not None else "") == deployment
