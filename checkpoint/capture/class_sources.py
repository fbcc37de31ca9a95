"""Which cell defined a class, and what was imported: Python notes neither. Found in the cells when asked."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Container, Iterator
from weakref import WeakKeyDictionary

CELL = "<cell "
"""Starts the file name of every cell."""

IMPORTS = "<cell imports of earlier cells>"
"""The file name of the statements that a checkpoint saves of cells that only imported; no execution has this id."""

_unread: dict[str, str] = {}
"""The texts, by file name, of cells that may have a `from … import …`, until somebody asks."""

_statements: dict[str, str] = {}
"""By the name that it binds, the newest `from … import …` of the cells."""

_found: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def note_imports(filename: str, text: str) -> None:
    """Remember a cell that may have a `from … import …`."""
    if "import" in text and "from" in text:
        _unread[filename] = text


def imports_of(names: Container[str]) -> str:
    """The `from` imports of all cells that bound one of these names: a line for each, the newest.

    They are few. The cells' texts are as many as there were cells, and a checkpoint would carry them all.
    """
    for filename in list(_unread):
        _statements.update((name, statement) for statement, name in _imported(_unread.pop(filename)))
    return "\n".join(sorted(statement for name, statement in _statements.items() if name in names))


def _imported(text: str) -> Iterator[tuple[str, str]]:
    """The `from` imports of a cell, each of one name, with the name that it binds."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield ast.unparse(ast.ImportFrom(node.module, [alias], node.level)), alias.asname or alias.name


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
