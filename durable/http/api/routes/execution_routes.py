"""The routes about executions: listed, begun, looked at, stopped, continued, signalled."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import msgspec

from durable.client import api_models
from durable.client.api_models import Page
from durable.core import ids
from durable.core.errors import BadArguments, Conflict
from durable.core.limits import COUNTED_ROWS_MAX
from durable.engine.execution_document import ExecutionDocument, export_document
from durable.engine.execution_overview import overview
from durable.executions import bulk_work
from durable.executions.execution_search import ExecutionFilter, search
from durable.executions.exported_record import import_
from durable.executions.forking import fork, rewind
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.executions.signal_sender import send_signal
from durable.functions.definition import known_as
from durable.functions.replay.replay_check import ReplayCheck
from durable.http.api.api_route import Answer, ApiCall, ApiRoute, Handler, PageQuery, RouteQuery
from durable.http.api.execution_views import converted, execution_detail, execution_outcome
from durable.http.api.function_call import FunctionCall, begin, function_id
from durable.http.api.output_stream import output_events, printed_page
from durable.http.api.step_page import step_page
from durable.queues.queue import check_queue_name
from durable.queues.queue_place import Place
from durable.records.view_models import ExecutionView, StepView
from durable.store.rows import State

WAIT_S_MAX = 50.0
"""How long a request waits for an execution: clients and proxies give up after 60 s."""


class ListExecutionsQuery(PageQuery, frozen=True, kw_only=True):
    """Which executions. `function`: its name, or all of `where::name@version`. `tag`: NAME=VALUE.

    `since`, `until`: when they were made. `text`: words that stand somewhere in them; then a page may be short, and
    have a next one all the same.
    """

    state: State | None = None
    session: str | None = None
    function: str | None = None
    tag: Annotated[str, msgspec.Meta(pattern="^[^=]+=")] | None = None
    since: api_models.Moment | None = None
    until: api_models.Moment | None = None
    text: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class CountExecutionsQuery(RouteQuery, frozen=True, kw_only=True):
    """Which executions are counted, as for their list."""

    session: str | None = None
    function: str | None = None
    tag: Annotated[str, msgspec.Meta(pattern="^[^=]+=")] | None = None
    since: api_models.Moment | None = None
    until: api_models.Moment | None = None


class OutcomeQuery(RouteQuery, frozen=True, kw_only=True):
    """`wait`: seconds to wait for its end. `through_prompts`: wait on while it waits for people."""

    wait: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0.0
    through_prompts: bool = False


class OutputQuery(RouteQuery, frozen=True, kw_only=True):
    """`offset`: characters before what is asked for."""

    offset: api_models.Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1_000


class OutputStreamQuery(RouteQuery, frozen=True, kw_only=True):
    """`offset`: characters before what is asked for."""

    offset: api_models.Count = 0


async def list_executions(call: ApiCall) -> Page[ExecutionView]:
    """Executions, newest first."""
    query: ListExecutionsQuery = call.query
    filters = (query.state, query.session, query.function, query.tag, query.since, query.until, query.text)
    of = ("executions", *map(str, filters))
    before = read_cursor(query.cursor, of, str)
    if query.session is not None and query.session.startswith(ids.MAILBOX):
        raise BadArguments("that is an actor's mailbox; GET /api/v1/actors lists actors")
    wanted = ExecutionFilter(
        state=query.state,
        session=query.session,
        function=query.function,
        tags=() if query.tag is None else (_tag(query.tag),),
        since=_ms(query.since),
        until=_ms(query.until),
        text=query.text,
    )
    rows = await search(call.reads, wanted, limit=query.limit, before=before, whole=False)
    views = await overview(call.store, rows)
    following = rows[-1].id if wanted.is_indexed and len(rows) == query.limit else rows.cursor
    return Page(items=views, next=None if following is None else write_cursor(following, of))


async def count_executions(call: ApiCall) -> api_models.ExecutionCounts:
    """How many executions there are in each state that has any."""
    query: CountExecutionsQuery = call.query
    counts = await call.reads.count_executions(
        session=query.session,
        function=query.function,
        tag=None if query.tag is None else _tag(query.tag),
        since=_ms(query.since),
        until=_ms(query.until),
    )
    return api_models.ExecutionCounts(counts=counts, at_most=COUNTED_ROWS_MAX)


async def export_execution(call: ApiCall) -> api_models.ExportedExecution:
    """An execution of a durable function as one document, which `POST /imports` takes; encrypted values stay so."""
    document = await export_document(call.store, await call.execution())
    return api_models.ExportedExecution(**document.to_json())


async def import_execution(call: ApiCall) -> Answer:
    """Recreate an execution from its document, whole or not at all; what has not ended goes on over its record."""
    state = ExecutionDocument.from_json(call.body.document)
    return await made_execution(call, await import_(call.store, state.record), new=True)


async def check_execution(call: ApiCall) -> api_models.ExecutionMove:
    """Whether the server's code of its function replays the record of an execution. Nothing is performed."""
    row, engine = await call.execution(), await call.engine()
    return _checked(await engine.check_replay(row.id))


