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
    return {name: resolved(field, schema or {}) for name, field in found.items()}


def resolved(field: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """A field as a form has to know it: references followed in the document; `x | None` is x, and `nullable`."""
    found = _followed(field, schema)
    options, kinds = found.get("anyOf"), found.get("type")
    if isinstance(kinds, list) and len(kinds) == 2 and "null" in kinds:
        found = {**found, "type": next((kind for kind in kinds if kind != "null"), "null"), "nullable": True}
    if isinstance(options, list) and _NULL in options:
        others = [each for each in options if each != _NULL]
        if len(others) == 1:
            rest = {name: value for name, value in found.items() if name != "anyOf"}
            found = {**_followed(others[0], schema), **rest, "nullable": True}
    if isinstance(found.get("items"), dict):
        found = {**found, "items": _followed(found["items"], schema)}
    return found


_NULL = {"type": "null"}


def _followed(field: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(field, dict):
        return {}
    name = str(field.get("$ref", "")).removeprefix("#/$defs/")
    target = (schema.get("$defs") or {}).get(name)
    return {**target, **field} if isinstance(target, dict) else field


def by_line(field: dict[str, Any]) -> bool:
    """Whether it is a list of what can be typed on a line each."""
    items = field.get("items")
    return field.get("type") == "array" and isinstance(items, dict) and items.get("type") in _PLAIN


_PLAIN = ("string", "integer", "number", "boolean")


def read_field(field: dict[str, Any], text: str) -> Any:
    """The value typed, by the field's type: text as it is, yes and no, a list by its lines, else JSON where it parses.

    "null" is None where that is allowed.
    """
    kind = field.get("type")
    if text == "null" and field.get("nullable"):
        return None
    if kind == "string":
        return text
    if kind == "boolean" and text.lower() in (*YES, *NO):
        return text.lower() in YES
    for choice in field.get("enum") or ():
        if str(choice) == text:
            return choice
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if by_line(field) and not isinstance(found, list):
        return [read_field(field["items"], line.strip()) for line in text.splitlines() if line.strip()]
    return found
