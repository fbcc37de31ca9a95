"""Which cell defined a class: Python notes it for functions only. Found in the remembered sources when asked."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Iterator
from weakref import WeakKeyDictionary

CELL = "<cell "
"""Starts the file name of every cell."""

IMPORTING: set[str] = set()
"""File names of the cells that have a `from … import …`: their text is saved, to tell later what was imported."""

_found: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def note_imports(filename: str, text: str) -> None:
    """Remember a cell that may have a `from … import …`."""
    if "import" in text and "from" in text:
        IMPORTING.add(filename)
    else:
        IMPORTING.discard(filename)


def cell_of(cls: type) -> str | None:
    """The file name of the cell that defined this class of `__main__`; None when no remembered cell did."""
    try:
        known = _found.get(cls)
    except TypeError:  # a metaclass whose classes cannot be hashed
        return _look(cls)
    if known is None:
        known = _look(cls)
        if known is not None:
            _found[cls] = known
    return known


def _look(cls: type) -> str | None:
    for value in vars(cls).values():
        code = getattr(getattr(value, "__func__", getattr(value, "fget", value)), "__code__", None)
        if isinstance(code, types.CodeType) and _begins(code, cls) and code.co_filename in linecache.cache:
            return code.co_filename
    name, line = cls.__qualname__, getattr(cls, "__firstlineno__", None)
    for filename, entry in reversed(list(linecache.cache.items())):
        if filename.startswith(CELL) and len(entry) == 4:
            text = "".join(entry[2])
            if f"class {cls.__name__}" in text and any(
                one == name and line in (None, first) for one, first in _classes(text)
            ):
                return filename
    return None


def _begins(code: types.CodeType, cls: type) -> bool:
    """Defined in the class's own body, not a function of another place that is its attribute."""
    return code.co_filename.startswith(CELL) and code.co_qualname.rpartition(".")[0] == cls.__qualname__


def _classes(text: str) -> Iterator[tuple[str, int]]:
    """Qualified names and first lines (of a decorator, if any) of the classes in a text."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    left: list[tuple[ast.AST, str]] = [(tree, "")]
    while left:
        node, prefix = left.pop()
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.ClassDef):
                yield prefix + child.name, min([child.lineno, *(one.lineno for one in child.decorator_list)])
                inner = f"{prefix}{child.name}."
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{prefix}{child.name}.<locals>."
            left.append((child, inner))
