"""One execution as the API shows it, and what came of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from durable.client.api_models import ExecutionDetail, ExecutionFailure, ExecutionOutcome
from durable.core import ids
from durable.core.errors import Halted
from durable.core.limits import MCP_LOOK_REST_S
from durable.core.value_codec import undamaged
from durable.engine.execution_overview import overview
from durable.engine.views import ServedFunctions, arguments_of
from durable.executions.states import PROMISE_OF
from durable.functions.failures import rebuild
from durable.http.api.api_route import ApiCall
from durable.prompts.inbox import Inbox
from durable.records import notation
from durable.records.view_models import ExecutionView
from durable.store.changes import Changes
from durable.store.direct_store import DirectStore
from durable.store.rows import ExecutionRow


async def served(store: DirectStore) -> ServedFunctions:
    """The functions that living engines serve."""
    return ServedFunctions.by(await store.reads.engines(), store.engine_alive)


async def execution_detail(store: DirectStore, row: ExecutionRow) -> ExecutionDetail:
    """One execution, with arguments and result."""
    [view] = await overview(store, [row])
    fields = {name: getattr(view, name) for name in ExecutionView.__dataclass_fields__}
    error = rebuild(PROMISE_OF[row.state], row.value, row.id) if row.state in PROMISE_OF else None
    return ExecutionDetail(
        **fields,
        arguments=arguments_of(row),
        result=notation.shown(row.value) if row.state == "completed" else None,
        traceback=error.traceback or None if error is not None else None,
    )


async def execution_outcome(
    call: ApiCall, row: ExecutionRow, wait_s: float, *, through_prompts: bool
) -> ExecutionOutcome:
    """The outcome of an execution when it has ended, waits for people, is held up, or `wait_s` is over."""
    store, loop = call.store, asyncio.get_running_loop()
    ends_at, changes = loop.time() + wait_s, Changes()
    unwatch = store.watch(lambda _: changes.tell())
    settled = asyncio.ensure_future(store.settled(ids.execution_promise(row.id), halts=True, patient=False))
    ending = asyncio.ensure_future(call.site.ended.wait())
    try:
        while True:
            change = changes.next()
            over = settled.done() or loop.time() >= ends_at or ending.done()
            waits_for = await Inbox(store).blocking(row.id) or [] if over or not through_prompts else []
            if over or waits_for:
                break
            either: set[asyncio.Future[Any]] = {settled, change, ending}
            await asyncio.wait(either, timeout=ends_at - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({settled}, timeout=min(MCP_LOOK_REST_S, max(0.0, ends_at - loop.time())))
        halted = settled.exception() if settled.done() else None
    finally:
        unwatch()
        settled.cancel()
        ending.cancel()
    if halted is not None and not isinstance(halted, Halted):
        raise halted
    return _outcome(await store.reads.get_execution(row.id) or row, waits_for, halted)


def _outcome(row: ExecutionRow, waits_for: list[str], halted: Halted | None) -> ExecutionOutcome:
    ended = row.settled_at is not None
    failure = None
    if row.state in PROMISE_OF:
        error = rebuild(PROMISE_OF[row.state], undamaged(row.value), row.id)
        failure = ExecutionFailure(
            code=error.code, message=str(error), exception_type=error.exception_type, traceback=error.traceback
        )
    return ExecutionOutcome(
        id=row.id,
        state=row.state,
        ended=ended,
        value=notation.shown(undamaged(row.value)) if row.state == "completed" else None,
        error=failure,
        waits_for=[] if ended else waits_for,
        halted=None if ended or halted is None else str(halted),
    )


def converted[T](found: object, kind: type[T]) -> T:
    """An object as a document of the API that has the same fields."""
    return msgspec.convert(found, kind, from_attributes=True)
