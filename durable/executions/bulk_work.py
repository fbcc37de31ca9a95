"""One action on many executions: what it would do to each, and doing it (docs/search.md).

Each execution is changed by itself: what cannot be changed is told and does not keep the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from durable.core import ids
from durable.core.errors import BadArguments, Conflict, DurableError, NotFound, StoreRefused
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import CANCEL_GRACE_S
from durable.executions.forking import Forked, fork, rewind
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow, State

type BulkAction = Literal["cancel", "resume", "retry", "tag", "delete", "fork", "rewind"]


class BulkWork(FrozenRecord, frozen=True):
    """The action on each execution. reason: of cancelling. tags: to set, None takes one off.

    step, changed: of forks and rewinds.
    """

    action: BulkAction
    reason: str = ""
    tags: Mapping[str, str | None] = {}
    step: int = 0
    changed: Mapping[str, Any] = {}


class BulkChange(FrozenRecord, frozen=True):
    """The change of one execution, made or to be made. `able` is false where there is none, and `note` says why.

    `state` is None where there is no such execution. `made`: the execution that a retry, fork or rewind begins.
    """

    id: str
    state: State | None
    able: bool
    note: str
    made: str | None = None


async def preview_change(store: StoreFace, work: BulkWork, execution_id: str) -> BulkChange:
    """The change that the work would make to an execution, which is not made."""
    row = await store.reads.get_execution(execution_id)
    if row is None:
        return BulkChange(execution_id, None, False, "there is no such execution")
    if work.action == "cancel":
        able = row.settled_at is None
        note = f"is {row.state}; it ends for good" if able else f"has ended: it is {row.state}"
        return BulkChange(row.id, row.state, able, note)
    if work.action == "resume":
        able = row.state == "interrupted"
        note = "goes on from where it was" if able else f"is {row.state}, not interrupted"
        return BulkChange(row.id, row.state, able, note)
    if work.action == "tag":
        return BulkChange(row.id, row.state, True, _tagged(work.tags))
    try:
        if work.action == "delete":
            await delete_execution(store, row.id, dry_run=True)
            return BulkChange(row.id, row.state, True, "is forgotten")
        made = await _forked(store, work, row.id, dry_run=True)
    except DurableError as error:
        return BulkChange(row.id, row.state, False, str(error))
    again = f"; begins again: {', '.join(made.begun_again)}" if made.begun_again else ""
    return BulkChange(row.id, row.state, True, f"as {made.id}, with {made.kept} recorded operations{again}", made.id)


async def make_change(store: StoreFace, work: BulkWork, execution_id: str) -> BulkChange:
    """Do the work to an execution. What is refused is in the answer; StoreError where the store cannot be reached."""
    row = await store.reads.get_execution(execution_id)
    if row is None:
        return BulkChange(execution_id, None, False, "there is no such execution")
    try:
        match work.action:
            case "cancel":
                return await _cancelled(store, row, work.reason)
            case "resume":
                return await _resumed(store, row)
            case "delete":
                await delete_execution(store, row.id)
                return BulkChange(row.id, row.state, True, f"{row.id} is forgotten")
            case "retry" | "fork" | "rewind":
                made = await _forked(store, work, row.id)
                note = f"{made.id} begins with {made.kept} recorded operations"
                return BulkChange(row.id, row.state, True, note, made.id)
            case "tag":
                await tag_execution(store, row.id, work.tags)
                return BulkChange(row.id, row.state, True, _tagged(work.tags))
    except DurableError as error:
        return BulkChange(row.id, row.state, False, str(error))


async def _forked(store: StoreFace, work: BulkWork, execution_id: str, *, dry_run: bool = False) -> Forked:
    if work.action == "rewind":
        return await rewind(store, execution_id, work.step, changed=work.changed, dry_run=dry_run)
    step = None if work.action == "retry" else work.step
    return await fork(store, execution_id, step, changed=work.changed, dry_run=dry_run)


async def _cancelled(store: StoreFace, row: ExecutionRow, reason: str) -> BulkChange:
    """Wish for its end; what cleans up has its usual grace, and nobody waits for it here."""
    wish = {"id": ids.execution_promise(row.id), "reason": reason, "grace_ms": int(CANCEL_GRACE_S * 1000)}
    found = (await store.request("execution.cancel", wish)).data
    if not found["cancelled"]:
        return BulkChange(row.id, row.state, False, f"{row.id} had ended before")
    if found["promise"]["state"] == "pending":
        note = f"{row.id} ends; it may clean up for {CANCEL_GRACE_S:g} s first"
        return BulkChange(row.id, row.state, True, note)
    return BulkChange(row.id, "cancelled", True, f"{row.id} is cancelled")


async def _resumed(store: StoreFace, row: ExecutionRow) -> BulkChange:
    try:
        await store.request("task.continue", {"id": ids.execution_promise(row.id)})
    except StoreRefused as refused:
        if refused.status != 409:
            raise
        return BulkChange(row.id, row.state, False, f"{row.id} was not interrupted")
    return BulkChange(row.id, "running", True, f"{row.id} goes on")


async def delete_execution(store: StoreFace, execution_id: str, *, dry_run: bool = False) -> None:
    """Forget an execution that has ended. NotFound; Conflict where it has not, or is still needed."""
    more = True
    while more:
        try:
            request = {"id": ids.execution_promise(execution_id), "dry_run": dry_run}
            more = (await store.request("execution.delete", request)).data["more"]
        except StoreRefused as refused:
            if refused.status == 404:
                raise NotFound("execution", execution_id) from None
            raise Conflict(refused.message) from None


async def tag_execution(store: StoreFace, execution_id: str, tags: Mapping[str, str | None]) -> dict[str, str]:
    """Give an execution tags that it is found by; None takes one off. All that it has then. NotFound, BadArguments."""
    try:
        answer = await store.request("execution.tag", {"id": ids.execution_promise(execution_id), "tags": dict(tags)})
    except StoreRefused as refused:
        if refused.status == 404:
            raise NotFound("execution", execution_id) from None
        raise BadArguments(refused.message) from None
    found: dict[str, str] = answer.data["tags"]
    return found


def _tagged(tags: Mapping[str, str | None]) -> str:
    given = [f"{name}={value}" if value is not None else f"without {name}" for name, value in tags.items()]
    return f"gets {', '.join(given)}"
