"""The notation of values that JSON has not: `{"durable:<kind>": …}` inside a recorded value.

`bytes`, `bytearray`, `memoryview`, `float` (NaN and infinity), `int` (large ones), `dict` (keys that are no strings)
and the kinds of TYPED stand in the record so; `value` round another says that text in it is text and nothing else.
An object written by hand in this notation is read as what it says. A dict of the user's that looks like the notation
is itself written as a `durable:dict`, so nothing is mistaken.
No pydantic here: whoever only looks at a store reads values without it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

PREFIX = "durable:"

MARK = b'"durable:'
"""Text of a recorded value without this holds nothing in the notation."""


def kind_of(value: dict[Any, Any]) -> str:
    """The kind that an object in the notation names; empty for any other object."""
    if len(value) != 1:
        return ""
    key = next(iter(value))
    return key[len(PREFIX) :] if isinstance(key, str) and key.startswith(PREFIX) else ""


def noted(kind: str, content: Any) -> dict[str, Any]:
    """An object in the notation."""
    return {f"{PREFIX}{kind}": content}


def text_of(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def bytes_of(text: str) -> bytes:
    """Base64 as bytes; ValueError."""
    return base64.b64decode(text, validate=True)


def noted_float(value: float) -> dict[str, Any]:
    """NaN or an infinity in the notation."""
    return noted("float", "nan" if math.isnan(value) else "inf" if value > 0 else "-inf")


_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

TYPED: dict[type, Callable[[Any], dict[str, Any]]] = {
    datetime: lambda value: noted("datetime", value.isoformat()),
    date: lambda value: noted("date", value.isoformat()),
    time: lambda value: noted("time", value.isoformat()),
    timedelta: lambda value: noted("timedelta", [value.days, value.seconds, value.microseconds]),
    Decimal: lambda value: noted("decimal", str(value)),
    Fraction: lambda value: noted("fraction", str(value)),
    UUID: lambda value: noted("uuid", str(value)),
    complex: lambda value: noted("complex", repr(value)),
}
"""Scalars that are written so where their JSON form would not come back as them under the annotation."""

_READ: dict[str, Callable[[Any], Any]] = {
    "bytes": bytes_of,
    "bytearray": lambda content: bytearray(bytes_of(content)),
    "memoryview": lambda content: memoryview(bytes_of(content)),
    "float": _FLOATS.__getitem__,
    "int": lambda content: int(content, 16),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda content: timedelta(*content),
    "decimal": Decimal,
    "fraction": Fraction,
    "uuid": UUID,
    "complex": complex,
    "path": Path,
}
_READ_WITHIN: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def read(value: Any) -> Any:
    """A recorded value with what is in the notation as the Python objects it stands for."""
    if isinstance(value, list):
        return [read(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = kind_of(value)
    if kind:
        try:
            return _read_noted(kind, value[PREFIX + kind])
        except (KeyError, ValueError, TypeError, ArithmeticError):
            pass  # written by somebody else: an object like any other
    return {key: read(item) for key, item in value.items()}


def _read_noted(kind: str, content: Any) -> Any:
    if kind == "dict":
        return {_key(read(key)): read(item) for key, item in content}
    if kind in _READ_WITHIN:
        return _READ_WITHIN[kind]([_key(read(item)) if kind != "tuple" else read(item) for item in content])
    return read(content) if kind == "value" else _READ[kind](content)


def _key(value: Any) -> Any:
    """A key as it can be one: what was a tuple or frozenset is a list in JSON."""
    return tuple(_key(item) for item in value) if isinstance(value, list) else value


def shown(value: Any) -> Any:
    """A recorded value as plain JSON for people: bytes as base64, keys as text, NaN as a string."""
    if isinstance(value, list):
        return [shown(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = kind_of(value)
    content = value.get(PREFIX + kind) if kind else None
    if kind == "dict" and isinstance(content, list):
        try:
            return {key if isinstance(key, str) else str(shown(key)): shown(item) for key, item in content}
        except (TypeError, ValueError):
            return value
    if kind == "value":
        return shown(content)
    if kind in _READ_WITHIN and isinstance(content, list):
        return [shown(item) for item in content]
    if kind in _READ and isinstance(content, str):
        return content
    return {key: shown(item) for key, item in value.items()}
