"""The inbox's requests: the open questions, answering one, and what was answered before."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from capabilities.prompts.prompt import read_prompt
from capabilities.prompts.states import PromptState
from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import BadArguments, Conflict, InvalidAnswer, NotAsked
from durable.http.dashboard.page_request import PageRoute, Visit
from durable.http.dashboard.views.inbox_page import CARDS_MAX, card, has_words, page_of_cards, settled_card
from durable.http.pages.prompt_form import read_form
from durable.http.prompt_api import AnswerBody, answer_problems, answerer_of
from durable.prompts.inbox import Inbox
from durable.prompts.settled_prompts import settled_page
from durable.store.rows import PromptRow, decode_value

SETTLED_STATES = tuple(state.value for state in PromptState if state is not PromptState.OPEN)

PROMPTS_MAX = 10_000
"""Open questions that are looked through for words."""


async def inbox(visit: Visit) -> Response:
    """`GET /ui/inbox`: the open questions, oldest first."""
    now, words, after = now_ms(), visit.query("q"), _place(visit.query("after"))
    reads = visit.store.reads
    rows = await reads.prompts_page(after, PROMPTS_MAX if words else CARDS_MAX + 1)
    shown, more = page_of_cards(rows, words)
    total = len(await reads.open_prompts())
    cards = [card(row, visit.viewer, now) for row in shown]
    links = [("First page", visit.here(after=None))] if visit.query("after") else []
    if more is not None:
        links.append(("Next page", visit.here(after=f"{more[0]}~{more[1]}")))
    title = f"Inbox: {total} open" if total else "Inbox"
    return visit.page("inbox.html", title=title, section="inbox", cards=cards, total=total, q=words, links=links)


async def settled(visit: Visit) -> Response:
    """`GET /ui/inbox/settled`: the questions that were answered or ended otherwise, newest first."""
    words, asked = visit.query("q"), visit.query("state")
    state = PromptState(asked) if asked in SETTLED_STATES else None
    before = _place(visit.query("before"))
    page = await settled_page(visit.store.reads, state, before, CARDS_MAX, lambda prompt: has_words(prompt.row, words))
    links = [("Newest", visit.here(before=None))] if before is not None else []
    if page.next is not None:
        links.append(("Older", visit.here(before=f"{page.next[0]}~{page.next[1]}")))
    return visit.page(
        "inbox_settled.html",
        title="Inbox: settled",
        section="inbox",
        cards=[settled_card(prompt) for prompt in page.prompts],
        q=words,
        state=asked,
        states=SETTLED_STATES,
        links=links,
    )


def _place(text: str) -> tuple[int, str] | None:
    """The place of a page in the order of questions, as its address has it."""
    time, _, prompt = text.partition("~")
    return (int(time), prompt) if time.isascii() and time.isdigit() and len(time) < 17 else None


async def answer(visit: Visit) -> Response:
    """`POST /ui/inbox/{id}/answer`: by the form of the card; with what is wrong, the card is shown again."""
    prompt_id = visit.path("id")
    prompts = Inbox(visit.store, observer=visit.site.observe)
    promise = await prompts.get(prompt_id)
    prompt = read_prompt(decode_value(promise.get("param")))
    viewer = visit.viewer
    try:
        said = msgspec.convert(read_form(prompt_id, prompt, visit.form), AnswerBody)
        by, teams = answerer_of(viewer, said.by, tuple(said.teams))
        settled = await prompts.answer(
            prompt_id, said.value, by=by, decline=said.decline, why=said.why, via="dashboard", teams=teams
        )
    except (InvalidAnswer, BadArguments, NotAsked) as error:
        row = PromptRow(
            prompt_id, ids.execution_of(prompt_id), decode_value(promise.get("param")), {}, *_times(promise)
        )
        problems = answer_problems(error) if not isinstance(error, NotAsked) else answer_problems(_said(error))
        shown = card(row, viewer, now_ms(), problems, visit.form)
        if visit.is_part:
            return visit.piece("inbox_card.html", 422, card=shown)
        return visit.page(
            "inbox.html", title="Inbox", section="inbox", http_status=422, cards=[shown], total=1, q="", links=[]
        )
    except Conflict as error:
        return _done(visit, str(error), 409)
    return _done(
        visit, "Your answer is recorded." if settled else "Your answer is recorded; others are asked too.", 200
    )


def _times(promise: dict[str, object]) -> tuple[int, int]:
    created, until = promise["createdAt"], promise["timeoutAt"]
    assert isinstance(created, int)
    assert isinstance(until, int)
    return created, until


def _said(error: NotAsked) -> BadArguments:
    """The refusal of somebody who is not asked, as a problem of the whole form."""
    return BadArguments(str(error))


def _done(visit: Visit, text: str, status: int) -> Response:
    if visit.is_part:
        return visit.piece("inbox_done.html", status, text=text)
    return visit.go("/ui/inbox", text)


ROUTES = (
    PageRoute("inbox", "GET", "read", inbox),
    PageRoute("inbox/settled", "GET", "read", settled),
    PageRoute("inbox/{id}/answer", "POST", "answer", answer),
)
