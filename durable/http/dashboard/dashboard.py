"""The dashboard as an ASGI application: logging in, who may see and do what, and the pages (specs/dashboard.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from durable.core.errors import DurableError, InvalidId, StoreError
from durable.core.events import BackgroundFailed
from durable.core.limits import BODY_BYTES_MAX
from durable.http.access.roles import TokenHolder
from durable.http.dashboard import (
    deployment_pages,
    execution_pages,
    inbox_pages,
    live_changes,
    queue_pages,
    session_pages,
    store_pages,
)
from durable.http.dashboard.action_engine import ActionEngine
from durable.http.dashboard.browser_login import COOKIE, LOGIN_S, Logins, next_page
from durable.http.dashboard.page_request import PageRoute, Visit, read_fields, sections_for
from durable.http.dashboard.page_templates import PAGE_HEADERS, assets, rendered
from durable.http.path_names import path_names, sent_path
from durable.http.prompt_api import error_answer
from durable.http.request_body import RequestBody, Turned
from durable.http.routes import paced
from durable.http.server_state import Site

CACHED = "public, max-age=31536000, immutable"
"""Of assets: their address has the digest of their bytes."""


ROUTES: tuple[PageRoute, ...] = tuple(
    each
    for module in (inbox_pages, execution_pages, session_pages, queue_pages, deployment_pages, store_pages)
    for each in module.ROUTES
)
"""Every page and action. One without a role does not exist."""


class Dashboard:
    """The pages on one store."""

    def __init__(self, site: Site, engine: ActionEngine) -> None:
        self.logins = Logins(site.clock)
        self._site = site
        self._engine = engine
        router = [
            Route("/assets/{digest}/{name:path}", _asset, methods=["GET"]),
            Route("/login", self._answering(self._login), methods=["GET", "POST"]),
            Route("/logout", self._answering(self._logout), methods=["POST"]),
            Route("/changes", self._changes, methods=["GET"]),
            *(Route(f"/{each.path}", self._page(each), methods=[each.method]) for each in ROUTES),
            Route("/", _to_inbox, methods=["GET"]),
        ]
        self._router = Router(router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    # -- who it is --------------------------------------------------------------------------------------------------

    def _viewer(self, request: Request) -> TokenHolder | None:
        """Whoever is logged in, as their token is known at this moment."""
        token = self.logins.token(request.cookies.get(COOKIE))
        return None if token is None else self._site.tokens.holder_of(token)

    async def _login(self, request: Request) -> Response:
        """`GET` and `POST /ui/login`: by a token that is typed, or by the code that `durable ui` made."""
        wrong, query = "", request.query_params
        to = next_page(query.get("next", ""))
        token = self.logins.redeem(query["code"]) if "code" in query else None
        if request.method == "POST":
            self._check_own(request)
            async with RequestBody(self._site, request, BODY_BYTES_MAX) as body:
                fields = dict(read_fields(body))
            token, to = fields.get("token", "").strip(), next_page(fields.get("next", ""))
            wrong = "This is no token of this server."
        if token and self._site.tokens.holder_of(token) is not None:
            answer = RedirectResponse(to, 303, PAGE_HEADERS)
            cookie, age = self.logins.begin(token), int(LOGIN_S)
            answer.set_cookie(COOKIE, cookie, max_age=age, path="/ui", httponly=True, samesite="lax")
            return answer
        context = {"title": "Log in", "viewer": None, "note": "", "wrong": wrong, "next": to}
        return HTMLResponse(rendered("login.html", context), 401 if wrong else 200, PAGE_HEADERS)

    async def _logout(self, request: Request) -> Response:
        """`POST /ui/logout`"""
        self._check_own(request)
        self.logins.end(request.cookies.get(COOKIE))
        answer = RedirectResponse("/ui/login", 303, PAGE_HEADERS)
        answer.delete_cookie(COOKIE, path="/ui")
        return answer

    def _check_own(self, request: Request) -> None:
        """Refuse a form that another site's page sent: browsers say where it comes from."""
        said, host = request.headers.get("sec-fetch-site"), request.headers.get("host")
        if said not in (None, "same-origin") or not self._site.host_check.origin(request.headers.get("origin"), host):
            raise Turned(403, "The form was sent by another site.")

    # -- pages ------------------------------------------------------------------------------------------------------

    def _page(self, route: PageRoute) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            viewer = self._viewer(request)
            if viewer is None:
                return _log_in(request)
            visit = Visit(request, self._site, self._engine, viewer)
            if route.method == "POST":
                self._check_own(request)
                await self._allow(viewer, route, request)
                async with RequestBody(self._site, request, BODY_BYTES_MAX) as body:
                    visit.form = read_fields(body)
                    found = await route.handler(visit)
                self._site.audit.done(viewer, f"POST /ui/{route.path}", _about(request), found.status_code)
                return found
            await self._allow(viewer, route, request)
            return await route.handler(visit)

        return self._answering(answer)

    async def _allow(self, viewer: TokenHolder, route: PageRoute, request: Request) -> None:
        if not viewer.may(route.needed):
            self._site.audit.denied(viewer, f"{route.method} /ui/{route.path}", _about(request), route.needed)
            raise Turned(403, f"The token {viewer.name} has the role {viewer.role}; this needs {route.needed}.")

    def _answering(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                await paced(self._site, request)
                if not self._site.host_check.host(request.headers.get("host")):
                    raise Turned(421, "This server is not reached by this name; --allow-host allows it.")
                return await handler(request)
            except Turned as turned:
                return self._trouble(request, turned.status, str(turned))
            except DurableError as error:
                return self._trouble(request, _status_of(error), str(error))
            except ClientDisconnect:
                return self._trouble(request, 400, "The form ended early.")
            except (HTTPException, asyncio.CancelledError):
                raise
            except Exception as error:
                self._site.observe(BackgroundFailed(f"{request.method} {sent_path(request)[:200]}", repr(error)))
                return self._trouble(request, 500, f"An error of the server itself: {type(error).__name__}.")

        return answer

    def _trouble(self, request: Request, status: int, text: str) -> Response:
        """A page that says what is wrong; for a part of a page, a sentence in its place."""
        if "hx-request" in request.headers:
            return HTMLResponse(rendered("trouble_part.html", {"text": text}), status, PAGE_HEADERS)
        title = _TITLES.get(status, "That did not work")
        context = {"title": title, "text": text, "viewer": self._viewer(request), "note": ""}
        found = rendered("trouble.html", {**context, "sections": sections_for(self._viewer(request)), "section": ""})
        return HTMLResponse(found, status, PAGE_HEADERS)

    async def _changes(self, request: Request) -> Response:
        """`GET /ui/changes`: server-sent events that say that something changed, and not what."""
        if self._viewer(request) is None or self._site.ending:
            return Response(status_code=204)  # the browser does not ask again
        return live_changes.stream_of(self._site)


_TITLES = {
    400: "That cannot be read",
    403: "You may not do that",
    404: "There is no such thing",
    409: "That cannot be done now",
    421: "Unknown host",
    429: "Too many requests",
    503: "The store does not answer",
}


def _status_of(error: DurableError) -> int:
    """The status of an error: whatever is no trouble of the store itself was asked for in vain."""
    if isinstance(error, InvalidId):
        return 400
    status = error_answer(error)[0]
    return status if status != 503 or isinstance(error, StoreError) else 409


def _about(request: Request) -> str:
    names = path_names(request)
    return names.get("id") or names.get("name") or ""


def _log_in(request: Request) -> Response:
    """On to the login, and back here after it."""
    path = sent_path(request)
    here = f"{path}?{request.url.query}" if request.url.query else path
    if "hx-request" in request.headers or "x-part" in request.headers:
        return Response(status_code=401, headers={**PAGE_HEADERS, "hx-refresh": "true"})
    to = here if request.method == "GET" else "/ui/inbox"
    return RedirectResponse(f"/ui/login?next={quote(to, safe='')}", 303, PAGE_HEADERS)


async def _to_inbox(_request: Request) -> Response:
    return RedirectResponse("/ui/inbox", 303, PAGE_HEADERS)


async def _asset(request: Request) -> Response:
    """`GET /ui/assets/{digest}/{name}`: a file of ours, without a login."""
    found = assets().get(request.path_params["name"])
    if found is None or found.url != request.url.path:
        raise HTTPException(404)
    headers = {"cache-control": CACHED, "x-content-type-options": "nosniff", "vary": "accept-encoding"}
    headers["cross-origin-resource-policy"] = "same-origin"
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, headers={**headers, "content-encoding": "gzip"}, media_type=found.media_type)
    return Response(found.data, headers=headers, media_type=found.media_type)
