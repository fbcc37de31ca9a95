"""The base of frozen plain data: a class of it is made forty times sooner than a dataclass, which counts at each start.

`dataclasses.fields`, `asdict` and `replace` work on such records as on dataclasses, and values of them are recorded
the same. Not for what pydantic validates: it fills instances that it makes empty, and a struct is never empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from dataclasses import Field


class _Example(msgspec.Struct):
    items: list[str] = []


_FACTORY = type(_Example.__struct_defaults__[0])
"""The type of a default that is made anew for each record."""


class _DataclassFields:
    """The fields of a record in the words of `dataclasses`, made when they are first asked for."""

    def __init__(self) -> None:
        self._known: dict[type[msgspec.Struct], dict[str, Field[Any]]] = {}

    def __get__(self, record: object, owner: type[msgspec.Struct]) -> dict[str, Field[Any]]:
        if owner not in self._known:
            self._known[owner] = _fields_of(owner)
        return self._known[owner]


def _fields_of(owner: type[msgspec.Struct]) -> dict[str, Field[Any]]:
    from dataclasses import MISSING, field, fields, make_dataclass
    from inspect import get_annotations

    types = {name: kind for each in reversed(owner.__mro__) for name, kind in get_annotations(each).items()}
    names, defaults = owner.__struct_fields__, owner.__struct_defaults__
    described: list[tuple[str, Any, Any]] = []
    for name, default in zip(names, (msgspec.NODEFAULT,) * (len(names) - len(defaults)) + defaults, strict=True):
        factory = getattr(default, "factory", None) if type(default) is _FACTORY else None
        if factory is not None:
            described.append((name, types[name], field(default_factory=factory)))
        else:
            described.append((name, types[name], field(default=MISSING if default is msgspec.NODEFAULT else default)))
    return {each.name: each for each in fields(make_dataclass(owner.__name__, described, kw_only=True))}


class FrozenRecord(msgspec.Struct, frozen=True):
    """Plain data that does not change."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    else:
        __dataclass_fields__ = _DataclassFields()
