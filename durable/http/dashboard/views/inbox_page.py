"""The inbox as page models: a card for each open question, and what was answered before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from capabilities.prompts.prompt import TEAM, Prompt, read_prompt
from capabilities.prompts.states import PromptState
from durable.engine.views import iso
from durable.http.access.roles import TokenHolder
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.value_text import CutText, preview, value_text
from durable.http.pages.answer_problems import AnswerProblem
from durable.http.pages.markdown import markdown_line
from durable.http.pages.prompt_form import Pairs, form_markup, question_markup
from durable.prompts.settled_prompts import SettledPrompt
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


@dataclass(frozen=True, slots=True)
class SettledCard:
    """A question that is settled. `outcome`: what was answered, or what happened; `said`: what each person said."""

    id: str
    execution: str
    execution_url: str
    title: str
    question: Markup
    about: Markup
    state: str
    outcome: CutText
    by: str
    via: str
    why: str
    said: tuple[tuple[str, str], ...]
    settled_at: str
    open_seconds: float


_ENDS = {
    PromptState.EXPIRED: "its deadline passed",
    PromptState.CANCELLED: "the execution that asked has ended, or took it back",
    PromptState.REJECTED: "its promise was settled with an error",
}


def settled_card(prompt: SettledPrompt) -> SettledCard:
    """The card of a settled question. The answer to a secret is not in it."""
    row, settlement = prompt.row, prompt.settlement
    asked, settled_at = read_prompt(row.param), prompt.settled_at or row.created_at
    end = _ENDS.get(prompt.state)
    if prompt.state is PromptState.EXPIRED:
        end = f"its deadline passed; it {_then(asked)}"
    answer = CutText("(a secret)") if asked.secret else value_text(settlement.value)
    said = tuple((str(each.get("by")), _said(asked, each)) for each in settlement.answers)
    return SettledCard(
        id=row.id,
        execution=row.execution,
        execution_url=url_of("executions", row.execution),
        title=asked.title or "",
        question=Markup(markdown_line(asked.question)),  # noqa: S704
        about=Markup(question_markup(asked)),  # noqa: S704
        state=prompt.state.value,
        outcome=CutText(end) if end is not None else CutText("") if settlement.declined else answer,
        by=settlement.by or "",
        via=settlement.via,
        why=settlement.why,
        said=said if len(said) > 1 else (),
        settled_at=iso(settled_at) or "",
        open_seconds=max(0, settled_at - row.created_at) / 1000,
    )


def _said(asked: Prompt, answer: Mapping[str, Any]) -> str:
    """The words of one person of several."""
    if answer.get("declined"):
        return "declined"
    return "a secret" if asked.secret else preview(answer.get("value"))


def has_words(row: PromptRow, words: str) -> bool:
    """Whether a question, its title or its execution has these words."""
    return not words or words.lower() in _searched(row)


def page_of_cards(rows: Sequence[PromptRow], words: str) -> tuple[list[PromptRow], tuple[int, str] | None]:
    """The questions of one page, oldest first, and the place from which the next page goes on, where there is one.

    words: only those whose question, title or execution has them.
    """
    found = [row for row in rows if has_words(row, words)]
    shown = found[:CARDS_MAX]
    more = len(found) > CARDS_MAX
    return shown, (shown[-1].created_at, shown[-1].id) if more else None


def _searched(row: PromptRow) -> str:
    param = row.param if isinstance(row.param, dict) else {"question": row.param}
    return f"{param.get('question')} {param.get('title')} {row.execution}".lower()
