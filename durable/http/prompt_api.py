"""`/prompts/{id}/answer`: who may, what is answered, and each error's status (specs/http.md)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from capabilities.prompts.prompt import Prompt, read_prompt
from durable.core.clock import Clock, now_ms
from durable.core.errors import (
    AnswerLate,
    BadArguments,
    Conflict,
    DurableError,
    InvalidAnswer,
    NotAsked,
    NotFound,
    StoreRefused,
)
from durable.core.limits import CHOICES_MAX
from durable.http.access.roles import TokenHolder
from durable.http.pages.answer_problems import AnswerProblem, problems_of
from durable.http.pages.layout import said_page
from durable.http.pages.prompt_form import Pairs, form_page, read_form
from durable.prompts.inbox import Inbox, already
from durable.prompts.signed_links import Link, read_link
from durable.records.values import unpack
from durable.store.direct_store import DirectStore
from durable.store.remote.transit_key import transit_key

_STATUS: tuple[tuple[type[DurableError], int], ...] = (
    (NotFound, 404),
    (AnswerLate, 410),
    (Conflict, 409),
    (NotAsked, 403),
    (InvalidAnswer, 422),
    (BadArguments, 400),
)

_FIELDS_MAX = CHOICES_MAX + 100
"""Of one form: each choice can be one."""

_TITLES = {
    400: "That cannot be read",
    403: "You are not asked",
    404: "There is no such question",
    409: "It is answered already",
    410: "It is too late",
}


class AnswerBody(msgspec.Struct, forbid_unknown_fields=True):
    """A body. `by` and `teams` are believed from admins."""

    value: Any = None
    by: str | None = None
    teams: list[str] = []
    decline: bool = False
    why: str = ""


class Answers:
    """Answers that come in over HTTP."""

    def __init__(self, store: DirectStore, token: str, clock: Clock = now_ms) -> None:
        self._prompts = Inbox(store)
        self._clock = clock
        self._keys = (store.key, transit_key(token))

    def link(self, text: str | None, prompt_id: str) -> Link | None:
        """The link that a request shows, when it is one to this question."""
        found = None if text is None else read_link(text, self._keys)
        return found if found is not None and found.prompt == prompt_id else None

    async def answer(
        self, prompt_id: str, body: bytes, link: Link | None, holder: TokenHolder | None
    ) -> tuple[int, dict[str, Any]]:
        """The status and answer. link, holder: by what it was let in, a link or a token."""
        try:
            try:
                said = msgspec.json.decode(body, type=AnswerBody)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadArguments(f"the body is {{value, by, teams, decline, why}} as JSON: {error}") from None
            by, teams, via = said.by, tuple(said.teams), "http"
            if link is not None:
                by, teams = await self._by_link(link, said)
                via = "link"
            elif holder is not None:
                by, teams = answerer_of(holder, by, teams)
            settled = await self._prompts.answer(
                prompt_id, said.value, by=by, decline=said.decline, why=said.why, via=via, teams=teams
            )
        except DurableError as error:
            return error_answer(error)
        return 200, {"settled": settled}

    async def page(self, link: Link) -> tuple[int, str]:
        """The question as a form, as a page."""
        try:
            return 200, form_page(await self._asked(link), link.who)
        except DurableError as error:
            return _refused_page(error)

    async def form(self, body: bytes, link: Link) -> tuple[int, str]:
        """Answer by a form; what became of it, as a page."""
        pairs: Pairs = ()
        try:
            prompt = await self._asked(link)
            try:
                pairs = _pairs(body)
                said = msgspec.convert(read_form(link.prompt, prompt, pairs), AnswerBody)
                by, teams = link.answerer(said.by, prompt)
                settled = await self._prompts.answer(
                    link.prompt, said.value, by=by, decline=said.decline, why=said.why, via="page", teams=teams
                )
            except (InvalidAnswer, BadArguments) as error:
                return error_answer(error)[0], form_page(prompt, link.who, answer_problems(error), pairs)
        except DurableError as error:
            return _refused_page(error)
        others = "" if settled else " Others are asked too."
        return 200, said_page("Thank you", f"Your answer is recorded.{others} You can close this page.")

    async def _by_link(self, link: Link, said: AnswerBody) -> tuple[str | None, tuple[str, ...]]:
        return link.answerer(said.by, await self._asked(link, settled=True))

    async def _asked(self, link: Link, *, settled: bool = False) -> Prompt:
        """The question that a link is to. settled: it may be; else that raises as answering it would."""
        promise = await self._prompts.get(link.prompt)
        if promise["createdAt"] != link.asked_at:
            raise Conflict(f"the link is to an earlier question that was {link.prompt}")
        if promise["state"] == "pending":
            link.check_time(self._clock())
        elif not settled:
            raise already(link.prompt, promise)
        return read_prompt(unpack((promise.get("param") or {}).get("data")))


def answerer_of(holder: TokenHolder, by: str | None, teams: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The person who answers, and their teams: those that an admin names, else the holder itself. BadArguments."""
    if holder.believed:
        return by, teams
    if by not in (None, holder.name) or not set(teams) <= set(holder.teams):
        raise BadArguments(
            f"a token of the role {holder.role} answers as {holder.name} and its own teams; leave out by"
        )
    return holder.name, holder.teams


def _pairs(body: bytes) -> Pairs:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict")
    except ValueError:
        raise BadArguments("the form is not UTF-8, or has too many fields") from None


def answer_problems(error: InvalidAnswer | BadArguments) -> list[AnswerProblem]:
    """The problems of a refused answer, for the form that is shown again."""
    return problems_of(error.errors) if isinstance(error, InvalidAnswer) else [AnswerProblem("", str(error))]


def _refused_page(error: DurableError) -> tuple[int, str]:
    status, said = error_answer(error)
    return status, said_page(_TITLES.get(status, "It could not be answered"), said["error"]["message"])


def error_answer(error: DurableError) -> tuple[int, dict[str, Any]]:
    """The status of an error, and how it is told."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 503)
    if isinstance(error, StoreRefused):
        status = error.status
    said: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, InvalidAnswer):
        said["errors"] = error.errors
    return status, {"error": said}
