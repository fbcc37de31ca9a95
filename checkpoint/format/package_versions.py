"""Which Python and which packages a namespace was made with, and what is different here (specs/checkpoint.md).

Recorded are the packages that variables come from: what they are instances of, what they name. A package that only
functions of the session import is found missing when they run, as it would be without a checkpoint.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import types
from collections.abc import Mapping

from checkpoint.format.payload import PYTHON, TEXT_CHARS_MAX, Contents
from durable.core.errors import CheckpointError

_OURS = frozenset({"durable", "bridge", "checkpoint", "capabilities", "__main__", "builtins"})
_NAMED = (types.FunctionType, types.BuiltinFunctionType, type)
_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_versions: dict[str, str] = {}


def packages(namespace: Mapping[str, object]) -> dict[str, str]:
    """The versions of the packages that these variables come from, by their import names, sorted."""
    roots: set[str] = set()
    kinds: set[type] = set()
    for value in list(namespace.values()):
        kinds.add(type(value))
        if isinstance(value, types.ModuleType):
            roots.add(value.__name__.partition(".")[0])
        elif isinstance(value, _NAMED) and isinstance(module := getattr(value, "__module__", None), str):
            roots.add(module.partition(".")[0])
    for kind in kinds:
        module = kind.__dict__.get("__module__", kind.__module__)
        if isinstance(module, str):
            roots.add(module.partition(".")[0])
    found = {root: version_of(root) for root in sorted(roots - _OURS - sys.stdlib_module_names)}
    return {root: version for root, version in found.items() if version}


def version_of(root: str) -> str:
    """The version loaded or installed under that import name; empty when it does not say, or is not there."""
    known = _versions.get(root)
    if known is None:
        loaded = getattr(sys.modules.get(root), "__version__", None)
        known = loaded if isinstance(loaded, str) else _installed(root)
        _versions[root] = known = known[:TEXT_CHARS_MAX]
    return known


def _installed(root: str) -> str:
    try:
        return importlib.metadata.version(root)
    except importlib.metadata.PackageNotFoundError:
        for name in importlib.metadata.packages_distributions().get(root, ()):
            return importlib.metadata.version(name)
        return ""


def differences(contents: Contents) -> list[str]:
    """The differences that keep a checkpoint from being restored here, as texts; empty when there are none.

    Another minor version of Python; a package that is missing, or whose first number that is not zero is another one.
    """
    found = [] if contents.python == PYTHON else [f"Python {contents.python}, here {PYTHON}"]
    for root, version in contents.packages.items():
        here = version_of(root)
        if not here:
            found.append(f"{root} {version}, not installed here")
        elif _line(here) != _line(version):
            found.append(f"{root} {version}, here {here}")
    return found


def check(contents: Contents, what: str = "the checkpoint") -> None:
    """Refuse (CheckpointError) what was made in an environment that this one is not like."""
    if found := differences(contents):
        raise CheckpointError(
            f"{what} was made with {'; '.join(found)}. Install what it was made with, or restore it as it is with "
            "override_environment=True (`durable resume --override-environment`, DURABLE_OVERRIDE_ENVIRONMENT=1): what "
            "cannot be loaded is then lost, and named"
        )


def _line(version: str) -> tuple[int, ...]:
    """The version up to its first number that is not zero: within that, newer ones read what older ones wrote."""
    match = _RELEASE.match(version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    for place, number in enumerate(numbers):
        if number:
            return tuple(numbers[: place + 1])
    return tuple(numbers)
