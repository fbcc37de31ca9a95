"""The routes of a served store (specs/http.md). The dashboard and the REST API join the same application."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from checkpoint.blobs.directory import Blobs, check_digest
from checkpoint.format.compression import check_kept
from durable.core.errors import CheckpointError, DurableError, StoreFull
from durable.core.events import BackgroundFailed
from durable.core.limits import BATCH_BYTES_MAX, BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX
from durable.http.access.roles import Role, TokenHolder
from durable.http.pages.layout import HEADERS, said_page
from durable.http.path_names import PathParts, path_names, sent_path
from durable.http.request_body import RequestBody, Turned
from durable.http.server_state import Site
from durable.http.sse import stream
from durable.store.protocol.requests import Id, explained
from durable.store.protocol.waiting_requests import NO_ROOM
from durable.store.remote.request_headers import AGAIN, BATCH, CLIENT
from durable.store.sdk_connection import reply
from durable.telemetry.prometheus_text import CONTENT_TYPE

CLIENTS_MAX = 1_024
"""Clients whose last batch is remembered."""

BATCH_KEEP_S = 60.0
"""How long: clients that lost a connection come back within seconds, and answers may be large."""

READY_S = 5.0

type Handler = Callable[[Request], Awaitable[Response]]


API = "/api/v1"

FORM = "application/x-www-form-urlencoded"


def refusal(status: int, message: str) -> Response:
    """An error as the protocol has it, whatever the request was."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return Response(reply("", "", status, message), status, headers, "application/json")


def create_app(site: Site, pages: ASGIApp | None = None) -> Starlette:
    """The application on one store. pages: the dashboard, which answers `GET /` and what is below `/ui/`."""
    routes = Routes(site)
    return Starlette(
        routes=[
            Route("/", _for_engines(site, routes.envelope), methods=["POST"]),
            Route("/batch", _for_engines(site, routes.batch), methods=["POST"]),
            Route("/chunk/{digest}", _for_engines(site, routes.chunk), methods=["GET", "HEAD", "PUT"]),
            Route("/prompts/{id}/answer", routes.answer, methods=["GET", "POST"]),
            Route("/executions/{id}/signals/{name}", _changing(site, routes.signal), methods=["POST"]),
            Route("/executions/{id}/streams/{name}", _reading(site, routes.stream_items), methods=["GET"]),
            Route("/executions/{id}/published", _reading(site, routes.all_published), methods=["GET"]),
            Route("/executions/{id}/published/{key}", _reading(site, routes.published), methods=["GET"]),
            Route("/promises/{id}/settle", _changing(site, routes.settle), methods=["POST"]),
            Route("/poll/{group}/{pid}", Streamed(site, routes.poll), methods=["GET"]),
            Route("/changes/{client}", Streamed(site, routes.changes), methods=["GET"]),
            Route("/health", _health, methods=["GET"]),
            Route("/ready", routes.ready, methods=["GET"]),
            Route("/metrics", _reading(site, routes.metrics), methods=["GET"]),
            Mount(API, _ApiOnDemand(site)),
            *(() if pages is None else (Route("/", _to_pages, methods=["GET"]), Mount("/ui", pages))),
        ],
        middleware=[Middleware(_Counted, site), Middleware(_HeadLimit), Middleware(PathParts)],
        exception_handlers={HTTPException: _http_error, Exception: routes.failed},
    )


async def paced(site: Site, request: Request) -> None:
    """Waits when an address asks too fast, raises Turned when that would be long."""
    address = request.client.host if request.client is not None else ""
    wait = site.rate.take(address, site.clock())
    if wait is None:
        raise Turned(429, "too many requests from this address (REQUESTS_PER_S_MAX); slow down")
    if wait:
        await asyncio.sleep(wait)


