"""Where in a variable an object is, as code that a reader could write: `rows["connection"]`, `client.pool[0]`."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from checkpoint.pickling.importable import attributes_of
from checkpoint.pickling.instances import slots_of

LOOKED_AT_MAX = 50_000
"""Objects that are looked at in one variable: some tens of milliseconds."""

_KEY_CHARS_MAX = 60

type Step = tuple[str, object]


def paths(name: str, root: object, wanted: Iterable[object]) -> dict[int, str]:
    """The shortest path to each wanted object that is found, by its id."""
    missing = {id(value) for value in wanted}
    found: dict[int, str] = {}
    seen, todo = {id(root)}, deque[tuple[str, object]]([(name, root)])
    looked_at = 0
    while todo and missing and looked_at < LOOKED_AT_MAX:
        path, value = todo.popleft()
        for step, child in _steps(value):
            looked_at += 1
            if id(child) in seen:
                continue
            seen.add(id(child))
            if id(child) in missing:
                missing.remove(id(child))
                found[id(child)] = path + step
            todo.append((path + step, child))
    return found


def _steps(value: Any) -> Iterator[Step]:
    """The objects that an object holds, each with how it is reached from it."""
    cls = type(value)
    if issubclass(cls, str | bytes | int | float | types.ModuleType):
        return
    if issubclass(cls, dict):
        for key, item in list(dict.items(value)):
            yield f"[{_shown(key)}]", item
            yield f" (its key {_shown(key)})", key
    elif issubclass(cls, list | tuple | deque):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif issubclass(cls, set | frozenset):
        yield from ((" (one of its items)", item) for item in list(value))
    elif issubclass(cls, types.FunctionType):
        yield from _of_function(value)
    elif issubclass(cls, types.MethodType):
        yield ".__self__", value.__self__
    elif issubclass(cls, functools.partial):
        yield from ((f".{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
    elif issubclass(cls, type):
        yield from ((f".{name}", item) for name, item in vars(value).items())
        return
    elif issubclass(cls, BaseException):
        yield ".args", value.args
        yield ".__cause__", value.__cause__
        yield ".__context__", value.__context__
    held: Mapping[str, object] = {**attributes_of(value), **slots_of(value)}
    yield from ((f".{name}", item) for name, item in held.items())


def _of_function(function: types.FunctionType) -> Iterator[Step]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f" (its variable {name})", cell.cell_contents
        except ValueError:
            continue
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__


def _shown(key: object) -> str:
    if isinstance(key, str | bytes | int | float | tuple | frozenset):
        try:
            text = repr(key)
        except Exception:
            text = type(key).__name__
    else:
        text = type(key).__name__
    text = text if len(text) <= _KEY_CHARS_MAX else text[: _KEY_CHARS_MAX - 1] + "…"
    return text.encode("utf-8", "replace").decode()
