"""Values as text of bounded length: JSON with indentation, cut where it is longer than a page should carry."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

PREVIEW_CHARS = 200
SHOWN_CHARS_MAX = 2_000
"""Of one value in a page that has many of them."""

VALUE_CHARS_MAX = 100_000
"""Of a value as it is stored, where only its beginning is shown: reading a hundred that are longer takes too long."""

WHOLE_CHARS_MAX = 200_000
"""Of one value on a page of its own; a longer one can be saved as a file."""

CODE_CHARS_MAX = 20_000
"""Of the code of a cell."""


class CutText(NamedTuple):
    """The beginning of a text, and how many characters follow it."""

    shown: str
    left: int = 0


def cut(text: str, limit: int = SHOWN_CHARS_MAX) -> CutText:
    """The text up to a limit."""
    return CutText(text) if len(text) <= limit else CutText(text[:limit], len(text) - limit)


def value_text(value: Any, limit: int = SHOWN_CHARS_MAX) -> CutText:
    """A value as a person reads it: text as it is, everything else as JSON."""
    return cut(as_text(value), limit)


def preview(value: Any) -> str:
    """The beginning of a value in one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(text[: 4 * PREVIEW_CHARS].split())
    return line if len(line) <= PREVIEW_CHARS and len(text) <= 4 * PREVIEW_CHARS else f"{line[:PREVIEW_CHARS]}…"


def as_text(value: Any) -> str:
    """All of a value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
