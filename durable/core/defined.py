"""Where a function or class is defined, as the record names it."""

from __future__ import annotations

import os
import sys

FILE_MARK = "__durable_file__"
"""Set in modules that the command line loads from a path: the path is where their functions are."""


def where(module_name: str) -> str:
    """The module's dotted name; the absolute path of the file of a script, or of one that the command line loaded."""
    module = sys.modules.get(module_name)
    marked = getattr(module, FILE_MARK, None)
    if isinstance(marked, str):
        return marked
    if module_name == "__main__":
        path = getattr(module, "__file__", None)
        return os.path.realpath(path) if isinstance(path, str) else "__main__"
    return module_name
