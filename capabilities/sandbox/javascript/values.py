"""Values between Python and JavaScript, as JSON text with marks for what JSON has not (specs/javascript.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from capabilities.sandbox.errors import InvalidConfiguration, ResourceLimitExceeded

TEXT_BYTES_MAX = 10 * 1024 * 1024
"""Bytes of one value that crosses: Python's form of it is ten times as large."""
DEPTH_MAX = 128

_EXACT_MAX = 1 << 53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A value without a form in Python. kind: "function", "symbol", "promise", "error", "regexp", "cycle", "date" of a
    year beyond 9999, or the type of a Map's key that Python takes for another one."""

    kind: str
    text: str = ""


def encode(value: Any) -> str:
    """JSON for the sandbox. InvalidConfiguration for what JavaScript has no form of."""
    text = json.dumps(_plain(value, 0), ensure_ascii=True, separators=(",", ":"))
    if len(text) > TEXT_BYTES_MAX:
        raise ResourceLimitExceeded("value", TEXT_BYTES_MAX, len(text))
    return text


def decode(text: str) -> Any:
    """A value that the sandbox gave. It is data of a stranger: whatever it is, nothing of it is run."""
    try:
        value = json.loads(text, object_hook=_revived)
        if text.count("[") + text.count("{") > DEPTH_MAX:
            _shallow(value)
        return value
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ResourceLimitExceeded("value", DEPTH_MAX, None, f"the script's value cannot be read: {error}") from None


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if -_EXACT_MAX <= value <= _EXACT_MAX else {"$": "i", "v": f"{value:x}"}
    if isinstance(value, float):
        return _number(value)
    if depth >= DEPTH_MAX:
        raise InvalidConfiguration(f"a value for JavaScript is nested deeper than {DEPTH_MAX}")
    if isinstance(value, Mapping):
        return _object(value, depth + 1)
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, set | frozenset):
        return {"$": "t", "v": [_plain(each, depth + 1) for each in value]}
    if isinstance(value, bytes | bytearray):
        return {"$": "b", "v": bytes(value).decode("latin-1")}
    if isinstance(value, datetime):
        return {"$": "d", "v": (value.astimezone(UTC) - _EPOCH) / timedelta(milliseconds=1)}
    raise InvalidConfiguration(
        f"{type(value).__name__} cannot be given to JavaScript; "
        "give numbers, text, bytes, datetimes, lists, dicts or sets"
    )


def _number(value: float) -> Any:
    if value != value:
        return {"$": "n", "v": "NaN"}
    if value in (float("inf"), float("-inf")):
        return {"$": "n", "v": "Infinity" if value > 0 else "-Infinity"}
    if value == 0 and str(value) == "-0.0":
        return {"$": "n", "v": "-0"}
    return value


def _object(value: Mapping[Any, Any], depth: int) -> Any:
    if not all(isinstance(key, str) for key in value):
        return {"$": "m", "v": [[_plain(key, depth), _plain(each, depth)] for key, each in value.items()]}
    if "$" in value or "__proto__" in value:
        return {"$": "o", "v": [[key, _plain(each, depth)] for key, each in value.items()]}
    return {key: _plain(each, depth) for key, each in value.items()}


def _revived(found: dict[str, Any]) -> Any:
    mark = found.get("$")
    if mark is None:
        return found
    value = found["v"]
    match mark:
        case "n":
            return float(str(value).replace("Infinity", "inf"))
        case "i":
            return int(value, 16)
        case "x":
            return Foreign(str(value), str(found["t"]))
        case "d":
            return None if value is None else _date(value, str(found.get("t", "")))
        case "b":
            return value.encode("latin-1")
        case "t":
            return list(value)
        case "m":
            return _by_key(value)
        case "o":
            return {str(key): each for key, each in value}
    raise ValueError(f"mark {mark!r}")


def _shallow(value: Any) -> None:
    """ValueError for what others could not walk through."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEPTH_MAX}")


def _date(ms: float, text: str) -> Any:
    """Python's dates are those of the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return Foreign("date", text)


_UNDEFINED = Foreign("undefined", "undefined")


def _by_key(pairs: list[Any]) -> dict[Any, Any]:
    """The entries of a Map. Keys that JavaScript tells apart and Python does not (1, true, 1n) stay apart."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        made = _key(key)
        if made == _UNDEFINED and None not in found and not any(key is None for key, _ in pairs):
            made = None
        if made in found:
            kind = {bool: "boolean", int: "bigint", float: "number"}.get(type(made), "object")
            text = str(made).lower() if isinstance(made, bool) else str(made)
            made = Foreign(kind, text)
            number = 1
            while made in found:
                number += 1
                made = Foreign(kind, f"{text} ({number})")
        found[made] = value
    return found


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool | Foreign | bytes | datetime | None) else repr(key)
