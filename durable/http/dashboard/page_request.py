"""One request of the dashboard: who it is of, what it says, and the answers that pages give."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from durable.core.errors import BadArguments
from durable.core.limits import CHOICES_MAX
from durable.http.access.roles import Role, TokenHolder
from durable.http.dashboard.action_engine import ActionEngine
from durable.http.dashboard.page_templates import PAGE_HEADERS, rendered, rendered_part
from durable.http.path_names import path_names, sent_path
from durable.http.server_state import Site
from durable.store.direct_store import DirectStore
from durable.store.reads import Reads

SECTIONS = (
    ("inbox", "Inbox"),
    ("executions", "Executions"),
    ("sessions", "Sessions"),
    ("schedules", "Schedules"),
    ("actors", "Actors"),
    ("queues", "Queues"),
    ("workers", "Workers"),
    ("deployments", "Deployments"),
    ("audit", "Audit"),
    ("store", "Store"),
)
"""The pages of the navigation, in its order: the last part of the address, and the name."""


def sections_for(viewer: TokenHolder | None) -> tuple[tuple[str, str], ...]:
    """The pages that somebody may see."""
    may_audit = viewer is not None and viewer.may("admin")
    return SECTIONS if may_audit else tuple(each for each in SECTIONS if each[0] != "audit")


NOTE = "durable_note"
"""The cookie that carries one sentence over a redirect: what an action did."""

NOTE_CHARS_MAX = 500

FIELDS_MAX = CHOICES_MAX + 200
"""Of one form: each choice of a question can be one, and each execution of a page."""


@dataclass(slots=True)
class Visit:
    """One request of somebody who is logged in. `form`: the fields of a POST, in order."""

    request: Request
    site: Site
    engine: ActionEngine
    viewer: TokenHolder
    form: list[tuple[str, str]] = field(default_factory=list)

    @property
    def store(self) -> DirectStore:
        return self.site.store

    @property
    def reads(self) -> Reads:
        return self.site.store.reads

    @property
    def is_part(self) -> bool:
        """Whether a part of a page asks for itself, not a person for a page."""
        return "hx-request" in self.request.headers

    def path(self, name: str) -> str:
        """A part of the address."""
        return path_names(self.request)[name]

    def query(self, name: str) -> str:
        """A filter of the address, "" where it is not there."""
        return self.request.query_params.get(name, "").strip()

    def field(self, name: str) -> str:
        """A field of the form, "" where it is not there."""
        return next((text for key, text in self.form if key == name), "").strip()

    def page(self, template: str, *, title: str, section: str, http_status: int = 200, **values: Any) -> Response:
        """A page, or the part of it that asks for itself: the block of the template that the header `x-part` names.

        A part that is as it was last time is not sent again.
        """
        context = {
            "title": title,
            "section": section,
            "sections": sections_for(self.viewer),
            "viewer": self.viewer,
            "note": unquote(self.request.cookies.get(NOTE, ""))[:NOTE_CHARS_MAX],
            "here": self.here(),
            **values,
        }
        part = self.request.headers.get("x-part", "")
        if part:
            text = rendered_part(template, "rail" if part == "rail" else "live", context)
            stamp = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
            if self.request.headers.get("if-none-match") == stamp:
                return Response(status_code=304, headers=PAGE_HEADERS)
            return HTMLResponse(text, headers={**PAGE_HEADERS, "etag": stamp})
        return self._html(rendered(template, context), http_status)

    def piece(self, template: str, http_status: int = 200, **values: Any) -> Response:
        """A piece of a page, for whoever asked for that alone."""
        return self._html(rendered(template, {"viewer": self.viewer, **values}), http_status)

    def _html(self, text: str, http_status: int) -> Response:
        answer = HTMLResponse(text, http_status, PAGE_HEADERS)
        if NOTE in self.request.cookies:
            answer.delete_cookie(NOTE, path="/ui")
        return answer

    def go(self, url: str, note: str = "") -> Response:
        """On to another page, where `note` is said."""
        found = Response(status_code=204, headers={"hx-redirect": url}) if self.is_part else RedirectResponse(url, 303)
        for name, value in PAGE_HEADERS.items():
            found.headers[name] = value
        if note:
            text = quote(note[:NOTE_CHARS_MAX])
            found.set_cookie(NOTE, text, max_age=60, path="/ui", httponly=True, samesite="strict")
        return found

    def here(self, **changed: str | None) -> str:
        """The address of this page with other filters; None takes one away."""
        filters = {**self.request.query_params, **changed}
        asked = urlencode({name: value for name, value in filters.items() if value})
        return f"{sent_path(self.request)}{'?' if asked else ''}{asked}"


type Handler = Callable[[Visit], Awaitable[Response]]


class PageRoute(NamedTuple):
    """A route below `/ui/`: who may use it, and what answers it."""

    path: str
    method: str
    needed: Role
    handler: Handler


PLACE_MAX = 2**53
"""Of an offset or another place in an address: what a number of a browser holds."""


def read_place(text: str) -> int | None:
    """A whole number of the address, at most PLACE_MAX; None where it is none."""
    return min(int(text), PLACE_MAX) if text.isascii() and text.isdecimal() and len(text) < 400 else None


def read_fields(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form as browsers send it. BadArguments."""
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise BadArguments("the form is not UTF-8, or has too many fields") from None
