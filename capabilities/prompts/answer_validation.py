"""Validation of a person's answer: against the question's choices and JSON Schema (specs/prompt.md).

Whoever takes an answer, in whatever process, validates it here before the prompt's promise is settled.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from capabilities.prompts.form_fields import read_field, resolved
from capabilities.prompts.json_schema import faults
from durable.core.errors import InvalidAnswer

if TYPE_CHECKING:
    from capabilities.prompts.prompt import Prompt

_WAYS = {
    "approve": 'yes, no, or {"approve": true, "why": "…"}',
    "review": 'accept, decline, {"action": "edit", "document": …} or {"action": "respond", "comment": "…"}',
}
"""How to answer the forms whose answers are objects."""

_YES, _NO = frozenset({"yes", "y", "approve", "ok"}), frozenset({"no", "n", "deny"})


def validated(prompt: Prompt, prompt_id: str, value: Any) -> Any:
    """The answer in the form that it is recorded in, or InvalidAnswer with field errors; the prompt stays open."""
    value = _in_full(prompt, value)
    if prompt.choices is not None:
        _check_choice(prompt, prompt_id, value)
    if prompt.json_schema is None:
        if prompt.choices is None and not isinstance(value, str):
            raise InvalidAnswer(prompt_id, [{"loc": [], "msg": "an answer in words was asked for"}])
        return value
    if prompt.form in _WAYS and not isinstance(value, dict):
        raise InvalidAnswer(prompt_id, [{"loc": [], "msg": f"answer with {_WAYS[prompt.form]}"}])
    found = faults(prompt.json_schema, value)
    if found:
        raise InvalidAnswer(prompt_id, found)
    return value


def read_typed(prompt: Prompt, text: str) -> Any:
    """An answer typed as text, read by the schema's type: JSON where that or the choices want no text."""
    if prompt.choices is not None and not prompt.many:
        return next((choice for choice in prompt.choices if str(choice) == text), text)
    if prompt.choices is not None:
        found = _json(text)
        if isinstance(found, list):
            return found
        words = [word.strip() for word in text.split(",") if word.strip()]
        return [next((c for c in prompt.choices if str(c) == word), word) for word in words]
    return text if prompt.json_schema is None else read_field(resolved(prompt.json_schema, prompt.json_schema), text)


def read_entry(prompt: Prompt, text: str) -> Any:
    """An answer typed on a line: nothing is the default, where there is one; numbers name choices, where none is a
    number. InvalidAnswer."""
    if not text and prompt.has_default:
        return prompt.default
    words = [word.strip() for word in text.split(",")]
    names = {str(choice) for choice in prompt.choices or ()}
    if prompt.choices is not None and all(word.isdecimal() and word not in names for word in words):
        try:
            return chosen(prompt, "it", [int(word) for word in words])
        except InvalidAnswer:
            pass
    return read_typed(prompt, text)


def chosen(prompt: Prompt, prompt_id: str, numbers: list[int]) -> Any:
    """The answer that numbers from 1 mean, as a form shows the choices."""
    if prompt.choices is None:
        raise InvalidAnswer(prompt_id, [{"loc": [], "msg": "it has no choices to number"}])
    if any(not 1 <= n <= len(prompt.choices) for n in numbers):
        raise InvalidAnswer(prompt_id, [{"loc": [], "msg": f"choose by a number from 1 to {len(prompt.choices)}"}])
    found = [prompt.choices[n - 1] for n in numbers]
    if prompt.many:
        return found
    if len(found) != 1:
        raise InvalidAnswer(prompt_id, [{"loc": [], "msg": "choose one"}])
    return found[0]


def _in_full(prompt: Prompt, value: Any) -> Any:
    """Short ways to say the common answers: true, "yes", and what a review may be without more."""
    if prompt.form == "approve":
        if isinstance(value, str) and value.strip().lower() in _YES | _NO:
            value = value.strip().lower() in _YES
        return {"approve": value} if isinstance(value, bool) else value
    if prompt.form == "review" and value in ("accept", "decline"):
        return {"action": value}
    return value


def _check_choice(prompt: Prompt, prompt_id: str, value: Any) -> None:
    assert prompt.choices is not None
    shown = ", ".join(str(choice) for choice in prompt.choices)
    if not prompt.many:
        if not any(_same(value, choice) for choice in prompt.choices):
            raise InvalidAnswer(prompt_id, [{"loc": [], "msg": f"choose one of: {shown}"}])
        return
    if not isinstance(value, list):
        raise InvalidAnswer(prompt_id, [{"loc": [], "msg": f"choose any of: {shown}"}])
    for n, each in enumerate(value):
        if not any(_same(each, choice) for choice in prompt.choices):
            raise InvalidAnswer(prompt_id, [{"loc": [n], "msg": f"choose any of: {shown}"}])
        if any(_same(each, other) for other in value[:n]):
            raise InvalidAnswer(prompt_id, [{"loc": [n], "msg": f"{each!r} is chosen twice"}])


def _same(one: Any, other: Any) -> bool:
    """Whether both are equal as JSON: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
