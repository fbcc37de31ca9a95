"""A question as a plain HTML form, for whoever has a link to it; and what such a form says. Pure; no scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from typing import Any

from capabilities.fields import fields_of, read_field
from capabilities.prompt import TEAM, Prompt
from durable.core.errors import BadArguments

type Pairs = Sequence[tuple[str, str]]
"""What a form sends."""

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:40em;margin:2em auto;padding:0 1em}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#eee;padding:1em}"
    "label,fieldset,button{display:block;margin:1em 0}textarea,input[type=text],input[type=password],select"
    "{width:100%;box-sizing:border-box;font:inherit}button{display:inline-block;margin-right:1em;font:inherit}"
    ".wrong{color:#a00}"
)

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'sha256-"
        + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        + "'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
"""Of every page: nothing runs, nothing is loaded, no other page shows it, and its address, the link, stays here."""


def said_page(title: str, text: str) -> str:
    """A page that says something."""
    return _page(title, f"<p>{escape(text)}</p>")


def form_page(prompt: Prompt, who: str | None, problems: Sequence[str] = (), given: Pairs = ()) -> str:
    """The question as a form. who: whom the link is for. problems, given: what was wrong with what was sent before."""
    before = dict(given)
    parts = [f'<p class="wrong">{escape(each)}</p>' for each in problems]
    if prompt.reason:
        parts.append(f"<p>{escape(prompt.reason)}</p>")
    if prompt.context:
        parts.append(f"<pre>{escape(prompt.context)}</pre>")
    parts.append('<form method="post">')
    parts += _answer_fields(prompt, before)
    if who is None or who.startswith(TEAM):
        required = "" if who is None and prompt.needed() == 1 else " required"
        parts.append(_label("Your name", f'<input type="text" name="by" value="{_of(before, "by")}"{required}>'))
    if prompt.form != "review":
        parts.append(_label("Why (optional)", f'<input type="text" name="why" value="{_of(before, "why")}">'))
    parts += [f'<button name="do" value="{do}">{escape(text)}</button>' for do, text in _buttons(prompt)]
    return _page(prompt.title or prompt.question, f"<h1>{escape(prompt.question)}</h1>{''.join(parts)}</form>")


def _buttons(prompt: Prompt) -> list[tuple[str, str]]:
    if prompt.form == "approve":
        return [("approve", "Approve"), ("deny", "Deny")]
    if prompt.form == "review":
        return [("accept", "Accept"), ("edit", "Send as edited"), ("respond", "Comment"), ("decline", "Decline")]
    return [("answer", "Answer"), ("decline", "Decline")]


def _answer_fields(prompt: Prompt, before: dict[str, str]) -> list[str]:
    if prompt.form == "approve":
        return []
    if prompt.form == "review":
        text = before.get("document", _shown(prompt.initial))
        return [
            _label("Document", f'<textarea name="document" rows="12">\n{escape(text)}</textarea>'),
            _label("Comment", f'<textarea name="comment" rows="3">\n{_of(before, "comment")}</textarea>'),
        ]
    if prompt.choices is not None:
        kind = "checkbox" if prompt.many else "radio"
        return ["<fieldset><legend>Choose</legend>"] + [
            f'<label><input type="{kind}" name="choose" value="{n}"> {escape(_shown(choice))}</label>'
            for n, choice in enumerate(prompt.choices, 1)
        ] + ["</fieldset>"]  # fmt: skip
    fields = fields_of(prompt.json_schema)
    if fields is not None:
        begin = prompt.initial if isinstance(prompt.initial, dict) else {}
        return [_field(name, field, begin.get(name, field.get("default")), before) for name, field in fields.items()]
    if prompt.secret:
        return [_label("Answer", '<input type="password" name="value" autocomplete="off">')]
    text = before.get("value", "" if prompt.initial is None else _shown(prompt.initial))
    return [_label("Answer", f'<textarea name="value" rows="4">\n{escape(text)}</textarea>')]


def _field(name: str, field: dict[str, Any], begin: Any, before: dict[str, str]) -> str:
    label = str(field.get("title") or name)
    if isinstance(field.get("description"), str):
        label += f" - {field['description']}"
    key = f"field.{name}"
    text = before.get(key, "" if begin is None else _shown(begin))
    options = ["true", "false"] if field.get("type") == "boolean" else field.get("enum")
    if not isinstance(options, list):
        return _label(label, f'<textarea name="{escape(key)}" rows="1">\n{escape(text)}</textarea>')
    shown = "".join(
        f"<option{' selected' if str(each) == text else ''}>{escape(str(each))}</option>" for each in ["", *options]
    )
    return _label(label, f'<select name="{escape(key)}">{shown}</select>')


def read_form(prompt_id: str, prompt: Prompt, pairs: Pairs) -> dict[str, Any]:
    """What a form says, as the body of a request has it: `value`, `by`, `decline`, `why`. BadArguments."""
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
        return prompt.chosen(prompt_id, [int(number) for number in numbers])
    fields = fields_of(prompt.json_schema)
    if fields is not None:
        texts = {name: given.get(f"field.{name}", "") for name in fields}
        return {name: read_field(fields[name], text) for name, text in texts.items() if text}
    return prompt.read(given.get("value", ""))


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _of(given: dict[str, str], name: str) -> str:
    return escape(given.get(name, ""))


def _label(text: str, control: str) -> str:
    return f"<label>{escape(text)} {control}</label>"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title[:200])}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
