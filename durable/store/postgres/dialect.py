"""The shared statements as PostgreSQL takes them, and text as it can keep it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from durable.store.operations.row_records import Row

_PLACE = re.compile(r"\?(\d*)")
_INDEX = re.compile(r" INDEXED BY \w+")
_ORDERED_JOIN = re.compile(r"CROSS JOIN (\w+(?: \w+)?) ON")

_ESCAPE = "\ufdd0"
"""A code point that no text uses (Unicode keeps it for such purposes) stands before what replaces NUL and itself."""


@lru_cache(4_096)
def translated(sql: str) -> bytes:
    """A statement of `operations/` or `reads.py`: numbered places, and without SQLite's hints to its planner."""
    count = 0

    def place(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${found[1] or count}"

    return _PLACE.sub(place, _ORDERED_JOIN.sub(r"JOIN \1 ON", _INDEX.sub("", sql))).encode()


def kept(parameters: tuple[object, ...]) -> tuple[object, ...]:
    """Parameters with text that PostgreSQL can keep: it takes no NUL."""
    for each in parameters:
        if type(each) is str and ("\0" in each or _ESCAPE in each):
            return tuple(_escaped(one) if isinstance(one, str) else one for one in parameters)
    return parameters


def kept_list(texts: Iterable[str]) -> list[str]:
    """Texts in order, as one parameter that is an array."""
    return sorted(_escaped(text) for text in texts)


def _escaped(text: str) -> str:
    return text.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")


def given(row: Row) -> Row:
    """A row with its text as it was."""
    for each in row:
        if type(each) is str and _ESCAPE in each:
            return tuple(_as_it_was(one) if isinstance(one, str) else one for one in row)
    return row


def _as_it_was(text: Any) -> Any:
    return text.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)