async def upgrade_execution(call: ApiCall) -> api_models.ExecutionMove:
    """Have an execution that nobody runs go on as another version of its function, where that replays its record.

    It needs a server that has that code.
    """
    row, engine, body = await call.execution(), await call.engine(), call.body
    function = known_as(body.function)
    if function is None:
        raise Conflict(
            f"this server does not know {body.function}: serve it with its module, or `durable replay upgrade`"
        )
    check = await engine.check_replay(row.id, function)
    if check.ok and not body.dry_run:
        check = await engine.upgrade(row.id, function)
    return _checked(check)


def _checked(check: ReplayCheck) -> api_models.ExecutionMove:
    return api_models.ExecutionMove(**asdict(check), ok=check.ok)


async def delete_execution(call: ApiCall) -> None:
    """Forget an execution that has ended, with its steps, output and result. Its id is free then."""
    await bulk_work.delete_execution(call.store, (await call.execution()).id)


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


async def start_execution(call: ApiCall) -> Answer:
    """Start a function, or attach to the execution of this id.

    The header Idempotency-Key is an id, too. 201 where it was made now, 200 where it was there with the same function
    and arguments. It runs where an engine serves the function.
    """
    body: api_models.StartExecution = call.body
    chosen = call.chosen_id(body.id)
    function = await function_id(call.store, body.function)
    made = FunctionCall.of(function, body.args, body.kwargs)
    queued = None
    if body.queue is not None:
        most = body.debounce_most
        debounce = body.debounce if body.debounce is None or most is None else (body.debounce, most)
        place = Place(body.key, body.priority, body.delay, body.dedupe, debounce)
        queued = check_queue_name(body.queue), place
    elif body.key or body.priority or any(each is not None for each in (body.delay, body.dedupe, body.debounce)):
        raise BadArguments("key, priority, delay, dedupe and debounce are a place in a queue: name the queue, too")
    execution, new = await begin(call.store, made, chosen, body.timeout, body.tags, queued)
    if body.signal is not None:
        key = body.signal.key or call.key
        await send_signal(call.store, execution, body.signal.name, body.signal.value, key=key)
    return await made_execution(call, execution, new=new)


async def made_execution(call: ApiCall, execution: str, *, new: bool) -> Answer:
    """The answer to a request that begins an execution."""
    row = await call.reads.get_execution(execution)
    assert row is not None, "it was recorded just now"
    where = f"/api/v1/executions/{execution}"
    return Answer(await execution_detail(call.store, row), 201 if new else 200, (("location", where),))


async def get_execution(call: ApiCall) -> api_models.ExecutionDetail:
    """One execution: its state, arguments and result."""
    return await execution_detail(call.store, await call.execution())


