"""Sources of a namespace's functions, classes and imports, found in the cells when asked (specs/namespace.md).

Also the lines that `inspect` and tracebacks show (specs/session.md, E9)."""

from __future__ import annotations

import functools
import inspect
import linecache
import textwrap
import types
from collections.abc import Mapping
from typing import TypedDict

from checkpoint.capture.class_sources import CELL, cell_of, imports_of


def install() -> None:
    """Let `inspect` find the cell of a class of `__main__`, which has no file; forget the lines of `python -c`."""
    linecache.cache.pop("<string>", None)  # or tracebacks of code that `exec` runs would show our start
    plain = inspect.getfile

    @functools.wraps(plain)
    def getfile(object: object) -> str:
        if isinstance(object, type) and object.__module__ == "__main__":
            found = cell_of(object)
            if found is not None:
                return found
        return plain(object)  # type: ignore[arg-type]

    inspect.getfile = getfile


SOURCE_CHARS_MAX = 100_000
"""One function's or class's text; longer ones are cut."""


class SourceTexts(TypedDict):
    """Text by name, and import statements, one name each."""

    functions: dict[str, str]
    classes: dict[str, str]
    imports: list[str]


def sources_of(namespace: Mapping[str, object]) -> SourceTexts:
    """Of the functions and classes that cells defined their text, and the imports whose names are there."""
    functions: dict[str, str] = {}
    classes: dict[str, str] = {}
    others = {name for name, value in namespace.items() if not isinstance(value, types.ModuleType)}
    imports = set(imports_of(others).splitlines())
    for name, value in namespace.items():
        if isinstance(value, types.ModuleType):
            imports.add(_import_of(name, value))
        elif isinstance(value, types.FunctionType | type) and value.__module__ == "__main__":
            text = _text(value)
            if text is not None:
                (classes if isinstance(value, type) else functions)[name] = text
    return {"functions": functions, "classes": classes, "imports": sorted(imports)}


def _text(value: types.FunctionType | type) -> str | None:
    try:
        if not (inspect.getsourcefile(value) or "").startswith(CELL):
            return None
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError, SyntaxError):  # made by exec, or of a cell that is forgotten
        return None
    return text[:SOURCE_CHARS_MAX].encode(errors="replace").decode()


def _import_of(name: str, module: types.ModuleType) -> str:
    whole = module.__name__
    first, _, rest = whole.partition(".")
    if name == first and not rest:
        return f"import {whole}"
    return f"import {whole} as {name}"
