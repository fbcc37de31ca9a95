"""The lines that `inspect` and tracebacks show (specs/session.md E9)."""

from __future__ import annotations

import functools
import inspect
import linecache

from checkpoint.cells import cell_of


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
