"""A question as a plain HTML form, behind a link and on the dashboard; and what such a form says. Pure; no scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from capabilities.prompts.answer_validation import chosen, read_typed
from capabilities.prompts.form_fields import by_line, fields_of, read_field, resolved
from capabilities.prompts.prompt import TEAM, Prompt
from durable.core.errors import BadArguments
from durable.http.pages.answer_problems import AnswerProblem
from durable.http.pages.layout import label_of, page_of
from durable.http.pages.markdown import markdown_block, markdown_line

type Pairs = Sequence[tuple[str, str]]
"""What a form sends."""


def form_page(prompt: Prompt, who: str | None, problems: Sequence[AnswerProblem] = (), given: Pairs = ()) -> str:
    """The question as a page. who: whom the link is for. problems, given: what was wrong with what was sent before."""
    parts = [f'<p class="title">{escape(prompt.title)}</p>'] if prompt.title else []
    parts.append(f"<h1>{markdown_line(prompt.question)}</h1>")
    parts.append(question_markup(prompt))
    parts.append(f'<form method="post">{form_markup(prompt, who, problems, given)}</form>')
    return page_of(prompt.title or prompt.question, "".join(parts))


def question_markup(prompt: Prompt) -> str:
    """Beside the question itself: why it is asked again, and its context, which is Markdown."""
    parts = [f"<p>{escape(prompt.reason)}</p>"] if prompt.reason else []
    if prompt.context:
        parts.append(f'<div class="markdown">{markdown_block(prompt.context)}</div>')
    return "".join(parts)


def form_markup(
    prompt: Prompt, who: str | None, problems: Sequence[AnswerProblem] = (), given: Pairs = (), *, place: str = ""
) -> str:
    """The inside of the form: on the page behind a link, and on the dashboard's cards.

    who: the person or team for whom it is; None for anybody, who then says a name. place: tells the fields of one form
    on a page from those of another.
    """
    before = dict(given)
    controls = _Controls(place, {each.field: each.text for each in problems})
    parts = _answer_fields(prompt, controls, before, {text for name, text in given if name == "choose"})
    if who is None or who.startswith(TEAM):
        required = who is not None or prompt.needed() > 1 or bool(prompt.to)
        parts.append(_line(controls, "Your name", "by", before, required=required))
    if prompt.form != "review":
        parts.append(_line(controls, "Reason", "why", before))
    for n, (do, text) in enumerate(_buttons(prompt)):
        look = ' class="first"' if n == 0 else ""
        unchecked = " formnovalidate" if do == "decline" else ""
        parts.append(f'<button name="do" value="{do}"{look}{unchecked}>{escape(text)}</button>')
    if prompt.form in ("approve", "review"):
        parts.insert(0, "<button disabled hidden></button>")  # Enter in a line would press the first one
    elsewhere = controls.left()
    if elsewhere:
        told = "".join(f"<p>{escape(each)}</p>" for each in elsewhere)
        parts.insert(0, f'<div class="wrong" role="alert">{told}</div>')
    return "".join(parts)


class _Controls:
    """The controls of one form, each with the problem that was found in it."""

    def __init__(self, place: str, problems: dict[str, str]) -> None:
        self._place = place
        self._problems = problems

    def left(self) -> list[str]:
        """The problems of no field that was shown."""
        return [f"{field}: {text}" if field else text for field, text in self._problems.items()]

    def labelled(self, name: str, text: str, hint: str, control: str, field: str) -> str:
        """A control, what it is for, and what is wrong in it. control: with `{}` where more attributes stand."""
        problem = self._problems.pop(field, "")
        if not problem:
            return label_of(text, hint, control.replace("{}", "", 1))
        key = escape(f"{self._place}{name}.problem")
        marked = control.replace("{}", f' aria-invalid="true" aria-describedby="{key}"', 1)
        return label_of(text, hint, f'{marked}<span class="field-error" id="{key}">{escape(problem)}</span>')


def _buttons(prompt: Prompt) -> list[tuple[str, str]]:
    if prompt.form == "approve":
        return [("approve", "Approve"), ("deny", "Deny")]
    if prompt.form == "review":
        return [("accept", "Accept"), ("edit", "Send as edited"), ("respond", "Comment"), ("decline", "Decline")]
    return [("answer", "Answer"), ("decline", "Decline")]


def _answer_fields(prompt: Prompt, controls: _Controls, before: dict[str, str], chosen: set[str]) -> list[str]:
    if prompt.form == "approve":
        return []
    if prompt.form == "review":
        text = before.get("document", _shown(prompt.initial))
        look = "" if isinstance(prompt.initial, str) else ' class="json"'
        area = f'<textarea name="document" rows="12"{look}{{}}>\n{_braced(text)}</textarea>'
        comment = f'<textarea name="comment" rows="3"{{}}>\n{_of(before, "comment")}</textarea>'
        return [
            controls.labelled("document", "Document", "", area, "document"),
            controls.labelled("comment", "Comment", "", comment, "comment"),
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
                controls,
                f"field.{name}",
                str(field.get("title") or name),
                field,
                before.get(f"field.{name}", _begin(field, begin.get(name, field.get("default")))),
                required=isinstance(required, list) and name in required,
            )
            for name, field in fields.items()
        ]
    if prompt.secret:
        return [
            controls.labelled("value", "Answer", "", '<input type="password" name="value" autocomplete="off"{}>', "")
        ]
    whole = resolved(schema, schema)
    text = before.get("value", _begin(whole, prompt.initial))
    return [_field(controls, "value", "Answer", whole, text, required=bool(schema))]


def _begin(field: dict[str, Any], value: Any) -> str:
    if by_line(field) and isinstance(value, list):
        return "\n".join(map(_shown, value))
    return "" if value is None else _shown(value)


def _field(controls: _Controls, key: str, label: str, field: dict[str, Any], text: str, *, required: bool) -> str:
    """A field of the form, by its type."""
    about = field.get("description")
    hints = [about] if isinstance(about, str) else []
    control, more = _control(key, field, text, required=required)
    label = label if required or key == "value" else f"{label} (optional)"
    problem = "" if key == "value" else key.removeprefix("field.")
    return controls.labelled(key, label, ". ".join([*hints, *more]), control, problem)


def _control(key: str, field: dict[str, Any], text: str, *, required: bool) -> tuple[str, list[str]]:
    """The control of a field, and hints of how it is filled in."""
    kind = field.get("type")
    must = " required" if required and kind != "string" else ""  # a text may be empty
    name = f'name="{_braced(key)}"{must}{{}}'
    options = ["true", "false"] if kind == "boolean" else field.get("enum")
    if isinstance(options, list):
        said = {"true": "Yes", "false": "No"} if kind == "boolean" else {}
        shown = [_option(each, said.get(each, each), chosen=each == text) for each in ["", *map(str, options)]]
        return f"<select {name}>{''.join(shown)}</select>", []
    if kind in ("integer", "number"):
        step = "1" if kind == "integer" else "any"
        return f'<input type="number" step="{step}" {name} value="{_braced(text)}">', []
    if kind == "string" and field.get("format") in ("date", "time"):
        return f'<input type="{field["format"]}" {name} value="{_braced(text)}">', []
    if by_line(field):
        return f'<textarea {name} rows="3">\n{_braced(text)}</textarea>', ["One on each line"]
    if kind in ("object", "array"):
        area = f'<textarea {name} rows="4" class="json">\n{_braced(text)}</textarea>'
        return area, [f"As JSON: {_outline(field)}"]
    return f'<textarea {name} rows="{4 if key == "value" else 2}">\n{_braced(text)}</textarea>', []


def _braced(text: str) -> str:
    """Escaped, and with nothing in it that is taken for the place of more attributes."""
    return escape(text).replace("{}", "&#123;}")


def _option(value: str, text: str, *, chosen: bool) -> str:
    return f'<option value="{_braced(value)}"{" selected" if chosen else ""}>{_braced(text)}</option>'


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
    return _braced(given.get(name, ""))


def _line(controls: _Controls, text: str, name: str, before: dict[str, str], *, required: bool = False) -> str:
    label, must = (text, " required") if required else (f"{text} (optional)", "")
    control = f'<input type="text" name="{name}" value="{_of(before, name)}"{must}{{}}>'
    return controls.labelled(name, label, "", control, name)
