"""A question to a person, as a record: what is asked, what may be answered, and checking an answer.

The record travels as the param of the promise `exec:<id>:input:<n>`; whoever answers, in whatever process, checks
the answer against the record's JSON Schema before the promise is settled (specs/prompt.md).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from capabilities.prompts.json_schema import check_parts, check_schema
from durable.core.errors import BadArguments
from durable.core.limits import APPROVERS_MAX, CHOICES_MAX, PROMPT_CHARS_MAX
from durable.core.value_codec import why_closed

type Form = Literal["input", "ask", "choose", "approve", "review"]
type AtDeadline = Literal["default", "deny", "fail"]
type Quorum = int | Literal["any", "all"]

TEAM = "team:"
"""The beginning of a team's name in `to`."""

_LATER = ("form", "many", "on_timeout", "initial", "to", "quorum", "remind_s", "escalate_s", "escalate_to", "secret")
"""Fields that are left out of the record where they say nothing: records of before they were there stay the same."""


class Prompt(BaseModel):
    """One question. `json_schema` is a JSON Schema; None takes any text. `default` is what a deadline answers.

    form: which function asked. choices: what may be answered, `many` of them or one. initial: what a form begins with.
    context: Markdown. reason: why the question is asked again. secret: do not show what is typed. to: who may answer,
    persons and `team:` names; empty is anybody. quorum: how many persons have to approve. on_timeout: what the
    deadline does. remind_s: tell the channels again every so many seconds. escalate_s, escalate_to: after so many
    seconds these may answer too, and are told.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    question: str
    json_schema: dict[str, Any] | None = None
    choices: list[Any] | None = None
    default: Any = None
    has_default: bool = False
    title: str | None = None
    context: str | None = None
    reason: str | None = None
    form: Form = "ask"
    many: bool = False
    on_timeout: AtDeadline | None = None
    initial: Any = None
    to: tuple[str, ...] = ()
    quorum: Quorum = 1
    remind_s: float | None = None
    escalate_s: float | None = None
    escalate_to: tuple[str, ...] = ()
    secret: bool = False

    def record(self) -> dict[str, Any]:
        """The prompt as the promise's param."""
        found = self.model_dump(mode="json", exclude_none=True)
        for name in _LATER:
            if name in found and getattr(self, name) == type(self).model_fields[name].default:
                del found[name]
        return found

    def may_answer(self, since_ms: int, now_ms: int) -> tuple[str, ...]:
        """The persons and teams that are asked, as of a time; empty is anybody."""
        late = self.escalate_s is not None and now_ms >= since_ms + self.escalate_s * 1000
        return (*self.to, *self.escalate_to) if self.to and late else self.to

    def needed(self) -> int:
        """How many persons have to approve."""
        if self.quorum == "all":
            return len(self.to)
        return 1 if self.quorum == "any" else self.quorum


class Settlement(BaseModel):
    """The settlement of a prompt's promise: the value, who answered, and a nonce that tells whose answer won.

    `answers` are those of all who were asked, where it were several.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    value: Any = None
    by: str | None = None
    nonce: str | None = None
    declined: bool = False
    why: str = ""
    via: str = ""
    at: int = 0
    answers: tuple[dict[str, Any], ...] = ()

    @classmethod
    def from_record(cls, record: Any) -> Settlement:
        """Read a resolved prompt's value; a bare value (settled past us) counts as the answer."""
        if isinstance(record, dict) and ("nonce" in record or "declined" in record):
            try:
                return cls.model_validate(record)
            except ValidationError:
                return cls(value=record)
        if isinstance(record, dict) and set(record) == {"data"}:
            return cls(value=record["data"])
        return cls(value=record)


def read_prompt(param: Any) -> Prompt:
    """The prompt of a promise's param; a bare text, asked past us, is the question. Of one that cannot be read here the
    question says why."""
    closed = why_closed(param)
    question = {"question": closed or str(param)}
    return Prompt.model_validate(param if isinstance(param, dict) and closed is None else question)


# -- making one -----------------------------------------------------------------------------------------------------


def schema_of(schema: Any, adapter: TypeAdapter[Any] | None = None) -> dict[str, Any] | None:
    """A type's JSON Schema, or the one given; BadArguments for what is neither."""
    if schema is None or isinstance(schema, dict):
        if schema is not None:
            check_schema(schema)
        return schema
    if adapter is None:
        raise BadArguments(f"schema={schema!r} is neither a JSON Schema nor a type that pydantic knows")
    found = adapter.json_schema()
    check_parts(found)
    return found


def prompt_for(question: str, *, schema: Any = None, adapter: TypeAdapter[Any] | None = None, **fields: Any) -> Prompt:
    """A prompt whose schema is a type's; BadArguments for an empty or overlong question or an unusable schema."""
    if not isinstance(question, str):
        raise BadArguments(f"a question is text, not {type(question).__name__}")
    if not question.strip():
        raise BadArguments("a question cannot be empty")
    if len(question) > PROMPT_CHARS_MAX:
        raise BadArguments(
            f"a question has at most {PROMPT_CHARS_MAX} characters, this has {len(question)}; "
            "put the rest into context="
        )
    try:
        prompt = Prompt(question=question, json_schema=schema_of(schema, adapter), **fields)
    except ValueError as error:
        raise BadArguments(f"the question {question[:80]!r} cannot be asked so: {error}") from None
    _check(prompt)
    return prompt


def _check(prompt: Prompt) -> None:
    if prompt.choices is not None and not 1 <= len(prompt.choices) <= CHOICES_MAX:
        raise BadArguments(f"there are 1 to {CHOICES_MAX} choices, not {len(prompt.choices)}")
    if prompt.on_timeout == "default" and not prompt.has_default:
        raise BadArguments('on_timeout="default" needs a default=')
    for name, given in (("to", prompt.to), ("escalate_to", prompt.escalate_to)):
        if len(set(given)) < len(given):
            raise BadArguments(f"{name}= names each person and team once: {', '.join(given)}")
    if prompt.escalate_to and (prompt.escalate_s is None or not prompt.to):
        raise BadArguments("escalate_to= needs escalate= (when) and to= (who is asked before)")
    if len(prompt.to) + len(prompt.escalate_to) > APPROVERS_MAX:
        raise BadArguments(f"to= names at most {APPROVERS_MAX} persons and teams")
    for seconds in (prompt.remind_s, prompt.escalate_s):
        if seconds is not None and not seconds > 0:
            raise BadArguments(f"remind= and escalate= are more than 0 seconds, not {seconds:g}")
    if isinstance(prompt.quorum, int) and not 1 <= prompt.quorum <= APPROVERS_MAX:
        raise BadArguments(f"a quorum is 1 to {APPROVERS_MAX} persons, not {prompt.quorum}")
    if prompt.quorum not in (1, "any") and prompt.form != "approve":
        raise BadArguments("only approve() can ask several persons; ask each one to ask several")
    persons = prompt.to and not any(name.startswith(TEAM) for name in prompt.to)
    if prompt.quorum == "all" and not persons:
        raise BadArguments('quorum="all" needs to=, and persons in it: who all members of a team are is not recorded')
    if persons and prompt.needed() > len(prompt.to) + len(prompt.escalate_to):
        raise BadArguments(f"{prompt.needed()} are to approve, {len(prompt.to)} are asked")
