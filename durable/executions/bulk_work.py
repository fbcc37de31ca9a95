"""One action on many executions: which are meant, what it would do to each, and doing it (docs/search.md).

Each execution is changed by itself: what cannot be changed is told and does not keep the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

from msgspec.structs import astuple

from durable.client.api_models import BulkOutcome, ExecutionChange
from durable.core import ids
from durable.core.errors import BadArguments, Conflict, DurableError, NotFound, StoreRefused
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import CANCEL_GRACE_S
from durable.executions.execution_search import ExecutionFilter, ExecutionPage, search
from durable.executions.forking import RETRIED, Forked, fork, passed_over, rewind
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow, State

BULK_ROWS = 100
"""Executions of one outcome where nothing else is said."""

_FILTERS = ("state", "session", "function", "tags", "text", "since", "until")

_TAKES = {"cancel": ("reason",), "tag": ("set",), "fork": ("step", "changed"), "rewind": ("step", "changed")}
"""What an action is given beside the executions."""

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


def bulk_work(
    action: BulkAction,
    *,
    reason: str = "",
    tags: Mapping[str, str | None] | None = None,
    step: int | None = None,
    changed: Mapping[str, Any] | None = None,
) -> BulkWork:
    """The work of what a caller gives. BadArguments, also for what another action takes."""
    if action not in get_args(BulkAction.__value__):
        raise BadArguments(f"the action is one of {', '.join(get_args(BulkAction.__value__))}, not {action!r}")
    takes = _TAKES.get(action, ())
    given = {"reason": bool(reason), "set": tags is not None, "step": step is not None, "changed": changed is not None}
    for name in given:
        if given[name] and name not in takes:
            raise BadArguments(f"{action} takes no {name!r}")
    if "step" in takes and (type(step) is not int or step < 1):
        raise BadArguments(f"{action} takes a step, the number of an operation from 1, not {step!r}")
    return BulkWork(action, reason, tags or {}, step or 0, changed or {})


class BulkChoice(FrozenRecord, frozen=True):
    """The executions that are meant: those with these ids, or those that fit the filter, the newest first.

    limit: at most so many that fit. cursor: `next` of the outcome before.
    """

    ids: tuple[str, ...] = ()
    wanted: ExecutionFilter = ExecutionFilter()
    limit: int = BULK_ROWS
    cursor: str | None = None

    def list_of(self, action: BulkAction) -> tuple[object, ...]:
        """The list and filters to which a cursor of it belongs."""
        return ("bulk", action, self.ids, *map(str, astuple(self.wanted)))


def named_or_fitting(named: Iterable[str], wanted: ExecutionFilter, limit: int, cursor: str | None) -> BulkChoice:
    """The choice that a caller says. BadArguments."""
    listed = () if isinstance(named, str) else tuple(named)
    if isinstance(named, str) or not all(isinstance(each, str) for each in listed):
        raise BadArguments(f"ids is a list of ids, not {named!r}")
    if type(limit) is not int or limit < 1:
        raise BadArguments(f"limit is a whole number from 1, not {limit!r}")
    if cursor is not None and not isinstance(cursor, str):
        raise BadArguments(f"the cursor is `next` of the outcome before, not {cursor!r}")
    return BulkChoice(listed, wanted, limit, cursor)


async def bulk_outcome(
    store: StoreFace,
    work: BulkWork,
    choice: BulkChoice,
    *,
    dry_run: bool = False,
    within_s: float | None = None,
    on_change: Callable[[ExecutionChange], None] | None = None,
) -> BulkOutcome:
    """Do the work to each execution that is meant; `next` of the outcome goes on with the others.

    dry_run: only say what would become of each. within_s: after so long no further change is begun. on_change: told
    each change that was made. BadArguments where nothing is chosen, or by a cursor of another choice.
    """
    of = choice.list_of(work.action)
    before = read_cursor(choice.cursor, of, str) or None
    _check_choice(work, choice)
    page = ExecutionPage()
    if not choice.ids:
        page = await search(store.reads, choice.wanted, limit=choice.limit, before=before, whole=False)
        if choice.wanted.is_indexed and len(page) == choice.limit:
            page.cursor = page[-1].id
    changes, cursor = list[ExecutionChange](), page.cursor
    ends_at = None if within_s is None else time.monotonic() + within_s
    change = preview_change if dry_run else make_change
    for row_id in _named(choice, before) if choice.ids else [row.id for row in page]:
        if changes and ends_at is not None and time.monotonic() > ends_at:
            cursor = changes[-1].id
            break
        why = await _passed_over(store, row_id) if work.action == "retry" and not choice.ids else None
        found = await change(store, work, row_id) if why is None else why
        changes.append(found)
        if found.able and not dry_run and on_change is not None:
            on_change(found)
    if cursor is not None and work.action == "delete" and not dry_run and not choice.ids:
        cursor = _place_behind(changes, cursor, before)
    return BulkOutcome(items=changes, dry_run=dry_run, next=None if cursor is None else write_cursor(cursor, of))


async def _passed_over(store: StoreFace, execution_id: str) -> ExecutionChange | None:
    """The answer for one that fits, and whose work another retry does; None where it is to be retried."""
    row = await store.reads.get_execution(execution_id)
    why = await passed_over(store, row) if row is not None and row.state in RETRIED else ""
    return _change(execution_id, row.state, False, why) if row is not None and why else None


def _place_behind(changes: list[ExecutionChange], cursor: str, before: str | None) -> str:
    """The execution to go on behind, where `cursor` may be gone by now: what is between them is gone. "" for none."""
    gone = {each.id for each in changes if each.able or each.state is None}
    if cursor not in gone:
        return cursor
    return next((each.id for each in reversed(changes) if each.id not in gone), before or "")


def _check_choice(work: BulkWork, choice: BulkChoice) -> None:
    """BadArguments where it is not said which executions are meant, or what is to become of them."""
    wanted = choice.wanted
    values = {name: getattr(wanted, name) for name in _FILTERS} | {"text": wanted.text.strip()}
    given = [name for name, value in values.items() if value not in (None, (), "")]
    if choice.ids and given:
        raise BadArguments(f"name ids, or choose by {given[0]}; not both")
    if not choice.ids and not given:
        raise BadArguments(f"name ids, or choose by {', '.join(_FILTERS)}")
    if wanted.session is not None and wanted.session.startswith(ids.MAILBOX):
        raise BadArguments("that is an actor's mailbox; its messages are the actor's")
    if work.action == "tag" and not work.tags:
        raise BadArguments("set names the tags to give, or with null to take off")


def _named(choice: BulkChoice, before: str | None) -> list[str]:
    """The executions that are named, each once; those after `before`, where the outcome before this one ended."""
    named = list(dict.fromkeys(each.removeprefix(ids.PREFIX) for each in choice.ids))
    if before is not None and before not in named:
        raise BadArguments("the cursor is none: take it from `next` of the answer before, unchanged")
    return named if before is None else named[named.index(before) + 1 :]


async def preview_change(store: StoreFace, work: BulkWork, execution_id: str) -> ExecutionChange:
    """The change that the work would make to an execution, which is not made."""
    row = await store.reads.get_execution(execution_id)
    if row is None:
        return _change(execution_id, None, False, "there is no such execution")
    if work.action == "cancel":
        able = row.settled_at is None
        note = f"is {row.state}; it ends for good" if able else f"has ended: it is {row.state}"
        return _change(row.id, row.state, able, note)
    if work.action == "resume":
        able = row.state == "interrupted"
        note = "goes on from where it was" if able else f"is {row.state}, not interrupted"
        return _change(row.id, row.state, able, note)
    if work.action == "tag":
        return _change(row.id, row.state, True, _tagged(work.tags))
    try:
        if work.action == "delete":
            await delete_execution(store, row.id, dry_run=True)
            return _change(row.id, row.state, True, "is forgotten")
        made = await _forked(store, work, row.id, dry_run=True)
    except DurableError as error:
        return _change(row.id, row.state, False, str(error))
    again = f"; begins again: {', '.join(made.begun_again)}" if made.begun_again else ""
    note = f"as {made.id}, with {made.kept} recorded operations{_in_queue(made)}{again}"
    return _change(row.id, row.state, True, note, made.id)


async def make_change(store: StoreFace, work: BulkWork, execution_id: str) -> ExecutionChange:
    """Do the work to an execution. What is refused is in the answer; StoreError where the store cannot be reached."""
    row = await store.reads.get_execution(execution_id)
    if row is None:
        return _change(execution_id, None, False, "there is no such execution")
    try:
        match work.action:
            case "cancel":
                return await _cancelled(store, row, work.reason)
            case "resume":
                return await _resumed(store, row)
            case "delete":
                await delete_execution(store, row.id)
                return _change(row.id, row.state, True, f"{row.id} is forgotten")
            case "retry" | "fork" | "rewind":
                made = await _forked(store, work, row.id)
                note = f"{made.id} begins with {made.kept} recorded operations{_in_queue(made)}"
                return _change(row.id, row.state, True, note, made.id)
            case "tag":
                await tag_execution(store, row.id, work.tags)
                return _change(row.id, row.state, True, _tagged(work.tags))
    except DurableError as error:
        return _change(row.id, row.state, False, str(error))


async def _forked(store: StoreFace, work: BulkWork, execution_id: str, *, dry_run: bool = False) -> Forked:
    if work.action == "rewind":
        return await rewind(store, execution_id, work.step, changed=work.changed, dry_run=dry_run)
    step = None if work.action == "retry" else work.step
    return await fork(store, execution_id, step, changed=work.changed, dry_run=dry_run)


def _in_queue(made: Forked) -> str:
    return f", in the queue {made.queue}" if made.queue else ""


async def _cancelled(store: StoreFace, row: ExecutionRow, reason: str) -> ExecutionChange:
    """Wish for its end; what cleans up has its usual grace, and nobody waits for it here."""
    wish = {"id": ids.execution_promise(row.id), "reason": reason, "grace_ms": int(CANCEL_GRACE_S * 1000)}
    found = (await store.request("execution.cancel", wish)).data
    if not found["cancelled"]:
        return _change(row.id, row.state, False, f"{row.id} had ended before")
    if found["promise"]["state"] == "pending":
        note = f"{row.id} ends; it may clean up for {CANCEL_GRACE_S:g} s first"
        return _change(row.id, row.state, True, note)
    return _change(row.id, "cancelled", True, f"{row.id} is cancelled")


async def _resumed(store: StoreFace, row: ExecutionRow) -> ExecutionChange:
    try:
        await store.request("task.continue", {"id": ids.execution_promise(row.id)})
    except StoreRefused as refused:
        if refused.status != 409:
            raise
        return _change(row.id, row.state, False, f"{row.id} was not interrupted")
    return _change(row.id, "running", True, f"{row.id} goes on")


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


def _change(execution_id: str, state: State | None, able: bool, note: str, made: str | None = None) -> ExecutionChange:
    return ExecutionChange(id=execution_id, state=state, able=able, note=note, made=made)
