"""Where a function or class is defined, and as what it is served, as records name it."""

from __future__ import annotations

import os
import sys

FILE_MARK = "__durable_file__"
"""Set in modules that the command line loads from a path: the path is where their functions are."""


ANY_CAPABILITY = "capability:*"
"""What an engine says that looks for capabilities of sessions where these are defined."""


def capability_id(name: str) -> str:
    """How an engine says, among the functions that it serves, that it knows a capability of the user's own."""
    return f"capability:{name}"


def is_capability(served: str) -> bool:
    """Whether what an engine serves is one."""
    return served.startswith("capability:")


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
