"""The words after FILE::FUNC as arguments: JSON where they parse, else text, fitted to the annotations."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from durable.cli.exit_codes import Unusable


def step_number(text: str) -> int:
    """The number of a step as typed."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ValueError(f"{text!r} is no step's number; `durable show ID` lists them, from 1")
    return int(text)


def which_one(text: str) -> str | int:
    """A checkpoint as typed: its number where that reads as one, else its label."""
    return int(text) if text.isascii() and text.isdecimal() else text


@dataclass(frozen=True, slots=True)
class Word:
    """One value as typed, and as JSON where it parses."""

    text: str

    @property
    def value(self) -> Any:
        """JSON, or the text itself. NaN and Infinity are text: they are not JSON."""
        try:
            return json.loads(self.text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return self.text


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def parse(words: Sequence[str], names: Sequence[str] | None = None) -> tuple[list[Word], dict[str, Word]]:
    """Positional and keyword words: `--key value`, `--key=value`, and `key=value` where `key` is one of `names`.

    `names` None takes any identifier for a key. A `--key` before another one, or at
    the end, is true; after `--` everything is positional.
    """
    args: list[Word] = []
    kwargs: dict[str, Word] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_")
        if word == "--":
            args += [Word(each) for each in rest]
            break
        if word.startswith("--") and key.isidentifier():
            if not equals:
                value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        elif not (equals and key.isidentifier() and (names is None or key in names)):
            args.append(Word(word))
            continue
        if key in kwargs:
            raise Unusable(f"argument {key!r} is given twice")
        kwargs[key] = Word(value)
    return args, kwargs


def fit(function: Any, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The words as arguments of a durable function: text where its annotation takes no JSON of that kind.

    What fits neither way is passed as JSON, so that the function's own check names it.
    """
    parameters = list(inspect.signature(function.fn).parameters.values())[1:]
    named = {p.name: p for p in parameters}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    args, kwargs = parse(words, None if takes_any else list(named))
    ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    extra = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
    hints = _hints(function)
    fitted = [_fitted(word, _hint(hints, ordered[n] if n < len(ordered) else rest)) for n, word in enumerate(args)]
    return fitted, {key: _fitted(word, _hint(hints, named.get(key, extra))) for key, word in kwargs.items()}


def _hints(function: Any) -> dict[str, Any]:
    from durable.records.values import hints_of

    return hints_of(function.fn)


def _hint(hints: dict[str, Any], parameter: inspect.Parameter | None) -> Any:
    return inspect.Parameter.empty if parameter is None else hints.get(parameter.name, inspect.Parameter.empty)


def _fitted(word: Word, hint: Any) -> Any:
    from durable.core.errors import BadArguments
    from durable.records.values import from_json

    value = word.value
    for candidate in (value, word.text):
        try:
            from_json(candidate, hint, "argument")
        except BadArguments:
            continue
        return candidate
    return value
