"""The problems of an answer as a person reads them: at which field, and in plain words. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class AnswerProblem(NamedTuple):
    """A problem of one field of a form, or of the whole answer where `field` is "" """

    field: str
    text: str


_TYPES = {
    "integer": "Write a whole number, such as 3.",
    "number": "Write a number, such as 2.5.",
    "boolean": "Choose yes or no.",
    "string": "Write a text.",
    "array": "Give a list.",
    "object": "Give the fields as JSON, such as {…}.",
    "null": "Leave this empty.",
}

_WORDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"is not of type '(\w+)'$"), lambda found: _TYPES.get(found[1], "This is of another kind.")),
    (re.compile(r"is less than the minimum of (.+)$"), lambda found: f"It is at least {found[1]}."),
    (re.compile(r"is greater than the maximum of (.+)$"), lambda found: f"It is at most {found[1]}."),
    (
        re.compile(r"is less than or equal to the minimum of (.+)$"),
        lambda found: f"It is more than {found[1]}.",
    ),
    (
        re.compile(r"is greater than or equal to the maximum of (.+)$"),
        lambda found: f"It is less than {found[1]}.",
    ),
    (re.compile(r"is not a multiple of (.+)$"), lambda found: f"It is a multiple of {found[1]}."),
    (re.compile(r"(is too short|should be non-empty)$"), lambda _: "This is too short."),
    (re.compile(r"(is too long|is expected to be empty)$"), lambda _: "This is too long."),
    (re.compile(r"is not one of \[(.*)\]$", re.DOTALL), lambda found: f"Choose one of: {found[1]}."),
    (re.compile(r"has non-unique elements$"), lambda _: "Name each of them once."),
    (re.compile(r"^'.*' is not a '([\w-]+)'$", re.DOTALL), lambda found: f"This is no {found[1]}."),
    (re.compile(r"does not match '(.*)'$", re.DOTALL), lambda found: f"It has to have the form {found[1]}."),
)
"""How jsonschema ends its messages, and what a person is told instead."""

_MISSING = re.compile(r"^'(.*)' is a required property$", re.DOTALL)


def problems_of(errors: Sequence[dict[str, Any]]) -> list[AnswerProblem]:
    """The problems that a refused answer has: `{loc, msg}` as checking an answer gives them."""
    return [_problem(list(each["loc"]), str(each["msg"])) for each in errors]


def _problem(place: list[Any], message: str) -> AnswerProblem:
    missing = _MISSING.match(message)
    if missing is not None:
        return AnswerProblem(
            str((*place, missing[1])[0]), "This is needed." if not place else f"{missing[1]} is needed."
        )
    where = "" if len(place) < 2 else f"At {'.'.join(map(str, place[1:]))}: "
    return AnswerProblem(str(place[0]) if place else "", where + plain_words(message))


def plain_words(message: str) -> str:
    """The problem of a value, told to somebody who has not seen its schema."""
    for pattern, words in _WORDS:
        found = pattern.search(message)
        if found is not None:
            return words(found)
    return message
