"""Where an execution stands: settled, going on, waiting for people, or halted (specs/cli.md)."""

from __future__ import annotations

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.definition_id import CELL
from durable.core.errors import NotFound
from durable.core.frozen_record import FrozenRecord
from durable.engine.views import ServedFunctions
from durable.executions.states import OPEN, SETTLED
from durable.store.port import ReadsFace, StoreFace
from durable.store.rows import ExecutionRow, PromiseRow, PromptRow

QUEUE_SEEN_MAX = 1_000
"""How far back a session's queue is looked through: more waiting cells than people make."""

UNSETTLED_SEEN_MAX = 10_000
"""Unfinished executions of one state that a list shows."""


class HasEnded(FrozenRecord, frozen=True):
    """An execution that has ended; the row says how."""

    row: ExecutionRow


class GoesOn(FrozenRecord, frozen=True):
    """An execution with something that runs, is due, or is a timer. `needs` are the functions to be served for it.

    `session` is the one whose cell goes on, where it is one.
    """

    needs: frozenset[str]
    session: str | None = None


class AwaitsAnswers(FrozenRecord, frozen=True):
    """An execution that cannot go on before one of these is answered."""

    prompts: tuple[PromptRow, ...]


class IsHalted(FrozenRecord, frozen=True):
    """`row` is interrupted: the execution itself, or one that it waits for."""

    row: ExecutionRow


type Standing = HasEnded | GoesOn | AwaitsAnswers | IsHalted


async def find(reads: ReadsFace, execution_id: str) -> ExecutionRow:
    """The execution; NotFound."""
    row = await reads.get_execution(execution_id.removeprefix(ids.PREFIX))
    if row is None:
        raise NotFound("execution", execution_id, "`durable list` shows what there is")
    return row


async def stand(reads: ReadsFace, execution_id: str) -> Standing:
    """Where an execution stands now; NotFound when there is none."""
    return await _stand(reads, await find(reads, execution_id))


async def _stand(reads: ReadsFace, row: ExecutionRow) -> Standing:
    if row.state in SETTLED:
        return HasEnded(row)
    if row.state == "interrupted":
        return IsHalted(row)
    if row.state == "waiting":
        return await _waiting(reads, row)
    if row.state == "pending" and row.session is not None:
        before = await first_unsettled(reads, row.session)
        if before is not None and before.id != row.id:
            return await _stand(reads, before)
    return GoesOn(frozenset((row.function,)), row.session)


async def _waiting(reads: ReadsFace, row: ExecutionRow) -> Standing:
    """Suspended: what it waits for is among the pending promises under it."""
    own = ids.execution_promise(row.id)
    halted: IsHalted | None = None
    asked: list[PromptRow] = []
    for promise in await reads.children(row.id):
        execution = execution_behind(promise)
        if promise.state != "pending" or execution is None:
            continue
        child = await reads.get_execution(execution)
        if child is None:
            continue
        standing = await _stand(reads, child)
        if isinstance(standing, GoesOn):
            return GoesOn(standing.needs | {row.function}, standing.session)
        if isinstance(standing, IsHalted):
            halted = standing
        if isinstance(standing, AwaitsAnswers):
            asked += standing.prompts
    if halted is not None:
        return halted
    now = now_ms()  # a question whose deadline has passed is answered by that, whether or not somebody swept it yet
    under = (f"{own}:", f"{own}.")
    own_prompts = [p for p in await reads.prompts() if p.id.startswith(under) and p.timeout_at > now]
    prompts = {p.id: p for p in [*own_prompts, *asked]}
    if prompts:
        return AwaitsAnswers(tuple(prompts.values()))
    return GoesOn(frozenset((row.function,)))


def execution_behind(promise: PromiseRow) -> str | None:
    """The execution that a promise under another one is, or is the link to."""
    child = promise.tags.get("durable:child")
    if child is None and "resonate:target" in promise.tags and "resonate:timer" not in promise.tags:
        child = promise.id
    return None if child is None else child.removeprefix(ids.PREFIX)


async def first_unsettled(reads: ReadsFace, session: str) -> ExecutionRow | None:
    """The execution whose turn it is in a session."""
    rows = await reads.list_executions(session=session, limit=QUEUE_SEEN_MAX)
    return min((row for row in rows if row.state not in SETTLED), key=lambda row: row.n or 0, default=None)


def root_of(execution_id: str) -> str:
    """The execution that a nested one (`<id>.<k>`) belongs to."""
    return execution_id.partition(".")[0]


async def served(store: StoreFace) -> ServedFunctions:
    """The functions that the living engines on this store serve."""
    return ServedFunctions.by(await store.reads.engines(), store.engine_alive)


async def needs_of(reads: ReadsFace, execution_id: str) -> frozenset[str]:
    """The functions that must be served so that an execution can go on to its end: its own, its root's, and cells."""
    row = await find(reads, execution_id)
    root = await reads.get_execution(root_of(row.id))
    names = {row.function, CELL, *(() if root is None else (root.function,))}
    return frozenset(name for name in names if name)


async def unsettled(reads: ReadsFace) -> list[ExecutionRow]:
    """Every execution that has not ended, newest first; without values that lie in blobs."""
    found = list[ExecutionRow]()
    for word in OPEN:
        found += await reads.list_executions(state=word.value, limit=UNSETTLED_SEEN_MAX, whole=False)
    return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)