async def let_in(site: Site, request: Request, needed: Role) -> TokenHolder:
    """The holder of the request's token. Raises Turned for one that comes too fast, without a token, or with one whose
    role is not enough; the latter is audited."""
    await paced(site, request)
    holder = site.tokens.holder(request.headers.get("authorization"))
    if holder is None:
        raise Turned(401, "the token is missing or wrong; send `Authorization: Bearer <token>`, see `durable serve`")
    if not holder.may(needed):
        site.audit.denied(holder, *_audited(request), needed)
        raise Turned(403, f"the token of {holder.name} has the role {holder.role}, and this needs {needed}")
    return holder


async def let_engine_in(site: Site, request: Request) -> None:
    """Raises Turned for a request that comes too fast or without the server's own token."""
    holder = await let_in(site, request, "read")
    if not holder.owner:
        site.audit.denied(holder, *_audited(request), "admin")
        raise Turned(403, "engines need the server's own token, which is trusted with the whole store")


def _audited(request: Request) -> tuple[str, str]:
    """The request and what it is about, as the audit has them."""
    of = path_names(request).get("id", "")
    return f"{request.method} {request.scope['route'].path}", of


def _for_engines(site: Site, handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        await let_engine_in(site, request)
        return await handler(request)

    return _answering(answer)


def _reading(site: Site, handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        await let_in(site, request, "read")
        return await handler(request)

    return _answering(answer)


def _changing(site: Site, handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        holder = await let_in(site, request, "operate")
        response = await handler(request)
        site.audit.done(holder, *_audited(request), response.status_code)
        return response

    return _answering(answer)


def _answering(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Turned as turned:
            return refusal(turned.status, str(turned))
        except ClientDisconnect:
            return refusal(400, "the body ended early")

    return answer


class _ApiOnDemand:
    """The HTTP API, loaded by its first request: an engine that is served needs none of it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from durable.http.api.api_app import create_api

            self._app = create_api(self._site)
        await self._app(scope, receive, send)


class Streamed:
    """An ASGI endpoint that lets an engine in and then streams."""

    def __init__(self, site: Site, handler: Callable[[Request, Receive, Send], Awaitable[None]]) -> None:
        self._site = site
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            await let_engine_in(self._site, request)
            if self._site.ending:
                raise Turned(503, "the server is ending")
            for name in request.path_params:
                _id(request, name)
        except Turned as turned:
            await refusal(turned.status, str(turned))(scope, receive, send)
        else:
            await self._handler(request, receive, send)


class Routes:
    """The handlers of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._batches: OrderedDict[str, tuple[str, asyncio.Task[tuple[int, bytes]]]] = OrderedDict()

    async def envelope(self, request: Request) -> Response:
        """`POST /`"""
        async with RequestBody(self._site, request, BODY_BYTES_MAX) as body:
            status, text = await self._site.desk.envelope(body)
        return Response(text, status, media_type="application/json")

    async def batch(self, request: Request) -> Response:
        """`POST /batch`: a client's number that came before is answered again, not done again (H1)."""
        client, number = request.headers.get(CLIENT, ""), request.headers.get(BATCH, "")
        if not 0 < len(client) <= 100 or not 0 < len(number) <= 20:
            raise Turned(400, "a batch has the headers durable-client and durable-batch")
        async with RequestBody(self._site, request, BATCH_BYTES_MAX) as body:
            last = self._batches.get(client)
            if last is not None and last[0] == number:
                task = last[1]
            else:
                task = asyncio.create_task(self._site.desk.batch(body, again=AGAIN in request.headers))
                self._remember(client, number, task)
            status, answers = await asyncio.shield(task)
        return Response(answers, status, media_type="application/json")

    def _remember(self, client: str, number: str, task: asyncio.Task[tuple[int, bytes]]) -> None:
        """Keep a client's last answers for as long as it may ask again."""
        self._batches[client] = (number, task)
        self._batches.move_to_end(client)
        if len(self._batches) > CLIENTS_MAX:
            self._batches.popitem(last=False)

        def forget() -> None:
            if self._batches.get(client, ("", None))[1] is task:
                del self._batches[client]

        asyncio.get_running_loop().call_later(BATCH_KEEP_S, forget)

    async def chunk(self, request: Request) -> Response:
        """`PUT`, `GET`, `HEAD /chunk/{digest}`"""
        digest, blobs = request.path_params["digest"], self._site.blobs
        try:
            if request.method == "PUT":
                async with RequestBody(self._site, request, BATCH_BYTES_MAX) as body:
                    await asyncio.to_thread(_keep, blobs, digest, body)
                return Response(status_code=204)
            if request.method == "HEAD":
                found = b"" if await asyncio.to_thread(blobs.exists, digest) else None
            else:
                found = await asyncio.to_thread(blobs.get, digest)
            if found is None:
                return refusal(404, f"there is no chunk {digest[:80]!r}")
            return Response(found, media_type="application/octet-stream")
        except CheckpointError as error:
            return refusal(400, str(error))
        except StoreFull as error:
            return refusal(NO_ROOM, str(error))

    async def signal(self, request: Request) -> Response:
        """`POST /executions/{id}/signals/{name}`"""
        execution, name = _id(request, "id"), _id(request, "name")
        async with RequestBody(self._site, request, BODY_BYTES_MAX) as body:
            key = request.headers.get("idempotency-key")
            status, said = await self._site.signals.signal(execution, name, body, key)
        return JSONResponse(said, status)

    async def stream_items(self, request: Request) -> Response:
        """`GET /executions/{id}/streams/{name}?offset=N&wait=S`"""
        asked = _id(request, "id"), _id(request, "name"), dict(request.query_params)
        status, said = await self._site.streams.items(*asked)
        return JSONResponse(said, status)

    async def published(self, request: Request) -> Response:
        """`GET /executions/{id}/published/{key}?wait=S`"""
        asked = _id(request, "id"), _id(request, "key"), dict(request.query_params)
        status, said = await self._site.streams.published(*asked)
        return JSONResponse(said, status)

    async def all_published(self, request: Request) -> Response:
        """`GET /executions/{id}/published`"""
        status, said = await self._site.streams.all_published(_id(request, "id"))
        return JSONResponse(said, status)

    async def settle(self, request: Request) -> Response:
        """`POST /promises/{id}/settle`"""
        promise = _id(request, "id")
        async with RequestBody(self._site, request, BODY_BYTES_MAX) as body:
            status, said = await self._site.signals.settle(promise, body)
        return JSONResponse(said, status)

    async def answer(self, request: Request) -> Response:
        """`POST /prompts/{id}/answer`, with the token or with a link to this prompt; by link also as a page."""
        if request.method != "POST" or request.headers.get("content-type", "").startswith(FORM):
            return await self._page(request)
        site, prompt, header = self._site, path_names(request)["id"], request.headers.get("authorization")
        try:
            link, holder = None, site.tokens.holder(header)
            if holder is None:
                link = site.answers.link(request.query_params.get("link") or (header or "").partition(" ")[2], prompt)
                await paced(site, request)
                if link is None:
                    raise Turned(401, "send a token, or the link that a webhook gave for this prompt")
            else:
                await let_in(site, request, "answer")
            async with RequestBody(site, request, BODY_BYTES_MAX) as body:
                status, said = await site.answers.answer(prompt, body, link, holder)
            if holder is not None:
                site.audit.done(holder, *_audited(request), status)
        except Turned as turned:
            return refusal(turned.status, str(turned))
        except ClientDisconnect:
            return refusal(400, "the body ended early")
        return JSONResponse(said, status)

    async def _page(self, request: Request) -> Response:
        """`GET /prompts/{id}/answer?link=…`, and `POST` of the form that it shows."""
        site = self._site
        try:
            await paced(site, request)
            link = site.answers.link(request.query_params.get("link"), path_names(request)["id"])
            if link is None:
                raise Turned(401, "This is no link to a question, or not a whole one.")
            if request.method != "POST":
                status, text = await site.answers.page(link)
            elif request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
                raise Turned(403, "The form was sent by another site.")
            else:
                async with RequestBody(site, request, BODY_BYTES_MAX) as body:
                    status, text = await site.answers.form(body, link)
        except Turned as turned:
            status, text = turned.status, said_page("That did not work", str(turned))
        except ClientDisconnect:
            status, text = 400, said_page("That did not work", "The form ended early.")
        return HTMLResponse(text, status, HEADERS)

    async def poll(self, request: Request, receive: Receive, send: Send) -> None:
        """`GET /poll/{group}/{pid}`"""
        async with self._site.poll(_id(request, "group"), _id(request, "pid")) as messages:
            await stream(messages, receive, send, life_s=self._site.stream_s)

    async def changes(self, request: Request, receive: Receive, send: Send) -> None:
        """`GET /changes/{client}`"""
        with self._site.changes(_id(request, "client")) as feed:
            await stream(feed, receive, send, life_s=self._site.stream_s)

    async def ready(self, request: Request) -> Response:
        """`GET /ready`: the writer answers."""
        try:
            await paced(self._site, request)
            async with asyncio.timeout(READY_S):
                await self._site.store.request("engine.list", {})
        except Turned as turned:
            return refusal(turned.status, str(turned))
        except (DurableError, TimeoutError) as error:
            return refusal(503, f"the store does not answer: {error}")
        return JSONResponse({"status": "ready", "version": version("durable-exec")})

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`: Prometheus' text format, with the token."""
        try:
            async with asyncio.timeout(READY_S):
                page = await self._site.metrics.page()
        except (DurableError, TimeoutError) as error:
            return refusal(503, f"the store does not answer: {error}")
        return Response(page, media_type=CONTENT_TYPE)

    async def failed(self, request: Request, error: Exception) -> Response:
        """Answer an error that nobody expected: told to our observer, not to the client."""
        self._site.observe(BackgroundFailed(f"{request.method} {sent_path(request)[:200]}", repr(error)))
        return refusal(500, f"an error of the server itself: {type(error).__name__}")


def _id(request: Request, name: str) -> str:
    try:
        found: str = msgspec.convert(path_names(request)[name], Id)
    except msgspec.ValidationError as error:
        raise Turned(400, f"{name}: {explained(error)}") from None
    if not found.isprintable():
        raise Turned(400, f"{name}: it holds a character that is not printable")
    return found


class _Counted:
    """Counts what is answered, by status."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: ASGIMessage) -> None:
            if message["type"] == "http.response.start":
                self._site.metrics.answered(message["status"])
            await send(message)

        await self._app(scope, receive, counting)


class _HeadLimit:
    """Refuses a request whose head is longer than HTTP_HEAD_BYTES_MAX: h11 counts only one that comes in pieces."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _head_bytes(scope) > HTTP_HEAD_BYTES_MAX:
            text = f"the request's head is longer than {HTTP_HEAD_BYTES_MAX} bytes (HTTP_HEAD_BYTES_MAX)"
            await _told(scope["path"], 431, "TOO_LARGE", text)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _told(path: str, status: int, code: str, text: str) -> Response:
    """A refusal in the form that errors have under this path."""
    if not path.startswith(f"{API}/"):
        return refusal(status, text)
    from durable.http.api.problems import problem

    return problem(status, code, text)


def _head_bytes(scope: Scope) -> int:
    line = len(scope["method"]) + len(scope.get("raw_path") or b"") + len(scope["query_string"]) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])


def _keep(blobs: Blobs, digest: str, body: bytes) -> None:
    """Keep what is sent, when it is what its address says."""
    check_kept(body, check_digest(digest))
    blobs.put_many([(digest, body)])


async def _to_pages(_request: Request) -> Response:
    return RedirectResponse("/ui/inbox", 303)


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {sent_path(request)[:200]}: {error.detail}"
    return _told(request.scope["path"], error.status_code, "NOT_FOUND", text)
