"""The forms in which a value leaves the worker: plain JSON, or nothing, and a bounded repr (E7)."""

from __future__ import annotations

from math import isfinite

from bridge.protocol.decoded_size import ITEM_BYTES
from bridge.worker.namespace.bounded_repr import CONTAINERS, is_plain_dataclass, raised, shortened
from bridge.worker.namespace.time_limit import OutOfTime, within
from durable.core.limits import REPR_CHARS_MAX, REPR_S, VALUE_BYTES_MAX

DEPTH_MAX = 64
"""Nesting of a JSON value; deeper ones overrun readers' stacks."""


class NotJson(Exception):
    """The value is not plain JSON."""


def to_json(value: object) -> object:
    """A copy of `value` made of None, bool, int, float, str, list and dict only. Raises NotJson otherwise."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int and -(2**63) <= value < 2**64:  # type: ignore[operator]
        return value
    budget = [VALUE_BYTES_MAX]
    return _convert(value, DEPTH_MAX, budget)


def _convert(value: object, depth: int, budget: list[int]) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, budget)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise NotJson("an integer beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise NotJson("a number that is not finite")
        return float(value)
    kind = type(value)
    if kind in (list, tuple, dict):
        budget[0] -= ITEM_BYTES * len(value)  # type: ignore[arg-type]
    if depth == 0 or budget[0] < 0:
        raise NotJson("too deep or too large")
    if kind is list or kind is tuple:
        return [_convert(item, depth - 1, budget) for item in value]  # type: ignore[attr-defined]
    if kind is dict:
        return {_key(key, budget): _convert(item, depth - 1, budget) for key, item in value.items()}  # type: ignore[attr-defined]
    raise NotJson(f"a {kind.__qualname__}")


def _text(value: str, budget: list[int]) -> str:
    budget[0] -= len(value)
    if budget[0] < 0:
        raise NotJson("too large")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotJson("text with surrogates") from None
    return str.__str__(value)  # not what an Enum calls its text


def _key(key: object, budget: list[int]) -> str:
    if type(key) is not str:
        raise NotJson("a key that is not text")
    return _text(key, budget)


def cut(text: str, chars_max: int = REPR_CHARS_MAX) -> str:
    """`text` with its middle left out when it is longer, and without surrogates."""
    if len(text) > chars_max:
        half = chars_max // 2 - 20
        text = f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def bounded_repr(value: object, chars_max: int = REPR_CHARS_MAX, seconds: float = REPR_S) -> str:
    """`repr(value)`, bounded in size and time (R1, R2); a repr that raises says so. KeyboardInterrupt passes."""
    if value is None:
        return ""
    kind = type(value)
    if kind in _QUICK or (kind is str and len(value) <= chars_max):  # type: ignore[arg-type]
        return cut(_plain(value), chars_max)
    try:
        if kind in CONTAINERS or kind in (str, bytes) or is_plain_dataclass(kind):
            text = shortened(value, chars_max - 40, seconds)
        else:
            with within(seconds):
                text = repr(value)
        return cut(text, chars_max)
    except KeyboardInterrupt:
        raise
    except OutOfTime:
        return cut(f"<{kind.__qualname__} object whose repr took longer than {seconds:g} s>", chars_max)
    except BaseException as error:
        return cut(raised(value, error), chars_max)


_QUICK = frozenset({int, float, bool, complex})


def _plain(value: object) -> str:
    try:
        return repr(value)
    except ValueError as error:  # an integer of thousands of digits
        return raised(value, error)
