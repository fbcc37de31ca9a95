"""The routes about actors of the store, and about messages that no turn answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from durable.actors.management import ActorInfo, actor_info, dead_letter
from durable.actors.names import actor_name
from durable.client import api_models
from durable.client.api_models import Page
from durable.core import ids
from durable.engine.views import iso
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.http.api.api_route import Answer, ApiCall, ApiRoute, PageQuery
from durable.http.api.execution_views import converted

type Text = Annotated[str, msgspec.Meta(max_length=500)]


class ListActorsQuery(PageQuery, frozen=True, kw_only=True):
    """`kind`: the name of a class."""

    kind: Text | None = None
    status: Literal["running", "stopped", "failed"] | None = None


class ListLettersQuery(PageQuery, frozen=True, kw_only=True):
    """`kind` and `key`: of one actor, both or none."""

    kind: Text | None = None
    key: Text | None = None


def _view(info: ActorInfo) -> api_models.ActorView:
    names = api_models.ActorView.__struct_fields__
    fields: dict[str, Any] = {name: getattr(info, name) for name in names}
    return api_models.ActorView(
        **fields | {"created_at": iso(info.created_at) or "", "updated_at": iso(info.updated_at) or ""}
    )


async def list_actors(call: ApiCall) -> Page[api_models.ActorView]:
    """Actors, by name, with the state that each saved last."""
    query: ListActorsQuery = call.query
    of = ("actors", query.kind, query.status)
    request: dict[str, Any] = {"limit": query.limit, "kind": query.kind, "status": query.status}
    request["after"] = read_cursor(query.cursor, of, str) or ""
    rows = (await call.store.request("actor.list", request)).data["actors"]
    following = write_cursor(rows[-1]["name"], of) if len(rows) == query.limit else None
    return Page(items=[_view(actor_info(row)) for row in rows], next=following)


async def get_actor(call: ApiCall) -> api_models.ActorView:
    """One actor: its status, mailbox, restarts and state."""
    return _view(await (await call.engine()).actors.get(call.params["kind"], call.params["key"]))


async def send_message(call: ApiCall) -> Answer:
    """Put a message into an actor's mailbox. It is an execution: `/executions/{id}/result` waits for the reply.

    The header Idempotency-Key is an id, too: a message of an id is sent once.
    """
    body, engine = call.body, await call.engine()
    chosen = call.chosen_id(body.id)
    name = actor_name(call.params["kind"], call.params["key"])
    made = await engine.actors.send(name, body.method, body.args, body.kwargs, id=chosen)
    return Answer(api_models.MessageSent(id=made.removeprefix(ids.PREFIX)), 202)


async def stop_actor(call: ApiCall) -> api_models.ActorView:
    """Let an actor take no more messages; those that wait are dead letters."""
    engine, kind, key = await call.engine(), call.params["kind"], call.params["key"]
    await engine.actors.stop(kind, key, call.body.note, force=call.body.force)
    return await get_actor(call)


async def restart_actor(call: ApiCall) -> api_models.ActorView:
    """Let an actor that was stopped or failed go on, with its last saved state; `reset`: without it."""
    engine, kind, key = await call.engine(), call.params["kind"], call.params["key"]
    await engine.actors.restart(kind, key, reset=call.body.reset)
    return await get_actor(call)


async def list_dead_letters(call: ApiCall) -> Page[api_models.LetterView]:
    """Messages that no turn answered, the newest first."""
    query: ListLettersQuery = call.query
    of = ("dead-letters", query.kind, query.key)
    request: dict[str, Any] = {"limit": query.limit, "before": read_cursor(query.cursor, of, int)}
    if query.kind is not None or query.key is not None:
        request["actor"] = actor_name(query.kind or "", query.key or "")
    rows = (await call.store.request("actor.letters", request)).data["letters"]
    letters = [dead_letter(row) for row in rows]
    views = [converted({**_fields(letter), "at": iso(letter.at) or ""}, api_models.LetterView) for letter in letters]
    return Page(items=views, next=write_cursor(letters[-1].number, of) if len(rows) == query.limit else None)


def _fields(letter: object) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in api_models.LetterView.__struct_fields__}


ROUTES = (
    ApiRoute("GET", "/actors", "read", list_actors, Page[api_models.ActorView], ListActorsQuery),
    ApiRoute("GET", "/actors/{kind}/{key}", "read", get_actor, api_models.ActorView),
    ApiRoute(
        "POST",
        "/actors/{kind}/{key}/messages",
        "operate",
        send_message,
        api_models.MessageSent,
        body=api_models.SendMessage,
        status=202,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/actors/{kind}/{key}/stop",
        "operate",
        stop_actor,
        api_models.ActorView,
        body=api_models.StopActor,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/actors/{kind}/{key}/restart",
        "operate",
        restart_actor,
        api_models.ActorView,
        body=api_models.RestartActor,
        refusals=(409,),
    ),
    ApiRoute("GET", "/dead-letters", "read", list_dead_letters, Page[api_models.LetterView], ListLettersQuery),
)
