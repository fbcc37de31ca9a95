"""The API as an ASGI application: who is let in, what is read of a request, how it is answered (specs/http-api.md)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec
import msgspec.inspect
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from durable.core.errors import DurableError
from durable.core.events import BackgroundFailed
from durable.core.limits import BODY_BYTES_MAX, ID_CHARS_MAX
from durable.http.access.roles import OWNER, TokenHolder
from durable.http.api.api_route import Answer, ApiCall, ApiRoute
from durable.http.api.event_stream import EventStream
from durable.http.api.json_document import encode_document
from durable.http.api.problems import Refusal, problem, problem_of
from durable.http.api.route_table import ROUTES
from durable.http.api.server_engine import TRACEPARENT
from durable.http.path_names import path_names, sent_path
from durable.http.request_body import RequestBody, Turned
from durable.http.server_state import Site
from durable.store.protocol.requests import explained
from durable.telemetry.trace_ids import read_traceparent

_NOBODY = TokenHolder(OWNER, "read")
"""Whoever asks for what needs no token."""

_WRONG_WORD = re.compile(r"^Invalid enum value .* at `\$\.(\w+)`$")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def create_api(site: Site) -> Starlette:
    """The application, to be mounted at `/api/v1`."""
    middleware = []
    if site.host_check.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(site.host_check.origins),
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id", "traceparent"],
                expose_headers=["location"],
            )
        )
    by_path: dict[str, list[ApiRoute]] = {}
    for route in ROUTES:
        by_path.setdefault(route.path, []).append(route)
    return Starlette(
        routes=[Route(path, _Endpoint(site, routes)) for path, routes in by_path.items()],
        middleware=middleware,
        exception_handlers={HTTPException: _not_there},
    )


class _Endpoint:
    """The routes of one path, as an ASGI application."""

    def __init__(self, site: Site, routes: list[ApiRoute]) -> None:
        self._site = site
        self._routes: dict[str, ApiRoute] = {route.method: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._answer(request)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response | EventStream:
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get(method)
        if route is not None and route.stream and request.method == "HEAD":
            route = None  # nobody would read it, and it would go on
        if route is None:
            heads = [] if "GET" not in self._routes or self._routes["GET"].stream else ["HEAD"]
            allowed = ", ".join([*self._routes, *heads])
            text = f"{request.method} is none of {allowed}"
            return problem(405, "METHOD_NOT_ALLOWED", text, headers={"allow": allowed})
        try:
            return await ApiRequest(self._site, route, request).answered()
        except Refusal as refusal:
            return problem(refusal.status, refusal.code, str(refusal))
        except Turned as error:
            return problem(error.status, "TOO_LARGE" if error.status == 413 else "BUSY", str(error))
        except ClientDisconnect:
            return problem(400, "BAD_ARGUMENTS", "the body ended early")
        except DurableError as error:
            found = problem_of(error)
            if found.status_code >= 500:
                self._site.observe(BackgroundFailed(f"{request.method} {route.path}", repr(error)))
            return found
        except Exception as error:
            self._site.observe(BackgroundFailed(f"{request.method} {route.path}", repr(error)))
            return problem(500, "INTERNAL", f"an error of the server itself: {type(error).__name__}")


class ApiRequest:
    """One request on its way to the handler of its route."""

    def __init__(self, site: Site, route: ApiRoute, request: Request) -> None:
        self._site = site
        self._route = route
        self._request = request

    async def answered(self) -> Response | EventStream:
        """The answer. Raises Refusal, DurableError."""
        await self._paced()
        self._check_site()
        holder = self._holder()
        params = self._params()
        changes = self._route.method != "GET"
        of = "/".join(params.values())
        if self._route.role is not None and not holder.may(self._route.role):
            self._site.audit.denied(holder, self._route.name, of, self._route.role)
            text = f"the token of {holder.name} has the role {holder.role}, and this needs {self._route.role}"
            raise Refusal(403, "DENIED", text)
        status = 500
        try:
            answer = await self._handled(holder, params)
            status = getattr(answer, "status_code", 200)
            return answer
        except Refusal as refusal:
            status = refusal.status
            raise
        except DurableError as error:
            status = problem_of(error).status_code
            raise
        finally:
            if changes:
                self._site.audit.done(holder, self._route.name, of, status)

    async def _paced(self) -> None:
        client = self._request.client
        wait = self._site.rate.take(client.host if client is not None else "", self._site.clock())
        if wait is None:
            raise Refusal(429, "TOO_FAST", "too many requests from this address (REQUESTS_PER_S_MAX); slow down")
        if wait:
            await asyncio.sleep(wait)

    def _check_site(self) -> None:
        """The request is made to this server, and by no page of another site."""
        headers, check = self._request.headers, self._site.host_check
        host = headers.get("host")
        if not check.host(host):
            text = "Host names no server of this name; the server has to be told the name: durable serve --allow-host"
            raise Refusal(421, "WRONG_HOST", text)
        if not check.origin(headers.get("origin"), host):
            text = "pages of that site may not use this server; it is told of a site by durable serve --allow-origin"
            raise Refusal(403, "WRONG_ORIGIN", text)

    def _holder(self) -> TokenHolder:
        if self._route.role is None:
            return _NOBODY
        holder = self._site.tokens.holder(self._request.headers.get("authorization"))
        if holder is None:
            raise Refusal(401, "DENIED", "send `Authorization: Bearer <token>`; `durable token add` makes tokens")
        return holder

    def _params(self) -> dict[str, str]:
        found = path_names(self._request)
        for name, value in found.items():
            if len(value) > ID_CHARS_MAX or not value.isprintable():
                raise Refusal(400, "INVALID_ID", f"{name} is at most {ID_CHARS_MAX} printable characters")
        return found

    async def _handled(self, holder: TokenHolder, params: dict[str, str]) -> Response | EventStream:
        headers, route = self._request.headers, self._route
        parent = headers.get("traceparent", "")
        call = ApiCall(
            site=self._site,
            holder=holder,
            params=params,
            query=self._query(),
            body=await self._body(),
            key=headers.get("idempotency-key"),
            last_event_id=headers.get("last-event-id") or None,
        )
        TRACEPARENT.set(parent if read_traceparent(parent) is not None else "")
        found = await route.handler(call)
        if route.stream:
            events: Any = found
            return EventStream(events, self._site.ended, life_s=self._site.stream_s)
        if isinstance(found, Answer):
            return _response(found.document, found.status, dict(found.headers))
        return _response(found, route.status, {})

    def _query(self) -> Any:
        given: dict[str, str | list[str]] = {}
        query = self._route.query
        for name, value in self._request.query_params.multi_items():
            known = given.get(name)
            if name in query.REPEATED:
                given[name] = [*(known or ()), value]
            elif known is not None:
                raise Refusal(400, "BAD_ARGUMENTS", f"the parameter {name[:100]!r} is given twice")
            else:
                given[name] = value
        return _checked(lambda: msgspec.convert(given, query, strict=False), "the query", query)

    async def _body(self) -> Any:
        if self._route.body is None:
            return None
        kind = self._request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "BAD_ARGUMENTS", "the body is JSON: send content-type: application/json")
        coding = self._request.headers.get("content-encoding", "identity")
        if coding.strip().lower() not in ("", "identity"):
            raise Refusal(415, "BAD_ARGUMENTS", "the body is sent as it is: leave out content-encoding")
        async with RequestBody(self._site, self._request, BODY_BYTES_MAX) as body:
            wanted = self._route.body
            return _checked(lambda: msgspec.json.decode(body or b"{}", type=wanted), "the body", wanted)


def _checked(read: Callable[[], Any], what: str, kind: type) -> Any:
    try:
        return read()
    except _UNREADABLE as error:
        raise Refusal(400, "BAD_ARGUMENTS", f"{what}: {explained(error)}{_words_allowed(kind, str(error))}") from None


def _words_allowed(kind: type, error: str) -> str:
    """The words that a field takes, where it was given another one."""
    found = _WRONG_WORD.search(error)
    if found is None:
        return ""
    described = msgspec.inspect.type_info(kind)
    fields = described.fields if isinstance(described, msgspec.inspect.StructType) else ()
    field = next((each for each in fields if each.encode_name == found[1]), None)
    if field is None:
        return ""
    types = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
    words = [str(word) for each in types if isinstance(each, msgspec.inspect.LiteralType) for word in each.values]
    return f", which is one of {', '.join(sorted(words))}" if words else ""


def _response(document: object, status: int, headers: dict[str, str]) -> Response:
    if status == 204:
        return Response(status_code=204)
    return Response(encode_document(document), status, headers, "application/json")


async def _not_there(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return problem(
        status, "NOT_FOUND", f"{request.method} {sent_path(request)[:200]}: /api/v1/openapi.json lists routes"
    )
