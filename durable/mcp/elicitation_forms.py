"""A question as a form of the protocol, which has flat fields only, and the answer out of a filled one. No I/O."""

from __future__ import annotations

from typing import Any

from capabilities.prompts.form_fields import fields_of, resolved
from capabilities.prompts.prompt import Prompt

ANSWER = "answer"
"""The field of a form whose question is no object."""

_COPIED = ("title", "description", "minLength", "maxLength", "minimum", "maximum", "enum")
_TYPES = ("string", "integer", "number", "boolean")
_FORMATS = ("email", "uri", "date", "date-time")


def form_of(prompt: Prompt) -> dict[str, Any] | None:
    """The schema of the question's form; None where it cannot be asked so.

    Secrets may not be asked for in a form, and whom a client would ask is not known: questions to named persons, and
    those that several have to answer, are answered elsewhere.
    """
    if prompt.secret or prompt.to or prompt.needed() > 1:
        return None
    if prompt.choices is not None:
        return _wrapped(_choice_field(prompt))
    if prompt.json_schema is None:
        return _wrapped({"type": "string"})
    fields = fields_of(prompt.json_schema)
    if fields is None:
        field = _field(resolved(prompt.json_schema, prompt.json_schema))
        return None if field is None else _wrapped(field)
    shaped = {name: _field(field) for name, field in fields.items()}
    if any(field is None for field in shaped.values()):
        return None
    required = [name for name in prompt.json_schema.get("required", ()) if name in shaped]
    return {"type": "object", "properties": shaped, "required": required}


def _choice_field(prompt: Prompt) -> dict[str, Any]:
    options = [str(choice) for choice in prompt.choices or ()]
    one = {"type": "string", "enum": options}
    return {"type": "array", "items": one} if prompt.many else one


def _wrapped(field: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {ANSWER: field}, "required": [ANSWER]}


def _field(field: dict[str, Any]) -> dict[str, Any] | None:
    """A field of a form; None for what is more than one value."""
    kind = field.get("type")
    if kind is None and field.get("enum") and all(isinstance(each, str) for each in field["enum"]):
        kind = "string"
    if kind not in _TYPES or (field.get("enum") and kind != "string"):
        return None
    found = {"type": kind} | {name: field[name] for name in _COPIED if name in field}
    if field.get("format") in _FORMATS:
        found["format"] = field["format"]
    if isinstance(field.get("default"), str | int | float | bool):
        found["default"] = field["default"]
    return found


def answer_of(prompt: Prompt, content: dict[str, Any]) -> Any:
    """The answer that a filled form means, to be validated as any other."""
    if prompt.choices is not None:
        given = content.get(ANSWER)
        return [_choice(prompt, each) for each in given] if isinstance(given, list) else _choice(prompt, given)
    if prompt.json_schema is None or fields_of(prompt.json_schema) is None:
        return content.get(ANSWER)
    return content


def _choice(prompt: Prompt, given: Any) -> Any:
    return next((choice for choice in prompt.choices or () if str(choice) == given), given)
