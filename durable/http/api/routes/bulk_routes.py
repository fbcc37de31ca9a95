"""The routes that change many executions at once: those that a filter means, or those that are named."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime

import msgspec

from durable.client import api_models
from durable.core import ids
from durable.core.errors import BadArguments
from durable.executions.bulk_work import BulkWork, make_change, preview_change
from durable.executions.execution_search import ExecutionFilter, ExecutionPage, search
from durable.http.access.roles import Role
from durable.http.api.api_route import ApiCall, ApiRoute, Handler
from durable.http.api.page_cursor import read_cursor, write_cursor

BULK_S_MAX = 40.0
"""After so long a request begins no further change, and answers with where to go on: clients give up after 60 s."""


async def cancel_executions(call: ApiCall) -> api_models.BulkOutcome:
    """End many executions for good. What cleans up has its grace, for which nobody waits here."""
    return await _bulk(call, BulkWork("cancel", call.body.reason or f"by {call.holder.name}"))


async def resume_executions(call: ApiCall) -> api_models.BulkOutcome:
    """Go on with many executions that were interrupted or halted."""
    return await _bulk(call, BulkWork("resume"))


async def retry_executions(call: ApiCall) -> api_models.BulkOutcome:
    """Begin again many that failed, each from the step that failed."""
    return await _bulk(call, BulkWork("retry"))


async def tag_executions(call: ApiCall) -> api_models.BulkOutcome:
    """Give many executions tags that they are found by, or take them off."""
    body: api_models.TagExecutions = call.body
    if not body.set:
        raise BadArguments("set names the tags to give, or with null to take off")
    return await _bulk(call, BulkWork("tag", tags=body.set))


async def fork_executions(call: ApiCall) -> api_models.BulkOutcome:
    """Begin many executions with what others recorded before a step."""
    body: api_models.ForkExecutions = call.body
    return await _bulk(call, BulkWork("fork", step=body.step, changed=body.changed))


async def rewind_executions(call: ApiCall) -> api_models.BulkOutcome:
    """Take many executions back to before a step: each new one takes the place of the old one."""
    body: api_models.ForkExecutions = call.body
    return await _bulk(call, BulkWork("rewind", step=body.step, changed=body.changed))


async def delete_executions(call: ApiCall) -> api_models.BulkOutcome:
    """Forget many executions that have ended."""
    return await _bulk(call, BulkWork("delete"))


async def _bulk(call: ApiCall, work: BulkWork) -> api_models.BulkOutcome:
    """Do the work to each execution that the body means, the newest first, until it has `limit` or the time is over."""
    body: api_models.ChooseExecutions = call.body
    of = ("bulk", work.action, *(str(getattr(body, name)) for name in _CHOICES))
    before = read_cursor(body.cursor, of, str)
    page = await _chosen(call, body, before)
    items, cursor = list[api_models.ExecutionChange](), page.cursor
    ends_at = time.monotonic() + BULK_S_MAX
    change = preview_change if body.dry_run else make_change
    for row_id in [row.id for row in page] or _named(body, before):
        if items and time.monotonic() > ends_at:
            cursor = items[-1].id
            break
        found = await change(call.store, work, row_id)
        items.append(api_models.ExecutionChange(**asdict(found)))
        if found.able and not body.dry_run:
            call.site.audit.done(call.holder, f"{work.action}_execution", found.id, 200)
    following = None if cursor is None else write_cursor(cursor, of)
    return api_models.BulkOutcome(items=items, dry_run=body.dry_run, next=following)


_CHOICES = ("ids", "state", "session", "function", "tags", "text", "since", "until")


def _named(body: api_models.ChooseExecutions, before: str | None) -> list[str]:
    """The executions that are named, each once; those after `before`, where the request before this one ended."""
    named = list(dict.fromkeys(each.removeprefix(ids.PREFIX) for each in body.ids))
    if before is not None and before not in named:
        raise BadArguments("the cursor is none: take it from `next` of the answer before, unchanged")
    return named if before is None else named[named.index(before) + 1 :]


async def _chosen(call: ApiCall, body: api_models.ChooseExecutions, before: str | None) -> ExecutionPage:
    """The executions that the filters mean; none where some are named. BadArguments where nothing is said."""
    given = [name for name in _CHOICES[1:] if getattr(body, name) and (name != "text" or body.text.strip())]
    if body.ids:
        if given:
            raise BadArguments(f"name ids, or choose by {given[0]}; not both")
        return ExecutionPage()
    if not given:
        raise BadArguments(f"name ids, or choose by {', '.join(_CHOICES[1:])}")
    if body.session is not None and body.session.startswith(ids.MAILBOX):
        raise BadArguments("that is an actor's mailbox; its messages are the actor's")
    wanted = ExecutionFilter(
        state=body.state,
        session=body.session,
        function=body.function,
        tags=tuple(body.tags.items()),
        since=_ms(body.since),
        until=_ms(body.until),
        text=body.text,
    )
    page = await search(call.reads, wanted, limit=body.limit, before=before)
    if wanted.is_indexed and len(page) == body.limit:
        page.cursor = page[-1].id
    return page


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


_BULK: tuple[tuple[str, Role, Handler, type[msgspec.Struct]], ...] = (
    ("cancel", "operate", cancel_executions, api_models.CancelExecutions),
    ("resume", "operate", resume_executions, api_models.ChooseExecutions),
    ("retry", "operate", retry_executions, api_models.ChooseExecutions),
    ("tag", "operate", tag_executions, api_models.TagExecutions),
    ("fork", "operate", fork_executions, api_models.ForkExecutions),
    ("rewind", "operate", rewind_executions, api_models.ForkExecutions),
    ("delete", "admin", delete_executions, api_models.ChooseExecutions),
)
ROUTES = tuple(
    ApiRoute("POST", f"/bulk/{path}", role, handler, api_models.BulkOutcome, body=body)
    for path, role, handler, body in _BULK
)