async def get_execution_result(call: ApiCall) -> api_models.ExecutionOutcome:
    """The outcome of an execution, waiting for it for a while.

    The answer comes when it has ended, waits for people or is held up, and after `wait` seconds at the latest.
    """
    query: OutcomeQuery = call.query
    return await execution_outcome(call, await call.execution(), query.wait, through_prompts=query.through_prompts)


async def list_steps(call: ApiCall) -> Page[StepView]:
    """The steps, children, calls and questions under an execution, in order of their ids."""
    row, query = await call.execution(), call.query
    of = ("steps", row.id)
    steps, last = await step_page(call.reads, row, read_cursor(query.cursor, of, str) or "", query.limit)
    return Page(items=steps, next=None if last is None else write_cursor(last, of))


async def get_output(call: ApiCall) -> api_models.PrintedPage:
    """The output of an execution from an offset in characters: of a cell its own, of a function nothing."""
    row = await call.execution()
    return await printed_page(call.reads, row.id, call.query.offset, call.query.limit, ended=row.settled_at is not None)


async def stream_output(call: ApiCall) -> Any:
    """The output of an execution and its cells as events, until it ends.

    `output` events are pieces, `rewound` says that what was printed from an offset on is taken back, `end` is the last
    one. A client that comes back with Last-Event-ID goes on where it was.
    """
    row = await call.execution()
    return output_events(call, row.id, call.query.offset)


async def cancel_execution(call: ApiCall) -> api_models.Changed:
    """End an execution for good, and all under it. Clean-up goes on for up to `grace` seconds; the answer comes when it
    has ended, or after 50 s."""
    row, engine, body = await call.execution(), await call.engine(), call.body
    cancelling = asyncio.ensure_future(engine.cancel(row.id, body.reason, grace=body.grace))
    await asyncio.wait({cancelling}, timeout=WAIT_S_MAX)
    return await _changed(call, row.id, changed=cancelling.result() if cancelling.done() else True)


async def interrupt_execution(call: ApiCall) -> api_models.Changed:
    """Stop an execution so that it can go on later."""
    row = await call.execution()
    return await _changed(call, row.id, changed=await (await call.engine()).interrupt(row.id, raises=call.body.raises))


async def resume_execution(call: ApiCall) -> api_models.Changed:
    """Go on with an execution that was interrupted or halted."""
    row = await call.execution()
    return await _changed(call, row.id, changed=await (await call.engine()).resume(row.id))


async def _changed(call: ApiCall, execution: str, *, changed: bool) -> api_models.Changed:
    row = await call.reads.get_execution(execution)
    return api_models.Changed(id=execution, changed=changed, state="cancelled" if row is None else row.state)


async def retry_execution(call: ApiCall) -> Answer:
    """Begin again what failed, from the step that failed. `dry_run`: only say what would be kept."""
    row, body = await call.execution(), call.body
    made = await fork(call.store, row.id, None, call.chosen_id(body.id), dry_run=body.dry_run)
    return Answer(converted(made, api_models.ForkedExecution), 200 if body.dry_run else 201)


async def fork_execution(call: ApiCall) -> Answer:
    """Begin an execution with what another one recorded before a step. `dry_run`: only say what would be kept."""
    row, body = await call.execution(), call.body
    new = call.chosen_id(body.id)
    made = await fork(call.store, row.id, body.step, new, changed=body.changed, dry_run=body.dry_run)
    return Answer(converted(made, api_models.ForkedExecution), 200 if body.dry_run else 201)


async def rewind_execution(call: ApiCall) -> Answer:
    """Begin an execution with what another one recorded before a step, in its place: it is cancelled where it is open.

    `dry_run`: only say what would be kept.
    """
    row, body = await call.execution(), call.body
    new = call.chosen_id(body.id)
    made = await rewind(call.store, row.id, body.step, new, changed=body.changed, dry_run=body.dry_run)
    return Answer(converted(made, api_models.ForkedExecution), 200 if body.dry_run else 201)


async def tag_execution(call: ApiCall) -> api_models.TagSet:
    """Give an execution tags that it is found by, or take them off."""
    row = await call.execution()
    return api_models.TagSet(tags=await (await call.engine()).tag(row.id, **call.body.tags))


