"""The routes that change many executions at once: those that a filter means, or those that are named."""

from __future__ import annotations

from datetime import datetime

import msgspec

from durable.client import api_models
from durable.executions.bulk_work import BulkChoice, BulkWork, bulk_outcome
from durable.executions.execution_search import ExecutionFilter
from durable.http.access.roles import Role
from durable.http.api.api_route import ApiCall, ApiRoute, Handler

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
    wanted = ExecutionFilter(
        state=body.state,
        session=body.session,
        function=body.function,
        tags=tuple(body.tags.items()),
        since=_ms(body.since),
        until=_ms(body.until),
        text=body.text,
    )
    choice = BulkChoice(tuple(body.ids), wanted, body.limit, body.cursor)

    def audit(change: api_models.ExecutionChange) -> None:
        call.site.audit.done(call.holder, f"{work.action}_execution", change.id, 200)

    return await bulk_outcome(call.store, work, choice, dry_run=body.dry_run, within_s=BULK_S_MAX, on_change=audit)


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
