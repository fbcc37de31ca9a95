"""Questions of durable functions to people: `ctx.ask`, `ctx.choose`, `ctx.approve`, `ctx.review` (specs/prompt.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from durable.core.durations import seconds
from durable.core.errors import BadArguments, Denied, ExecutionTimedOut
from durable.core.frozen_record import FrozenRecord
from durable.records.values import adapter_of, from_json, to_json

if TYPE_CHECKING:
    from capabilities.prompts.prompt import AtDeadline, Form, Prompt

ABSENT: Any = object()
"""No default was given: None may be one."""


class Asked(FrozenRecord, frozen=True):
    """A question as it is recorded, its deadline in seconds, and how the code gets the answer."""

    prompt: Prompt
    timeout: float | None
    shape: Callable[[Any], Any]
    default: Any = ABSENT

    def value(self, record: Any) -> Any:
        """The shaped answer of a resolved promise. Denied; BadArguments when it has to be asked again."""
        from capabilities.prompts.answer_rules import told

        found = told(self.prompt, "resolved", record)
        if found.error == "again":
            raise BadArguments(found.text)
        if found.error is not None:
            raise Denied(found.text)
        return self.shape(found.value)

    def late(self, error: ExecutionTimedOut) -> Any:
        """Return the answer that the deadline gives, or raise."""
        from capabilities.prompts.answer_rules import told

        found = told(self.prompt, "rejected_timedout", None)
        if found.error == "denied":
            raise Denied(found.text) from None
        if found.error is not None:
            raise error
        return self.default if self.prompt.form in ("ask", "choose") else self.shape(found.value)

    def again(self, error: BadArguments) -> Asked:
        """The same question once more, with the reason."""
        return replace(self, prompt=self.prompt.model_copy(update={"reason": str(error)}))


class PromptOptions(TypedDict, total=False):
    """The options that every form of a question has: times in seconds or as timedelta, names of persons and teams."""

    default: Any
    timeout: float | timedelta | None
    on_timeout: AtDeadline | None
    title: str | None
    to: Sequence[str] | Set[str]
    remind: float | timedelta | None
    escalate: float | timedelta | None
    escalate_to: Sequence[str] | Set[str]


def asked(form: Form, fields: dict[str, Any], options: PromptOptions, *, schema: Any = None) -> Asked:
    """A question with its arguments as Python objects. BadArguments; TypeError for an option that there is not."""
    from capabilities.standard.prompts import question

    for name in options:
        if name not in PromptOptions.__annotations__:
            raise TypeError(f"{form}() got an unexpected keyword argument {name!r}")
    default = options.get("default", ABSENT)
    found = {name: value for name, value in {**fields, **options}.items() if value is not None and name != "default"}
    found |= {name: seconds(found.get(name)) for name in ("timeout", "remind", "escalate")}
    found |= {"schema": schema}
    if default is not ABSENT:
        found["default"] = to_json(default, "the default answer")
    for name in ("initial", "document", "options", "choices", "details"):
        if name in found:
            found[name] = to_json(found[name], name)
    adapter = None if schema is None or isinstance(schema, dict) else adapter_of(schema)
    prompt, limit = question(form, found, adapter)
    return Asked(prompt, limit, _shape(form, prompt, schema, fields.get("options")), default)


def _shape(form: Form, prompt: Prompt, schema: Any, options: Any) -> Callable[[Any], Any]:
    from durable.core.answer_types import Decision, Review

    annotation = Any if schema is None or isinstance(schema, dict) else schema

    def plain(value: Any) -> Any:
        return from_json(value, annotation, f"the answer to {prompt.question!r}")

    match form:
        case "approve":
            return Decision.read
        case "review":
            return lambda found: Review(
                found["outcome"],
                None if found["document"] is None else plain(found["document"]),
                found["comment"],
                found["by"],
            )
        case "choose":
            return lambda found: _chosen(found, list(options), prompt)
        case _:
            return plain


def _chosen(found: Any, options: list[Any], prompt: Prompt) -> Any:
    """The options themselves for the JSON of the chosen ones."""
    assert prompt.choices is not None
    known = prompt.choices
    if prompt.many:
        return [options[known.index(each)] for each in found]
    return options[known.index(found)]
