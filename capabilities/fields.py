"""A question as a form: the fields of its schema, and what was typed into one. For terminals and pages alike."""

from __future__ import annotations

import json
from typing import Any

YES, NO = ("y", "yes", "true"), ("n", "no", "false")


def fields_of(schema: dict[str, Any] | None) -> dict[str, dict[str, Any]] | None:
    """The fields of a form: those of an object's schema, where each can be typed on a line; else None."""
    found = (schema or {}).get("properties")
    if not isinstance(found, dict) or not found:
        return None
    return {name: _resolved(field, schema or {}) for name, field in found.items()}


def _resolved(field: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """A field's own schema, references followed within the document."""
    if not isinstance(field, dict):
        return {}
    name = str(field.get("$ref", "")).removeprefix("#/$defs/")
    target = (schema.get("$defs") or {}).get(name)
    return {**target, **field} if isinstance(target, dict) else field


def read_field(field: dict[str, Any], text: str) -> Any:
    """What was typed, by the field's type: a text as it is, yes and no, else JSON where it parses."""
    kind = field.get("type")
    if kind == "string":
        return text
    if kind == "boolean" and text.lower() in (*YES, *NO):
        return text.lower() in YES
    for choice in field.get("enum") or ():
        if str(choice) == text:
            return choice
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
