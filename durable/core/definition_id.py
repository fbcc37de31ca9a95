"""The names of functions and classes in records, and where they are loaded from (specs/execution.md, Identity)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from types import ModuleType

FILE_MARK = "__durable_file__"
"""Set in modules that the command line loads from a path: the path is where their functions are."""

SOURCE = "durable:source"
"""Tag of an execution: where its function was loaded from by whoever started it."""

_METHOD = re.compile(r"(?P<owner>[^()]+)\((?P<instance>[^()]+)\)\.\w+@[0-9]+")

_MAIN = ("__main__", "__mp_main__")
"""A script, and the same script in a child that multiprocessing spawned."""

ANY_CAPABILITY = "capability:*"
"""The entry of an engine that looks for capabilities of sessions where these are defined."""


def capability_id(name: str) -> str:
    """How an engine says, among the functions that it serves, that it knows a capability of the user's own."""
    return f"capability:{name}"


CELL = "durable_execute@1"
"""The function that runs code in sessions, as engines serve it."""


def is_capability(served: str) -> bool:
    """Whether what an engine serves is one."""
    return served.startswith("capability:")


def source(module_name: str) -> str:
    """Where a module can be loaded from: its dotted name; the absolute path of a script or a loaded file."""
    module = sys.modules.get(module_name)
    marked = getattr(module, FILE_MARK, None)
    if isinstance(marked, str):
        return marked
    if module_name not in _MAIN:
        return module_name
    name = _name_of_main(module)
    if name is not None:
        return name
    path = getattr(module, "__file__", None)
    return absolute(path) if isinstance(path, str) else "__main__"


def where(module_name: str) -> str:
    """The name of a module in records: its dotted name; for a file outside of packages, the name of the file."""
    place = source(module_name)
    return where_of_file(place) if os.path.isabs(place) else place


def file_of(module_name: str) -> str | None:
    """The absolute path of the Python file of a loaded module."""
    module = sys.modules.get(module_name)
    path = getattr(module, FILE_MARK, None) or getattr(module, "__file__", None)
    return absolute(path) if isinstance(path, str) and path.endswith(".py") else None


def where_of_file(path: str) -> str:
    """The dotted name of a file that lies in a package, else the name of the file."""
    packaged = module_of_file(path)
    return os.path.basename(path) if packaged is None else packaged[0]


def module_of_file(path: str) -> tuple[str, str] | None:
    """The dotted name of a file that lies in a package (a directory with `__init__.py`), and the directory from which
    it is imported under that name; None for any other file."""
    folder, name = os.path.split(path)
    names = [] if name == "__init__.py" else [name.removesuffix(".py")]
    while os.path.isfile(os.path.join(folder, "__init__.py")) and folder != os.path.dirname(folder):
        folder, package = os.path.split(folder)
        names.insert(0, package)
    packaged = len(names) > (name != "__init__.py") and all(each.isidentifier() for each in names)
    return (".".join(names), folder) if packaged else None


def absolute(path: str) -> str:
    """An absolute path that keeps symbolic links: `current/jobs.py` goes on to name what `current` leads to.

    The working directory is taken as the shell names it, where that is the same directory: the system's own name for
    it has its links resolved.
    """
    real, shown = os.getcwd(), os.environ.get("PWD", "")
    path = os.path.join(real, path)
    if os.pardir in path.split(os.sep):
        return os.path.realpath(path)  # behind a link, `..` is not the directory before it
    path = os.path.normpath(path)
    if path.startswith(f"{real}{os.sep}") and os.path.isabs(shown) and _same_file(real, shown):
        path = os.path.normpath(os.path.join(shown, os.path.relpath(path, real)))
    return path


def _name_of_main(module: ModuleType | None) -> str | None:
    """The module's name of `python -m package.module`; None for a script."""
    name = getattr(getattr(module, "__spec__", None), "name", None)
    return name if isinstance(name, str) and name not in _MAIN else None


# -- ids: where::name@version ----------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def spellings(function: str) -> tuple[str, ...]:
    """All ids under which what is recorded under this one may be served; `where::name`, with `@version` or without.

    A file `jobs.py` and the module `jobs` are one. Records of earlier versions have the absolute path of the file.
    """
    place, separator, name = function.rpartition("::")
    return tuple(f"{each}::{name}" for each in dict.fromkeys(_spelled(place))) if separator else (function,)


def one_of_each(functions: Iterable[str]) -> list[str]:
    """These functions, each in the first spelling that is among them."""
    seen: set[str] = set()
    found = []
    for function in functions:
        if seen.isdisjoint(spellings(function)):
            found.append(function)
        seen.update(spellings(function))
    return found


def _spelled(place: str) -> Iterator[str]:
    yield place
    folder, name = os.path.split(place)
    if not name.endswith(".py"):
        if place.isidentifier():
            yield f"{place}.py"
        return
    yield name
    names = [name.removesuffix(".py")] if name != "__init__.py" else []
    while all(each.isidentifier() for each in names):
        if names:
            yield ".".join(names)
        folder, package = os.path.split(folder)
        if not package:
            return
        names.insert(0, package)


def instance_of(function: str) -> tuple[str, str] | None:
    """The class and the name of the registered object whose method a recorded function is; None for any other."""
    found = _METHOD.fullmatch(function.rpartition("::")[2])
    return None if found is None else (found["owner"], found["instance"])


def source_of(function: str, tags: Mapping[str, str]) -> str | None:
    """Where a recorded function can be loaded from; None where its id says nothing and no tag does."""
    place = function.rpartition("::")[0]
    return tags.get(SOURCE) or (place if os.path.isabs(place) else None)


def is_served(function: str, served: Collection[str]) -> bool:
    """Whether a function, by the id that is recorded, is among what engines say they serve."""
    return function in served or any(each in served for each in spellings(function))


def has_moved(recorded: str | None, found: str) -> bool:
    """Whether what is found now says better where to load from than what is recorded."""
    return recorded != found and (recorded is None or os.path.isabs(found) or not os.path.exists(recorded))


def another_program(function: str, recorded: str, other: str, found: str) -> bool:
    """Whether two functions that are known by the names of their files are of two programs.

    They are where both files are there and neither took the other's place: one that is gone was moved, and one that a
    symbolic link leads to, beside or above it, is another release.
    """
    files = all(each.rpartition("::")[0].endswith(".py") for each in (function, other))
    if not files or not os.path.exists(recorded) or not os.path.exists(found):
        return False
    recorded, found = os.path.realpath(recorded), os.path.realpath(found)
    return recorded != found and not _is_release(found, recorded)


def _is_release(path: str, other: str) -> bool:
    """Whether two paths differ in one directory, and a link beside or above it leads into one of the two."""
    shared = os.path.commonpath([path, other])
    (one, *rest), (two, *other_rest) = (os.path.relpath(each, shared).split(os.sep) for each in (path, other))
    if rest != other_rest:
        return False
    parted = {os.path.join(shared, each) for each in (one, two)}
    for folder in (shared, os.path.dirname(shared)):
        try:
            links = [entry.path for entry in os.scandir(folder) if entry.is_symlink()]
        except OSError:
            continue
        if any(f"{os.path.realpath(link)}{os.sep}".startswith(f"{each}{os.sep}") for link in links for each in parted):
            return True
    return False


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
