"""Facts of a class, an object with a name, or a text, that can be told without asking it."""

from __future__ import annotations

import sys
import types

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: made while the program runs."""

_NAME_CHARS_MAX = 100

_IMMUTABLE_TYPE = 1 << 8
"""Py_TPFLAGS_IMMUTABLETYPE: of those, one that C code made."""


def importable(value: object, name: str | None = None) -> bool:
    """Whether `value` is found by its module and (qualified) name in any process."""
    module_name, qualified = getattr(value, "__module__", None), name or getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(qualified, str) or module_name == "__main__":
        return False
    found: object = sys.modules.get(module_name)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found is not None and found is value


def is_python_class(cls: type) -> bool:
    """Whether a class statement made it; what C code made is told apart."""
    if not cls.__flags__ & _HEAP_TYPE or cls.__flags__ & _IMMUTABLE_TYPE:
        return False
    return getattr(vars(cls).get("__new__"), "__self__", None) is not cls  # C's own, of a class that is not immutable


def python_line(cls: type) -> list[type]:
    """The class and those of its bases that class statements made, in the order of look-ups."""
    return [base for base in cls.__mro__ if is_python_class(base)]


def defined(cls: type, name: str) -> object:
    """The attribute under a name in the class or the first of its bases that has it; None when nothing does.

    No descriptor is asked, since it may make something new each time.
    """
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def attributes_of(value: object) -> dict[str, object]:
    """The contents of the instance's own namespace, whatever it says of it; empty when it has none."""
    for base in type(value).__mro__:
        found = vars(base).get("__dict__")
        if isinstance(found, types.GetSetDescriptorType):
            own: dict[str, object] = found.__get__(value)
            return own
    return {}


def module_of(value: object) -> types.ModuleType | None:
    """The module whose namespace this is: one that an import gives, but not the session's nor the builtins."""
    if type(value) is not dict or "__spec__" not in value:
        return None
    name = value.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) and name not in ("__main__", "builtins") else None
    known = type(module) is types.ModuleType and vars(module) is value and module.__name__ == name
    return module if known else None


def is_made_by_hand(module: types.ModuleType) -> bool:
    """Whether no import gives it in another process."""
    return vars(module).get("__spec__") is None and "__file__" not in vars(module) and module.__name__ != "__main__"


def kept_once(text: str) -> bool:
    """Whether Python keeps one of it where it is a constant: texts that look like names."""
    return len(text) <= _NAME_CHARS_MAX and text.isascii() and text.replace("_", "a").isalnum()
