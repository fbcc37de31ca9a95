"""`ask`, `choose`, `approve` and `review` as code in the worker sees them: schemas out, shaped answers back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import timedelta
from typing import Any

from bridge.worker.calls.calls import Calls
from bridge.worker.calls.capability_functions import CapabilityFunction, awaited_at_once
from durable.core.answer_types import Decision, Review
from durable.core.errors import Denied

type Seconds = float | timedelta
type Shape = Callable[[Any], Any]


def ask(
    question: str, *, schema: Any = None, default: Any = None, timeout: Seconds | None = None,
    on_timeout: str | None = None, choices: list[Any] | None = None, initial: Any = None, title: str | None = None,
    context: str | None = None, to: list[str] | None = None, remind: Seconds | None = None,
    escalate: Seconds | None = None, escalate_to: list[str] | None = None, secret: bool = False,
) -> Any:  # fmt: skip
    """Ask a person. The answer, shaped to `schema`: a type, pydantic model or JSON Schema; text without one.

    timeout: seconds or a timedelta, after which `default` is the answer, or on_timeout= "deny" or "fail". to: who may
    answer, names and "team:" names. remind, escalate: after how long they are told again, and after how long
    `escalate_to` may answer too. context: Markdown. PermissionError when it is declined, TimeoutError.
    """


def choose(
    question: str, options: list[Any], many: bool = False, *, default: Any = None, timeout: Seconds | None = None,
    on_timeout: str | None = None, title: str | None = None, context: str | None = None, to: list[str] | None = None,
    remind: Seconds | None = None, escalate: Seconds | None = None, escalate_to: list[str] | None = None,
) -> Any:  # fmt: skip
    """Let a person choose: one of the options; many=True: a list of them, each once. The rest as in `ask`."""


def approve(
    action: str, details: Any = None, quorum: int | str = 1, *, default: bool = False, timeout: Seconds | None = None,
    on_timeout: str | None = None, title: str | None = None, to: list[str] | None = None,
    remind: Seconds | None = None, escalate: Seconds | None = None, escalate_to: list[str] | None = None,
) -> Any:  # fmt: skip
    """Let people approve an action. A durable.Decision says who did and why; a denial raises durable.Denied.

    quorum: how many have to approve, "any" or "all" of `to`. The rest as in `ask`. Denied is a PermissionError.
    """


def review(
    document: Any, schema: Any = None, *, question: str | None = None, default: Any = None,
    timeout: Seconds | None = None, on_timeout: str | None = None, title: str | None = None,
    context: str | None = None, to: list[str] | None = None, remind: Seconds | None = None,
    escalate: Seconds | None = None, escalate_to: list[str] | None = None,
) -> Any:  # fmt: skip
    """Let a person review a document: a durable.Review, accepted, edited, responded (with a comment) or declined.

    The rest as in `ask`.
    """


_FORMS: dict[str, Callable[..., Any]] = {"ask": ask, "choose": choose, "approve": approve, "review": review}
_SIGNATURES = {name: inspect.signature(form) for name, form in _FORMS.items()}
_DOCS = {name: f"{name}{_SIGNATURES[name]}\n\n{inspect.getdoc(form)}" for name, form in _FORMS.items()}
_SECONDS = ("timeout", "remind", "escalate")
_WHOLE = ("default", "initial", "document", "details", "options", "choices")
"""Arguments that may hold models and dataclasses."""


class QuestionFunction(CapabilityFunction):
    """A question to a person: `f(...)`, `await f(...)`, `f.aio(...)`. On the wire it is a call of `input`."""

    def __init__(self, calls: Calls, name: str) -> None:
        super().__init__(calls, name)
        self.__signature__ = _SIGNATURES[name]
        self.__doc__ = _DOCS[name]

    def __call__(self, *args: object, **kwargs: object) -> object:
        if awaited_at_once(sys._getframe().f_back):
            return self.aio(*args, **kwargs)
        asked, shape = self._asked(args, kwargs)
        while True:
            try:
                told = self._calls.ask("input", (), asked, self._capability)
            except PermissionError as error:
                raise Denied(str(error)) from None
            answer, asked = _read(asked, shape, told)
            if answer is not _AGAIN:
                return answer

    async def aio(self, *args: object, **kwargs: object) -> object:
        """The awaitable form."""
        asked, shape = self._asked(args, kwargs)
        while True:
            try:
                told = await self._calls.ask_in_loop("input", (), asked, self._capability)
            except PermissionError as error:
                raise Denied(str(error)) from None
            answer, asked = _read(asked, shape, told)
            if answer is not _AGAIN:
                return answer

    def _asked(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[dict[str, Any], Shape]:
        """The arguments as JSON, those that were given, and how the answer is shaped."""
        try:
            bound = _SIGNATURES[self.__name__].bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}() {error}; see help({self.__name__})") from None
        found: dict[str, Any] = {k: v for k, v in bound.arguments.items() if v is not None or k == "default"}
        for name in _SECONDS:
            if isinstance(found.get(name), timedelta):
                found[name] = found[name].total_seconds()
        for name in _WHOLE:
            if name in found:
                found[name] = _plain(found[name])
        schema = found.pop("schema", None)
        shaped: Shape = _same
        if schema is not None:
            found["schema"], shaped = _schema(schema)
        match self.__name__:
            case "approve":
                return found, Decision.read
            case "review":
                return found, lambda told: _review(told, shaped)
            case "choose":
                return found, lambda told: _choice(told, bound.arguments["options"])
        default = kwargs.get("default")
        return found, lambda told: default if "default" in kwargs and told == found["default"] else shaped(told)


_AGAIN = object()


def _read(asked: dict[str, Any], shape: Shape, told: Any) -> tuple[Any, dict[str, Any]]:
    """The shaped answer; or `_AGAIN` with what to ask now, where it does not fit what only this code can check."""
    if "again" in told:
        return _AGAIN, {**asked, "reason": told["again"]}
    try:
        return shape(told["value"]), asked
    except ValueError as error:  # pydantic's is one
        return _AGAIN, {**asked, "reason": _reason(error)[:1000]}


def _reason(error: ValueError) -> str:
    """The faults of an answer, in the words of its check."""
    faults = getattr(error, "errors", None)
    if not callable(faults):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'value'}: {each['msg'].removeprefix('Value error, ')}"
        for each in faults()
    )


def _same(value: Any) -> Any:
    return value


def _choice(told: Any, options: Any) -> Any:
    """The chosen options themselves, found by their JSON: they may be objects of the code's."""
    known = list(options)
    plain = [_plain(option) for option in known]
    if isinstance(told, list) and told not in plain:
        return [known[plain.index(each)] if each in plain else each for each in told]
    return known[plain.index(told)] if told in plain else told


def _review(told: dict[str, Any], shaped: Shape) -> Review:
    document = told["document"]
    return Review(told["outcome"], None if document is None else shaped(document), told["comment"], told["by"])


def _schema(schema: Any) -> tuple[dict[str, Any], Shape]:
    """A JSON Schema, and what makes an answer of JSON."""
    if isinstance(schema, dict):
        return schema, _same
    from pydantic import PydanticUserError, TypeAdapter  # the code has it already, when it has models

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(schema)
        return adapter.json_schema(), lambda value: adapter.validate_json(_json(value))
    except PydanticUserError as error:
        raise TypeError(f"schema={schema!r} is neither a JSON Schema nor a type that pydantic knows: {error}") from None


def _json(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def _plain(value: Any) -> Any:
    """Models and dataclasses as JSON builtins, also inside lists and dicts."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
