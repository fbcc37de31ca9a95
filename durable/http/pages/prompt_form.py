"""A question as a plain HTML form, for whoever has a link to it; and what such a form says. Pure; no scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from capabilities.prompts.answer_validation import chosen, read_typed
from capabilities.prompts.form_fields import by_line, fields_of, read_field, resolved
from capabilities.prompts.prompt import TEAM, Prompt
from durable.core.errors import BadArguments
from durable.http.pages.layout import label_of, page_of

type Pairs = Sequence[tuple[str, str]]
"""What a form sends."""


def form_page(prompt: Prompt, who: str | None, problems: Sequence[str] = (), given: Pairs = ()) -> str:
    """The question as a form. who: whom the link is for. problems, given: what was wrong with what was sent before."""
    before = dict(given)
    parts = [f'<p class="title">{escape(prompt.title)}</p>'] if prompt.title else []
    parts.append(f"<h1>{escape(prompt.question)}</h1>")
    if problems:
        parts.append(f'<div class="wrong" role="alert">{"".join(f"<p>{escape(each)}</p>" for each in problems)}</div>')
    if prompt.reason:
        parts.append(f"<p>{escape(prompt.reason)}</p>")
    if prompt.context:
        parts.append(f"<pre>{escape(_unfenced(prompt.context))}</pre>")
    parts.append('<form method="post">')
    if prompt.form in ("approve", "review"):
        parts.append("<button disabled hidden></button>")  # Enter in a line would press the first one
    parts += _answer_fields(prompt, before, {text for name, text in given if name == "choose"})
    if who is None or who.startswith(TEAM):
        required = who is not None or prompt.needed() > 1
        parts.append(_line("Your name", "by", before, required=required))
    if prompt.form != "review":
        parts.append(_line("Reason", "why", before))
    for n, (do, text) in enumerate(_buttons(prompt)):
        look = ' class="first"' if n == 0 else ""
        unchecked = " formnovalidate" if do == "decline" else ""
        parts.append(f'<button name="do" value="{do}"{look}{unchecked}>{escape(text)}</button>')
    return page_of(prompt.title or prompt.question, f"{''.join(parts)}</form>")


def _unfenced(text: str) -> str:
    """The text without its fence, where it is one block of code."""
    found = _FENCED.fullmatch(text)
    return found[1] if found and "```" not in found[1] else text


_FENCED = re.compile(r"```[a-z]*\n(.*)\n```\s*", re.DOTALL)


def _buttons(prompt: Prompt) -> list[tuple[str, str]]:
    if prompt.form == "approve":
        return [("approve", "Approve"), ("deny", "Deny")]
    if prompt.form == "review":
        return [("accept", "Accept"), ("edit", "Send as edited"), ("respond", "Comment"), ("decline", "Decline")]
    return [("answer", "Answer"), ("decline", "Decline")]


def _answer_fields(prompt: Prompt, before: dict[str, str], chosen: set[str]) -> list[str]:
    if prompt.form == "approve":
        return []
    if prompt.form == "review":
        text = before.get("document", _shown(prompt.initial))
        look = "" if isinstance(prompt.initial, str) else ' class="json"'
        return [
            label_of("Document", "", f'<textarea name="document" rows="12"{look}>\n{escape(text)}</textarea>'),
            label_of("Comment", "", f'<textarea name="comment" rows="3">\n{_of(before, "comment")}</textarea>'),
        ]
    if prompt.choices is not None:
        kind = "checkbox" if prompt.many else "radio"
        legend = "Choose any number" if prompt.many else "Choose one"
        return [f"<fieldset><legend>{legend}</legend>"] + [
            f'<label><input type="{kind}" name="choose" value="{n}"{" checked" if str(n) in chosen else ""}> '
            f"{escape(_shown(choice))}</label>"
            for n, choice in enumerate(prompt.choices, 1)
        ] + ["</fieldset>"]  # fmt: skip
    schema = prompt.json_schema or {}
    fields = fields_of(schema)
    if fields is not None:
        begin = prompt.initial if isinstance(prompt.initial, dict) else {}
        required = schema.get("required")
        return [
            _field(
                f"field.{name}",
                str(field.get("title") or name),
                field,
                before.get(f"field.{name}", _begin(field, begin.get(name, field.get("default")))),
                required=isinstance(required, list) and name in required,
            )
            for name, field in fields.items()
        ]
    if prompt.secret:
        return [label_of("Answer", "", '<input type="password" name="value" autocomplete="off">')]
    whole = resolved(schema, schema)
    return [_field("value", "Answer", whole, before.get("value", _begin(whole, prompt.initial)), required=bool(schema))]


def _begin(field: dict[str, Any], value: Any) -> str:
    if by_line(field) and isinstance(value, list):
        return "\n".join(map(_shown, value))
    return "" if value is None else _shown(value)


def _field(key: str, label: str, field: dict[str, Any], text: str, *, required: bool) -> str:
    """A field of the form, by its type."""
    kind, about = field.get("type"), field.get("description")
    hints = [about] if isinstance(about, str) else []
    must = " required" if required and kind != "string" else ""  # a text may be empty
    name = f'name="{escape(key)}"{must}'
    options = ["true", "false"] if kind == "boolean" else field.get("enum")
    if isinstance(options, list):
        said = {"true": "Yes", "false": "No"} if kind == "boolean" else {}
        shown = [_option(each, said.get(each, each), chosen=each == text) for each in ["", *map(str, options)]]
        control = f"<select {name}>{''.join(shown)}</select>"
    elif kind in ("integer", "number"):
        step = "1" if kind == "integer" else "any"
        control = f'<input type="number" step="{step}" {name} value="{escape(text)}">'
    elif kind == "string" and field.get("format") in ("date", "time"):
        control = f'<input type="{field["format"]}" {name} value="{escape(text)}">'
    elif by_line(field):
        hints.append("One on each line")
        control = f'<textarea {name} rows="3">\n{escape(text)}</textarea>'
    elif kind in ("object", "array"):
        hints.append(f"As JSON: {_outline(field)}")
        control = f'<textarea {name} rows="4" class="json">\n{escape(text)}</textarea>'
    else:
        control = f'<textarea {name} rows="{4 if key == "value" else 2}">\n{escape(text)}</textarea>'
    return label_of(label if required or key == "value" else f"{label} (optional)", ". ".join(hints), control)


def _option(value: str, text: str, *, chosen: bool) -> str:
    return f'<option value="{escape(value)}"{" selected" if chosen else ""}>{escape(text)}</option>'


def _outline(field: dict[str, Any]) -> str:
    """How JSON of that kind begins."""
    properties = field.get("properties")
    if field.get("type") == "array":
        return "[…]"
    names = [json.dumps(name, ensure_ascii=False) for name in properties] if isinstance(properties, dict) else []
    return "{" + ", ".join(f"{name}: …" for name in names[:_OUTLINE_MAX]) + "}"


_OUTLINE_MAX = 20


def read_form(prompt_id: str, prompt: Prompt, pairs: Pairs) -> dict[str, Any]:
    """The answer in a form, as the body of a request has it: `value`, `by`, `decline`, `why`. BadArguments."""
    given = {name: text.replace("\r\n", "\n") for name, text in pairs}
    do = given.get("do", "")
    if do not in dict(_buttons(prompt)):
        raise BadArguments("the form was sent without one of its buttons")
    said: dict[str, Any] = {"by": given.get("by", "").strip() or None, "why": given.get("why", "").strip()}
    if do == "decline" and prompt.form != "review":
        return {**said, "decline": True}
    return {**said, "value": _value(prompt_id, prompt, given, do, pairs)}


def _value(prompt_id: str, prompt: Prompt, given: dict[str, str], do: str, pairs: Pairs) -> Any:
    if prompt.form == "approve":
        return {"approve": do == "approve"} | ({"why": given["why"]} if given.get("why") else {})
    if prompt.form == "review":
        found: dict[str, Any] = {"action": do}
        if do == "edit":
            text = given.get("document", "")
            found["document"] = text if isinstance(prompt.initial, str) else _read(text)
        return found | ({"comment": given["comment"]} if given.get("comment") else {})
    if prompt.choices is not None:
        numbers = [text for name, text in pairs if name == "choose"]
        if not all(number.isascii() and number.isdigit() and len(number) < 9 for number in numbers):
            raise BadArguments("a choice is sent as its number")
        return chosen(prompt, prompt_id, [int(number) for number in numbers])
    fields = fields_of(prompt.json_schema)
    if fields is not None:
        texts = {name: given.get(f"field.{name}", "") for name in fields}
        return {name: read_field(fields[name], text) for name, text in texts.items() if text}
    return read_typed(prompt, given.get("value", ""))


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _of(given: dict[str, str], name: str) -> str:
    return escape(given.get(name, ""))


def _line(text: str, name: str, before: dict[str, str], *, required: bool = False) -> str:
    label, must = (text, " required") if required else (f"{text} (optional)", "")
    return label_of(label, "", f'<input type="text" name="{name}" value="{_of(before, name)}"{must}>')
