"""The questions that code asks people: `ask`, `choose`, `approve`, `review`, all recorded as `input` (specs/prompt.md).

Their functions are made of the signatures here; the same arguments make the prompt of `ctx.ask` and its like.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import TypeAdapter

from capabilities.call import CapabilityCall
from capabilities.capability import Capability, Kind
from capabilities.prompts.prompt import AtDeadline, Form, Prompt, Quorum, prompt_for, schema_of
from durable.core.errors import BadArguments

FORMS: tuple[Form, ...] = ("ask", "choose", "approve", "review")
"""Beside `input`."""

APPROVAL = {
    "type": "object",
    "properties": {"approve": {"type": "boolean"}, "why": {"type": "string"}},
    "required": ["approve"],
    "additionalProperties": False,
}
"""An answer to approve()."""


def review_schema(document: dict[str, Any] | None) -> dict[str, Any]:
    """An answer to review() of a document with this schema."""
    inner = {key: value for key, value in (document or {}).items() if key not in ("$defs", "$schema")}
    # References begin at the root of the whole schema, which this one is.
    defs = {"$defs": document["$defs"]} if document is not None and "$defs" in document else {}
    return {
        **defs,
        "type": "object",
        "properties": {
            "action": {"enum": ["accept", "edit", "respond", "decline"]},
            "document": inner,
            "comment": {"type": "string"},
        },
        "required": ["action"],
        "additionalProperties": False,
        "allOf": [
            {"if": {"properties": {"action": {"const": "edit"}}}, "then": {"required": ["document"]}},
            {"if": {"properties": {"action": {"const": "respond"}}}, "then": {"required": ["comment"]}},
        ],
    }


def question(form: Form, asked: dict[str, Any], adapter: TypeAdapter[Any] | None = None) -> tuple[Prompt, float | None]:
    """The prompt that a call's arguments make, and its deadline in seconds. BadArguments."""
    fields = {name: asked[name] for name in ("title", "context", "reason") if asked.get(name) is not None}
    for name in ("to", "escalate_to"):
        fields[name] = _names(name, asked.get(name) or ())
    fields |= {"remind_s": asked.get("remind"), "escalate_s": asked.get("escalate"), "form": form}
    fields |= {"on_timeout": asked.get("on_timeout"), "quorum": asked.get("quorum", 1)}
    if "default" in asked:
        fields |= {"default": asked["default"], "has_default": True}
    limit = asked.get("timeout")
    if limit is not None and not limit > 0:
        raise BadArguments(f"timeout= is more than 0 seconds, not {limit:g}")
    schema = asked.get("schema")
    match form:
        case "input" | "ask":
            fields |= {"initial": asked.get("initial"), "secret": bool(asked.get("secret", False))}
            return prompt_for(
                asked["question"], schema=schema, adapter=adapter, choices=asked.get("choices"), **fields
            ), limit
        case "choose":
            fields |= {"choices": list(asked["options"]), "many": bool(asked.get("many", False))}
            return prompt_for(asked["question"], **fields), limit
        case "approve":
            details = asked.get("details")
            if details is not None:
                fields["context"] = details if isinstance(details, str) else _shown(details)
            return prompt_for(asked["action"], schema=APPROVAL, **fields), limit
        case "review":
            wanted = review_schema(schema_of(schema, adapter))
            fields |= {"initial": asked["document"], "title": fields.get("title", "review")}
            return prompt_for(asked.get("question") or "Is this right?", schema=wanted, **fields), limit


def _names(name: str, given: object) -> tuple[str, ...]:
    """Names of people and teams, those of a set in an order that is the same in every process. BadArguments."""
    if isinstance(given, str):
        raise BadArguments(f"{name}= is a list of names: write {name}=[{given!r}]")
    found = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(each, str) for each in found):
        raise BadArguments(f"{name}= is a list of names, not {given!r:.80}")
    return tuple(sorted(found)) if isinstance(given, set | frozenset) else found


def _shown(details: Any) -> str:
    import json

    return f"```json\n{json.dumps(details, ensure_ascii=False, indent=2)}\n```"


class Question(Capability):
    """Asks a person, in whatever form; nobody here performs it."""

    kind: Kind = "human_in_the_loop"
    performs = False
    place = "input"
    form: ClassVar[Form]

    def asked(self, arguments: dict[str, Any], given: dict[str, Any]) -> tuple[Prompt, float | None]:
        """The prompt and its deadline. `given` are the arguments that the caller named: a default may be None."""
        found = dict(arguments)
        if "default" not in given:
            found.pop("default", None)
        return question(self.form, found)

    def described(self) -> str:
        return self.name


class Ask(Question):
    """Ask a person a question."""

    name = "ask"
    form = "ask"

    def call(
        self, call: CapabilityCall, question: str, *, schema: Any = None, default: Any = None,
        timeout: float | None = None, on_timeout: AtDeadline | None = None, choices: list[Any] | None = None,
        initial: Any = None, title: str | None = None, context: str | None = None, to: list[str] | None = None,
        remind: float | None = None, escalate: float | None = None, escalate_to: list[str] | None = None,
        secret: bool = False, reason: str | None = None,
    ) -> Any:  # fmt: skip
        """The answer, shaped to `schema`: a type, pydantic model or JSON Schema; text without one.

        timeout: seconds or a timedelta, after which `default` is the answer, or on_timeout= "deny" or "fail". to: who
        may answer, names and "team:" names. remind, escalate: seconds after which they are told again, and after which
        `escalate_to` may answer too. context is Markdown. PermissionError when it is declined, TimeoutError.
        """


class Choose(Question):
    """Let a person choose."""

    name = "choose"
    form = "choose"

    def call(
        self, call: CapabilityCall, question: str, options: list[Any], *, many: bool = False, default: Any = None,
        timeout: float | None = None, on_timeout: AtDeadline | None = None, title: str | None = None,
        context: str | None = None, to: list[str] | None = None, remind: float | None = None,
        escalate: float | None = None, escalate_to: list[str] | None = None, reason: str | None = None,
    ) -> Any:  # fmt: skip
        """The option that was chosen; many=True: a list of them, each once. The rest as in `ask`."""


class Approve(Question):
    """Let one or several persons approve an action."""

    name = "approve"
    form = "approve"

    def call(
        self, call: CapabilityCall, action: str, *, details: Any = None, quorum: Quorum = 1, default: bool = False,
        timeout: float | None = None, on_timeout: AtDeadline | None = None, title: str | None = None,
        to: list[str] | None = None, remind: float | None = None, escalate: float | None = None,
        escalate_to: list[str] | None = None, reason: str | None = None,
    ) -> Any:  # fmt: skip
        """A durable.Decision that says who approved and why. A denial raises durable.Denied, a PermissionError.

        quorum: how many have to approve, "any" or "all" of `to`. The rest as in `ask`.
        """


class ReviewDocument(Question):
    """Let a person review a document."""

    name = "review"
    form = "review"

    def call(
        self, call: CapabilityCall, document: Any, *, schema: Any = None, question: str | None = None,
        default: Any = None, timeout: float | None = None, on_timeout: AtDeadline | None = None,
        title: str | None = None, context: str | None = None, to: list[str] | None = None, remind: float | None = None,
        escalate: float | None = None, escalate_to: list[str] | None = None, reason: str | None = None,
    ) -> Any:  # fmt: skip
        """A durable.Review: accepted, edited, responded (with a comment) or declined. The rest as in `ask`."""