async def signal_execution(call: ApiCall) -> api_models.SignalSent:
    """Send an execution a signal. The header Idempotency-Key is a key, too."""
    row, body = await call.execution(), call.body
    name = call.params["signal"]
    sent = await send_signal(call.store, row.id, name, body.value, key=body.key or call.key)
    return api_models.SignalSent(sent=sent)


def _new_execution(what: str, handler: Handler, body: type[msgspec.Struct]) -> ApiRoute:
    """A route that makes an execution from what another recorded; 200 where it only says what it would make."""
    return ApiRoute(
        "POST",
        f"/executions/{{id}}/{what}",
        "operate",
        handler,
        api_models.ForkedExecution,
        body=body,
        status=201,
        also=(200,),
        refusals=(409,),
    )


ROUTES = (
    ApiRoute("GET", "/executions", "read", list_executions, Page[ExecutionView], ListExecutionsQuery),
    ApiRoute(
        "POST",
        "/executions",
        "operate",
        start_execution,
        api_models.ExecutionDetail,
        body=api_models.StartExecution,
        status=201,
        also=(200,),
        refusals=(404, 409),
    ),
    ApiRoute("GET", "/execution-counts", "read", count_executions, api_models.ExecutionCounts, CountExecutionsQuery),
    ApiRoute("GET", "/executions/{id}", "read", get_execution, api_models.ExecutionDetail),
    ApiRoute("GET", "/executions/{id}/replay", "read", check_execution, api_models.ExecutionMove, refusals=(409,)),
    ApiRoute(
        "POST",
        "/executions/{id}/upgrade",
        "operate",
        upgrade_execution,
        api_models.ExecutionMove,
        body=api_models.UpgradeExecution,
        refusals=(409,),
    ),
    ApiRoute("DELETE", "/executions/{id}", "admin", delete_execution, None, status=204, refusals=(409,)),
    ApiRoute("GET", "/executions/{id}/export", "read", export_execution, api_models.ExportedExecution, refusals=(409,)),
    ApiRoute(
        "POST",
        "/imports",
        "operate",
        import_execution,
        api_models.ExecutionDetail,
        body=api_models.ImportExecution,
        status=201,
        refusals=(409,),
    ),
    ApiRoute("GET", "/executions/{id}/result", "read", get_execution_result, api_models.ExecutionOutcome, OutcomeQuery),
    ApiRoute("GET", "/executions/{id}/steps", "read", list_steps, Page[StepView], PageQuery),
    ApiRoute("GET", "/executions/{id}/output", "read", get_output, api_models.PrintedPage, OutputQuery),
    ApiRoute(
        "GET",
        "/executions/{id}/output/stream",
        "read",
        stream_output,
        api_models.PrintedPiece,
        OutputStreamQuery,
        stream=True,
    ),
    ApiRoute(
        "POST",
        "/executions/{id}/cancel",
        "operate",
        cancel_execution,
        api_models.Changed,
        body=api_models.CancelExecution,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/executions/{id}/interrupt",
        "operate",
        interrupt_execution,
        api_models.Changed,
        body=api_models.InterruptExecution,
        refusals=(409,),
    ),
    ApiRoute("POST", "/executions/{id}/resume", "operate", resume_execution, api_models.Changed, refusals=(409,)),
    _new_execution("retry", retry_execution, api_models.RetryExecution),
    _new_execution("fork", fork_execution, api_models.ForkExecution),
    _new_execution("rewind", rewind_execution, api_models.ForkExecution),
    ApiRoute("PATCH", "/executions/{id}/tags", "operate", tag_execution, api_models.TagSet, body=api_models.TagChanges),
    ApiRoute(
        "POST",
        "/executions/{id}/signals/{signal}",
        "operate",
        signal_execution,
        api_models.SignalSent,
        body=api_models.SendSignal,
        refusals=(409, 422),
    ),
)
