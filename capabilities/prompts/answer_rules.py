"""The rules of answering, without I/O: who may answer, when several have decided, what the code is told.

Invariants (specs/prompt.md): Q2 valid before settled, Q6 one answer each, Q7 a decision never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from capabilities.prompts.states import PromptState, state_of
from durable.core.answer_types import Given
from durable.core.errors import BadArguments, InvalidAnswer, NotAsked
from durable.core.limits import ANSWERER_CHARS_MAX

if TYPE_CHECKING:
    from capabilities.prompts.prompt import Prompt, Settlement

NOBODY = "nobody answered before the deadline"


def check_who(
    prompt_id: str, prompt: Prompt, by: str | None, teams: Sequence[str], *, since_ms: int, now_ms: int
) -> None:
    """Whether this person may answer now: NotAsked names who may; BadArguments when nobody says who answers."""
    from capabilities.prompts.prompt import TEAM

    asked = prompt.may_answer(since_ms, now_ms)
    if by is None:
        if asked or prompt.needed() > 1:
            raise BadArguments(f"{prompt_id} wants to know who answers: give a name (by=)")
        return
    if not 0 < len(by) <= ANSWERER_CHARS_MAX or not by.isprintable():
        raise BadArguments(f"by= is a name of 1 to {ANSWERER_CHARS_MAX} printable characters")
    if asked and by not in asked and not any(f"{TEAM}{team.removeprefix(TEAM)}" in asked for team in teams):
        raise NotAsked(prompt_id, by, asked)


def says_yes(given: Given) -> bool:
    """Whether an answer to approve() approves."""
    return not given.declined and isinstance(given.value, dict) and given.value.get("approve") is True


def decide(prompt: Prompt, given: Sequence[Given]) -> Settlement | None:
    """The settlement that these answers make, the last one having come last; None while the question stays open.

    One answer decides where one is asked for. Of several, as many approvals as are needed do; a denial does as soon as
    they cannot be reached: at once for all; with persons named, when too few are left; else when as many have denied.
    """
    from capabilities.prompts.prompt import TEAM

    last = given[-1]
    if prompt.needed() == 1:
        return _settled(prompt, last, given[-1:])
    yes = sum(map(says_yes, given))
    if yes >= prompt.needed():
        return _settled(prompt, last, given)
    no = len(given) - yes
    asked = (*prompt.to, *prompt.escalate_to)
    named = bool(asked) and not any(name.startswith(TEAM) for name in asked)
    spare = len(asked) - prompt.needed() if named else prompt.needed() - 1
    if no > spare:
        return _settled(prompt, next(each for each in reversed(given) if not says_yes(each)), given)
    return None


def _settled(prompt: Prompt, by: Given, given: Sequence[Given]) -> Settlement:
    from capabilities.prompts.prompt import Settlement

    answers = tuple(_plain(each) for each in given) if prompt.form == "approve" else ()
    return Settlement(value=by.value, by=by.by, declined=by.declined, why=by.why, via=by.via, at=by.at, answers=answers)


def _plain(given: Given) -> dict[str, Any]:
    return {
        "by": given.by,
        "value": given.value,
        "declined": given.declined,
        "why": given.why,
        "via": given.via,
        "at": given.at,
    }


class Told(NamedTuple):
    """The answer as the code gets it: a value, or an error by kind (denied, timeout, eof); `again`: why asked anew."""

    value: Any = None
    error: str | None = None
    text: str = ""


def told(prompt: Prompt, state: str, record: Any) -> Told:
    """The answer for the code that asked a settled question. `record` is the value of its resolved promise."""
    from capabilities.prompts.prompt import Settlement

    found = Settlement.from_record(record) if state == "resolved" else Settlement()
    match state_of(state, declined=found.declined):
        case PromptState.CANCELLED:
            return Told(error="eof", text="the question was cancelled")
        case PromptState.EXPIRED:
            return _at_deadline(prompt)
        case PromptState.REJECTED:
            return Told(error="error", text=f"{prompt.question!r} was rejected by something else than an answer")
        case PromptState.DECLINED:
            return _declined(prompt, found)
        case PromptState.ANSWERED:
            return _answered(prompt, found)
        case PromptState.OPEN:
            raise AssertionError(f"{prompt.question!r} is still open")


def _declined(prompt: Prompt, found: Settlement) -> Told:
    if prompt.form == "review":
        return Told({"outcome": "declined", "document": None, "comment": found.why, "by": found.by})
    by = f" by {found.by}" if found.by else ""
    because = f": {found.why}" if found.why else ""
    return Told(error="denied", text=f"{prompt.question!r} was declined{by}{because}")


def _answered(prompt: Prompt, found: Settlement) -> Told:
    from capabilities.prompts.answer_validation import validated

    if prompt.form == "input":
        return Told(found.value)
    try:
        value = validated(prompt, "it", found.value)
    except InvalidAnswer as error:
        return Told(error="again", text=str(error))
    if prompt.form == "approve":
        return _approved(prompt, found, value)
    if prompt.form == "review":
        return Told(_reviewed(prompt, found, value))
    return Told(value)


def _at_deadline(prompt: Prompt) -> Told:
    if prompt.on_timeout == "deny":
        if prompt.form == "review":
            return Told({"outcome": "declined", "document": None, "comment": NOBODY, "by": None})
        return Told(error="denied", text=f"{prompt.question!r}: {NOBODY}, which denies it")
    if not prompt.has_default or prompt.on_timeout == "fail":
        return Told(error="timeout", text=f"{prompt.question!r}: {NOBODY}")
    if prompt.form == "approve":
        if prompt.default is not True:
            return Told(error="denied", text=f"{prompt.question!r}: {NOBODY}, which denies it")
        return Told({"by": None, "why": NOBODY, "answers": [], "approved": True})
    if prompt.form == "review":
        return Told({"outcome": "accepted", "document": prompt.default, "comment": NOBODY, "by": None})
    return Told(prompt.default)


def _approved(prompt: Prompt, found: Settlement, value: Any) -> Told:
    why = str(value.get("why") or found.why)
    if value["approve"] is not True:
        by = f" by {found.by}" if found.by else ""
        return Told(error="denied", text=f"{prompt.question!r} was denied{by}" + (f": {why}" if why else ""))
    return Told({"by": found.by, "why": why, "answers": list(found.answers), "approved": True})


def _reviewed(prompt: Prompt, found: Settlement, value: Any) -> dict[str, Any]:
    comment = str(value.get("comment") or found.why)
    match value["action"]:
        case "accept":
            outcome, document = "accepted", prompt.initial
        case "edit":
            outcome, document = "edited", value["document"]
        case "respond":
            outcome, document = "responded", prompt.initial
        case _:
            outcome, document = "declined", None
    return {"outcome": outcome, "document": document, "comment": comment, "by": found.by}
