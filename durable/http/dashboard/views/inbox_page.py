"""The inbox as page models: a card for each open question, and what was answered before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from capabilities.prompts.prompt import TEAM, Prompt, read_prompt
from durable.engine.views import iso
from durable.http.access.roles import TokenHolder
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.value_text import preview
from durable.http.pages.answer_problems import AnswerProblem
from durable.http.pages.markdown import markdown_line
from durable.http.pages.prompt_form import Pairs, form_markup, question_markup
from durable.store.rows import PromptRow

CARDS_MAX = 50
"""Questions of one page."""


@dataclass(frozen=True, slots=True)
class InboxCard:
    """An open question with its form. `asked`: who may answer now; `then`: what the deadline does."""

    id: str
    key: str
    """The id as an id of the page's elements."""
    execution: str
    execution_url: str
    answer_url: str
    title: str
    question: Markup
    about: Markup
    form: Markup | None
    """None for whoever may only look."""
    asked: tuple[str, ...]
    needed: int
    created_at: str
    timeout_at: str | None
    then: str


def card(
    row: PromptRow, viewer: TokenHolder, now_ms: int, problems: Sequence[AnswerProblem] = (), given: Pairs = ()
) -> InboxCard:
    """The card of one question, for one viewer. problems, given: what was wrong with what was sent before."""
    prompt, key = read_prompt(row.param), row.id.replace(":", "-").replace("@", "-at-")
    may = viewer.may("answer")
    who = None if viewer.believed else viewer.name
    form = Markup(form_markup(prompt, who, problems, given, place=f"{key}.")) if may else None  # noqa: S704
    return InboxCard(
        id=row.id,
        key=key,
        execution=row.execution,
        execution_url=url_of("executions", row.execution),
        answer_url=url_of("inbox", row.id, "answer"),
        title=prompt.title or "",
        question=Markup(markdown_line(prompt.question)),  # noqa: S704
        about=Markup(question_markup(prompt)),  # noqa: S704
        form=form,
        asked=tuple(map(_name, prompt.may_answer(row.created_at, now_ms))),
        needed=prompt.needed(),
        created_at=iso(row.created_at) or "",
        timeout_at=iso(row.timeout_at),
        then=_then(prompt),
    )


def _name(who: str) -> str:
    return f"team {who.removeprefix(TEAM)}" if who.startswith(TEAM) else who


def _then(prompt: Prompt) -> str:
    """The words for what happens at the deadline."""
    if prompt.on_timeout == "deny":
        return "counts as denied"
    if prompt.on_timeout == "fail" or not prompt.has_default:
        return "fails"
    return f"is answered with {preview(prompt.default)}"


def page_of_cards(rows: Sequence[PromptRow], words: str) -> tuple[list[PromptRow], tuple[int, str] | None]:
    """The questions of one page, oldest first, and the place from which the next page goes on, where there is one.

    words: only those whose question, title or execution has them.
    """
    found = [row for row in rows if not words or words.lower() in _searched(row)]
    shown = found[:CARDS_MAX]
    more = len(found) > CARDS_MAX
    return shown, (shown[-1].created_at, shown[-1].id) if more else None


def _searched(row: PromptRow) -> str:
    param = row.param if isinstance(row.param, dict) else {"question": row.param}
    return f"{param.get('question')} {param.get('title')} {row.execution}".lower()
