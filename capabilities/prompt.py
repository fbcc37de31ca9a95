"""A question to a person, as a record: what is asked, what may be answered, and checking an answer.

The record travels as the param of the promise `exec:<id>:input:<n>`; whoever answers, in whatever process, checks
the answer against the record's JSON Schema before the promise is settled (specs/prompt.md).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from durable.core.errors import BadArguments, InvalidAnswer
from durable.core.limits import PROMPT_CHARS_MAX


class Prompt(BaseModel):
    """One question. `schema_` is a JSON Schema; None takes any text. `default` is what a deadline answers.

    `reason` says why the question is asked again.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    question: str
    json_schema: dict[str, Any] | None = None
    choices: list[Any] | None = None
    default: Any = None
    has_default: bool = False
    title: str | None = None
    context: str | None = None
    reason: str | None = None

    def record(self) -> dict[str, Any]:
        """The prompt as the promise's param."""
        return self.model_dump(mode="json", exclude_none=True)

    def check(self, prompt_id: str, value: Any) -> Any:
        """The answer, or InvalidAnswer with field errors; the prompt stays open then."""
        if self.choices is not None and value not in self.choices:
            shown = ", ".join(str(choice) for choice in self.choices)
            raise InvalidAnswer(prompt_id, [{"loc": [], "msg": f"choose one of: {shown}"}])
        if self.json_schema is None:
            if self.choices is None and not isinstance(value, str):
                raise InvalidAnswer(prompt_id, [{"loc": [], "msg": "an answer in words was asked for"}])
            return value
        # Imported here: only whoever answers needs it, and it takes a while.
        from jsonschema import Draft202012Validator

        faults = sorted(Draft202012Validator(self.json_schema).iter_errors(value), key=lambda e: list(map(str, e.path)))
        if faults:
            raise InvalidAnswer(
                prompt_id, [{"loc": list(e.absolute_path), "msg": _short(e.message)} for e in faults[:10]]
            )
        return value

    def read(self, text: str) -> Any:
        """An answer typed as text: JSON where a schema or choices want something else than text."""
        import json

        wants_text = self.json_schema is None or self.json_schema.get("type") == "string"
        if self.choices is not None:
            return next((choice for choice in self.choices if str(choice) == text), text)
        if wants_text:
            return text
        try:
            return json.loads(text)
        except ValueError:
            return text


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"


class Settlement(BaseModel):
    """What an answer settles its promise with: the value, who answered, and a nonce that tells whose answer won."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    value: Any = None
    by: str | None = None
    nonce: str | None = None
    declined: bool = False

    @classmethod
    def from_record(cls, record: Any) -> Settlement:
        """From a resolved prompt's value; a bare value (settled past us) counts as the answer."""
        if isinstance(record, dict) and ("nonce" in record or "declined" in record):
            return cls.model_validate(record)
        if isinstance(record, dict) and set(record) == {"data"}:
            return cls(value=record["data"])
        return cls(value=record)


def prompt_for(
    question: str,
    *,
    schema: Any = None,
    adapter: TypeAdapter[Any] | None = None,
    choices: list[Any] | None = None,
    default: Any = None,
    has_default: bool = False,
    title: str | None = None,
    context: str | None = None,
) -> Prompt:
    """A prompt whose schema is a type's; BadArguments for an empty or overlong question or an unusable schema."""
    if not question.strip():
        raise BadArguments("a question cannot be empty")
    if len(question) > PROMPT_CHARS_MAX:
        raise BadArguments(
            f"a question has at most {PROMPT_CHARS_MAX} characters, this has {len(question)}; "
            "put the rest into context="
        )
    if schema is None:
        json_schema = None
    elif isinstance(schema, dict):
        json_schema = schema
    elif adapter is not None:
        json_schema = adapter.json_schema()
    else:
        raise BadArguments(f"schema={schema!r} is neither a JSON Schema nor a type that pydantic knows")
    return Prompt(
        question=question,
        json_schema=json_schema,
        choices=choices,
        default=default,
        has_default=has_default,
        title=title,
        context=context,
    )
