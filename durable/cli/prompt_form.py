"""A question as a form on a terminal: one field of its schema after the other, or choices by number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from capabilities.prompts.form_fields import fields_of, read_field
from durable.cli.text_output import plain, to_text
from durable.records.view_models import PromptView

type Ask = Callable[[str], Awaitable[str | None]]
"""Shows a label and reads a line; None when there is no more."""


class Left(Exception):
    """The person left the form, or somebody else answered."""


async def fill(view: PromptView, ask: Ask) -> Any:
    """The answer as the fields say it; raises Left. What is typed is read by the field's type, and checked later."""
    fields = fields_of(view.schema)
    assert fields is not None
    required = (view.schema or {}).get("required") or []
    initial = view.initial if isinstance(view.initial, dict) and view.form != "review" else {}
    answer: dict[str, Any] = {}
    for name, field in fields.items():
        if view.form == "review" and name == "document" and answer.get("action") != "edit":
            continue
        begin = initial.get(name, field.get("default"))
        text = await ask(_label(name, field, begin, required=name in required))
        if text is None:
            raise Left
        if text:
            answer[name] = read_field(field, text)
        elif begin is not None:
            answer[name] = begin
    return answer


def _label(name: str, field: dict[str, Any], begin: Any, *, required: bool) -> str:
    kinds = field.get("enum") or ([field["const"]] if "const" in field else None)
    kind = " | ".join(map(str, kinds)) if kinds else str(field.get("type", "value"))
    about = f" - {field['description']}" if "description" in field else ""
    starts = (
        f" [{begin if isinstance(begin, str) else to_text(begin)}]" if begin is not None else "" if required else " [-]"
    )
    return plain(f"{field.get('title') or name} ({'y/n' if kind == 'boolean' else kind}){about}{starts}: ")


def read_pairs(view: PromptView, pairs: tuple[str, ...]) -> dict[str, Any]:
    """`--field name=value` as an answer; ValueError names what is no pair."""
    fields = fields_of(view.schema) or {}
    answer = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--field {pair!r} is not NAME=VALUE")
        answer[name] = read_field(fields.get(name, {}), text)
    return answer
