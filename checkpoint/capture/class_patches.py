"""Functions that code of the session put into classes of libraries: `pd.DataFrame.summary = summary` (worker side).

Nothing tells that a class was changed, so its attributes are looked at for what the user made, once code has run that
may have set one.
"""

from __future__ import annotations

import opcode
import types
from collections.abc import Iterator, Mapping

from checkpoint.pickling.importable import attributes_of, importable, is_python_class

_STORE_ATTR = opcode.opmap["STORE_ATTR"]
_WORDS = ("setattr", "register", "patch", "extend")


def may_patch(code: types.CodeType) -> bool:
    """Whether a statement sets an attribute of something, or calls what sounds like it."""
    return _STORE_ATTR in code.co_code[::2] or any(word in name for name in code.co_names for word in _WORDS)


def patches(namespace: Mapping[str, object]) -> Iterator[tuple[type, str, object]]:
    """Class, name and value, of classes that variables are, that are in modules that variables are, and of values."""
    seen: set[type] = set()
    for value in list(namespace.values()):
        for cls in _classes(value):
            if cls in seen:
                continue
            seen.add(cls)
            found = [(name, held) for name, held in list(vars(cls).items()) if made_by_user(held)]
            if found and cls.__module__ != "__main__" and is_python_class(cls) and importable(cls):
                yield from ((cls, name, held) for name, held in found)


def _classes(value: object) -> list[type]:
    if type(value) is types.ModuleType:
        return [held for held in list(vars(value).values()) if isinstance(held, type)]
    return [value] if isinstance(value, type) else [type(value)]


def made_by_user(value: object) -> bool:
    """Whether it is the user's, or made of what is: an accessor of pandas, a property."""
    if type(value) is types.FunctionType or isinstance(value, type):
        return value.__module__ == "__main__"
    if isinstance(value, property):
        return getattr(value.fget, "__module__", None) == "__main__"
    try:
        held = attributes_of(value).values()
        return any(getattr(one, "__module__", None) == "__main__" for one in (value, *held))
    except Exception:  # whatever it answers to that
        return False
