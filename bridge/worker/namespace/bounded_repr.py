"""The repr of large values without making all of it: containers are written item by item, up to a size (R1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any

from bridge.worker.namespace.time_limit import OutOfTime, within

CONTAINERS = frozenset({list, tuple, dict, set, frozenset})

_SIMPLE = frozenset({int, float, bool, complex, type(None)})
_BRACKETS: Mapping[type, tuple[str, str]] = {list: ("[", "]"), set: ("{", "}"), tuple: ("(", ")")}

DEPTH_MAX = 60
"""Nesting that is written; what is deeper is `…`."""


def is_plain_dataclass(kind: type) -> bool:
    """Whether this is a dataclass with the repr that `dataclass` made."""
    made = getattr(kind.__repr__, "__wrapped__", None)
    code = getattr(made, "__code__", None)
    return code is not None and dataclasses.is_dataclass(kind) and code.co_filename == "<string>"


def raised(value: object, error: BaseException) -> str:
    """The text in place of a repr that raised."""
    return f"<{type(value).__qualname__} object whose repr raised {type(error).__qualname__}>"


def shortened(value: object, chars_max: int, seconds: float) -> str:
    """As `repr` for what is short; else the beginning, `…` for what is left out, and the end of a long string."""
    return _Writer(chars_max, seconds).text(value, DEPTH_MAX)


class _Writer:
    def __init__(self, chars_max: int, seconds: float) -> None:
        self._left = chars_max
        self._until = monotonic() + seconds
        self._open: set[int] = set()

    def text(self, value: object, depth: int) -> str:
        kind = type(value)
        if kind in _SIMPLE:
            return self._took(repr(value))
        if kind is str or kind is bytes:
            return self._took(_string(value, self._left))  # type: ignore[arg-type]
        if kind in CONTAINERS or is_plain_dataclass(kind):
            if depth == 0 or id(value) in self._open:
                return self._took(_recursive(value))
            self._open.add(id(value))
            try:
                return self._container(value, depth - 1)
            finally:
                self._open.discard(id(value))
        return self._took(self._foreign(value))

    def _took(self, text: str) -> str:
        self._left -= len(text)
        return text

    def _foreign(self, value: object) -> str:
        left = self._until - monotonic()
        if left <= 0:
            raise OutOfTime
        with within(left):
            return repr(value)

    def _container(self, value: Any, depth: int) -> str:
        kind = type(value)
        if kind is dict:
            return "{" + self._joined(value.items(), lambda item: self._pair(item, depth)) + "}"
        if kind in CONTAINERS:
            if not value and kind in (set, frozenset):
                return f"{kind.__name__}()"
            opening, closing = ("frozenset({", "})") if kind is frozenset else _BRACKETS[kind]
            inner = self._joined(value, lambda item: self.text(item, depth))
            comma = "," if kind is tuple and len(value) == 1 else ""
            return f"{opening}{inner}{comma}{closing}"
        fields = [field.name for field in dataclasses.fields(value) if field.repr]
        inner = self._joined(fields, lambda name: f"{name}={self.text(getattr(value, name), depth)}")
        return f"{kind.__qualname__}({inner})"

    def _pair(self, item: tuple[object, object], depth: int) -> str:
        key = self.text(item[0], depth)
        return f"{key}: {self.text(item[1], depth)}"

    def _joined[T](self, items: Collection[T], write: Callable[[T], str]) -> str:
        parts = []
        for done, item in enumerate(items):
            if self._left <= 0:
                parts.append(f"… {len(items) - done} more")
                break
            self._left -= 2
            parts.append(write(item))
        return ", ".join(parts)


def _string(value: str | bytes, chars_max: int) -> str:
    if len(value) <= chars_max:
        return repr(value)
    half = max(chars_max // 2, 1)
    left_out = len(value) - 2 * half
    if left_out <= 0:
        return repr(value)
    return f"{repr(value[:half])[:-1]} … {left_out} characters … {repr(value[-half:]).lstrip('b')[1:]}"


def _recursive(value: object) -> str:
    opening, closing = ("{", "}") if isinstance(value, dict | frozenset) else _BRACKETS.get(type(value), ("", ""))
    return f"{opening}...{closing}"
