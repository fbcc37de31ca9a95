"""WIT values that Python has not: variants, results, options of options; and what is said of a value that is no such.

| WIT | Python |
|---|---|
| bool, char, string | bool, str of one character, str |
| u8 … s64, f32, f64 | int within its range, float |
| list<u8>, list<T> | bytes, list |
| tuple, record | tuple, dict by field (`-` is `_`; objects with such attributes are taken too) |
| enum, flags | str, frozenset of str |
| variant | Variant(tag, value) |
| option<T> | None or the value; Some(value) where T is an option itself |
| result<T, E> | Ok(value) or Err(value) |
| own, borrow | Handle, or the host's own object |

As JSON (`plain`, and taken as well where a component's value is given): {"tag", "value"}, {"ok"}, {"err"}, {"some"},
{"base64"}. What scripts give has two forms more: a text for a datetime, {"map"} with pairs where a key is no text.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from capabilities.sandbox.errors import ExecutionFailed, SandboxError


@dataclass(frozen=True, slots=True)
class Variant:
    """A case of a variant, with its value when it has one."""

    tag: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Some:
    """The inner value of an option of an option."""

    value: Any


@dataclass(frozen=True, slots=True)
class Ok:
    """The good case of a result."""

    value: Any = None


class Err(SandboxError):
    """The bad case of a result: returned inside values, raised where it is what a function gives."""

    code = "COMPONENT_ERR"
    about = ("value",)

    def __init__(self, value: Any = None) -> None:
        super().__init__(f"the component answered with an error: {value!r}")
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Err) and other.value == self.value

    def __hash__(self) -> int:
        return hash(Err)


def plain(value: Any) -> Any:
    """A value that foreign code gave, as JSON has it; a component's is taken back in the same place."""
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case set() | frozenset():
            return [plain(each) for each in sorted(value, key=repr)]
        case list() | tuple():
            return [plain(each) for each in value]
        case dict() if not all(isinstance(key, str) for key in value):
            return {"map": [[plain(key), plain(each)] for key, each in value.items()]}
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case Variant():
            return {"tag": value.tag} if value.value is None else {"tag": value.tag, "value": plain(value.value)}
        case Some():
            return {"some": plain(value.value)}
        case Ok():
            return {"ok": plain(value.value)}
        case Err():
            return {"err": plain(value.value)}
    return value


class Misfit(Exception):
    """A value that is not of its type; `where` grows outwards."""

    def __init__(self, says: str, where: str = "") -> None:
        super().__init__(says)
        self.says = says
        self.where = where

    def at(self, place: str) -> Misfit:
        """The same, seen from one level further out."""
        return Misfit(self.says, place + self.where)

    def failure(self, function: str) -> ExecutionFailed:
        """As the caller gets it."""
        return ExecutionFailed(function, f"type mismatch: {self.where.lstrip('.')}: {self.says}")
