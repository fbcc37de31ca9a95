"""The routes about questions to people, and about promises as they are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from capabilities.prompts.states import PromptState
from durable.client import api_models
from durable.client.api_models import Page
from durable.core import ids
from durable.core.errors import BadArguments, NotFound, StoreRefused
from durable.engine.views import iso, promise_view, prompt_view
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.executions.signal_sender import settle_promise
from durable.http.api.api_route import ApiCall, ApiRoute, PageQuery
from durable.http.prompt_api import answerer_of
from durable.prompts.inbox import Inbox
from durable.prompts.settled_prompts import SettledPage, SettledPrompt, settled_page, settled_under
from durable.records.view_models import PromiseView, PromptView
from durable.store.protocol.requests import PromiseState
from durable.store.rows import PromptRow, decode_value, promise_row

type SettledState = Literal["answered", "declined", "expired", "cancelled", "rejected"]


class ListPromptsQuery(PageQuery, frozen=True, kw_only=True):
    """`state`: in which they are; `settled` is all but open. `execution`: only the questions of this execution and of
    what is under it."""

    state: Literal["open", "settled"] | SettledState = "open"
    execution: Annotated[str, msgspec.Meta(max_length=400)] | None = None


class ListPromisesQuery(PageQuery, frozen=True, kw_only=True):
    """`state`: only those in it."""

    state: PromiseState | None = None


async def list_prompts(call: ApiCall) -> Page[api_models.PromptDetail]:
    """Questions in a state: open ones oldest first, settled ones newest first."""
    query: ListPromptsQuery = call.query
    if query.state != "open":
        return await _settled_prompts(call, query)
    of = ("prompts", query.execution)
    after = read_cursor(query.cursor, of, tuple[int, str])
    if query.execution is None:
        rows = await call.reads.prompts_page(after, query.limit)
    else:
        own = query.execution.removeprefix(ids.PREFIX)
        under = (f"exec:{own}:", f"exec:{own}.")
        every = [row for row in await call.reads.prompts() if row.id.startswith(under)]
        rows = [row for row in every if after is None or (row.created_at, row.id) > after][: query.limit]
    last = rows[-1] if len(rows) == query.limit else None
    following = None if last is None else write_cursor((last.created_at, last.id), of)
    return Page(items=[api_models.PromptDetail(**_fields(row)) for row in rows], next=following)


async def _settled_prompts(call: ApiCall, query: ListPromptsQuery) -> Page[api_models.PromptDetail]:
    of = ("prompts", query.execution, query.state)
    before = read_cursor(query.cursor, of, tuple[int, str])
    state = None if query.state == "settled" else PromptState(query.state)
    if query.execution is None:
        page = await settled_page(call.reads, state, before, query.limit)
    else:
        every = await settled_under(call.reads, query.execution.removeprefix(ids.PREFIX), state)
        left = [each for each in every if before is None or (each.settled_at or 0, each.row.id) < before]
        found = left[: query.limit]
        following = (found[-1].settled_at or 0, found[-1].row.id) if len(left) > len(found) else None
        page = SettledPage(found, following)
    cursor = None if page.next is None else write_cursor(page.next, of)
    return Page(items=[_detail(each) for each in page.prompts], next=cursor)


def _fields(row: PromptRow) -> dict[str, Any]:
    view = prompt_view(row)
    return {name: getattr(view, name) for name in PromptView.__dataclass_fields__}


def _detail(prompt: SettledPrompt) -> api_models.PromptDetail:
    fields, settlement = _fields(prompt.row), prompt.settlement
    return api_models.PromptDetail(
        **fields,
        state=prompt.state.value,
        value=None if fields["secret"] else settlement.value,
        by=settlement.by,
        why=settlement.why,
        settled_at=None if prompt.settled_at is None else iso(prompt.settled_at),
    )


async def get_prompt(call: ApiCall) -> api_models.PromptDetail:
    """One question, open or settled, with what became of it."""
    return _detail(SettledPrompt.of(promise_row(await Inbox(call.store).get(call.params["id"]))))


async def answer_prompt(call: ApiCall) -> api_models.AnswerTaken:
    """Answer a question, or decline it. Whoever has the token answers; admins may name somebody else in `by`."""
    body: api_models.GiveAnswer = call.body
    by, teams = answerer_of(call.holder, body.by, tuple(body.teams))
    inbox = Inbox(call.store, observer=call.site.observe)
    settled = await inbox.answer(
        call.params["id"], body.value, by=by, decline=body.decline, why=body.why, via="http", teams=teams
    )
    return api_models.AnswerTaken(settled=settled)


async def list_answers(call: ApiCall) -> Page[api_models.GivenAnswer]:
    """The answers to a question: who said what, when and through which channel. Those to a secret have no value."""
    inbox, prompt = Inbox(call.store), call.params["id"]
    param = decode_value((await inbox.get(prompt)).get("param"))
    secret = isinstance(param, dict) and param.get("secret") is True
    return Page(
        items=[
            api_models.GivenAnswer(
                by=given.by,
                value=None if secret else given.value,
                declined=given.declined,
                why=given.why,
                via=given.via,
                at=iso(given.at) or "",
            )
            for given in await inbox.answers(prompt)
        ]
    )


async def list_promises(call: ApiCall) -> Page[PromiseView]:
    """Promises as they are in the store, in order of their ids."""
    query: ListPromisesQuery = call.query
    of = ("promises", query.state)
    request: dict[str, Any] = {"limit": query.limit}
    if query.state is not None:
        request["state"] = query.state
    if (after := read_cursor(query.cursor, of, str)) is not None:
        request["cursor"] = after
    found = (await call.store.request("promise.search", request)).data
    following = found.get("cursor")
    views = [promise_view(promise_row(record)) for record in found["promises"]]
    return Page(items=views, next=None if following is None else write_cursor(following, of))


async def get_promise(call: ApiCall) -> PromiseView:
    """One promise as it is in the store."""
    return promise_view(promise_row(await _promise(call)))


async def settle_one_promise(call: ApiCall) -> api_models.PromiseSettled:
    """Settle a promise of `ctx.promise()`: with a value, or with the text of an error."""
    await _promise(call)
    if call.body.error is not None and call.body.value is not None:
        raise BadArguments("a promise is settled with a value or with an error, not with both")
    await settle_promise(call.store, call.params["id"], call.body.value, error=call.body.error)
    return api_models.PromiseSettled(settled=True)


async def _promise(call: ApiCall) -> Any:
    try:
        return (await call.store.request("promise.get", {"id": call.params["id"]})).data["promise"]
    except StoreRefused as refused:
        if refused.status != 404:
            raise
        raise NotFound("promise", call.params["id"]) from None


ROUTES = (
    ApiRoute("GET", "/prompts", "read", list_prompts, Page[api_models.PromptDetail], ListPromptsQuery),
    ApiRoute("GET", "/prompts/{id}", "read", get_prompt, api_models.PromptDetail),
    ApiRoute("GET", "/prompts/{id}/answers", "read", list_answers, Page[api_models.GivenAnswer]),
    ApiRoute(
        "POST",
        "/prompts/{id}/answer",
        "answer",
        answer_prompt,
        api_models.AnswerTaken,
        body=api_models.GiveAnswer,
        refusals=(409, 410, 422),
    ),
    ApiRoute("GET", "/promises", "read", list_promises, Page[PromiseView], ListPromisesQuery),
    ApiRoute("GET", "/promises/{id}", "read", get_promise, PromiseView),
    ApiRoute(
        "POST",
        "/promises/{id}/settle",
        "operate",
        settle_one_promise,
        api_models.PromiseSettled,
        body=api_models.SettlePromise,
        refusals=(409, 422),
    ),
)
