"""The interpreter's own state: random generators, working directory, environment, search path, loaded submodules.

The baseline is what the process had when the package was imported; of the environment only the difference to it is
saved (a checkpoint does not carry the machine's secrets to another).
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from checkpoint import STARTED_ENVIRONMENT, STARTED_PATH, STARTED_RECURSION
from checkpoint.capture.class_sources import note_imports

type State = dict[str, Any]

_ENVIRONMENT = type(os.environ)
_last: State = {}
"""The bytes of the environment when its changes were read last, and these."""


def read_state(packages: Iterable[str]) -> State:
    """The state as picklable values; `packages` are the modules whose loaded submodules matter."""
    state: State = {}
    state["cwd"] = _directory()
    state.update(_environment())
    if sys.path != STARTED_PATH:
        state["path"] = [entry for entry in sys.path if isinstance(entry, str)]
    if sys.getrecursionlimit() != STARTED_RECURSION:
        state["recursion"] = sys.getrecursionlimit()
    if (random := sys.modules.get("random")) is not None:
        state["random"] = random.getstate()
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        name, key, *rest = numpy_random.get_state(legacy=True)
        state["numpy"] = (name, key.tobytes(), key.dtype.str, *rest)
    state["submodules"] = _submodules(tuple(f"{package}." for package in sorted(packages)), len(sys.modules))
    return state


def _environment() -> State:
    """The changes of the environment. What it decodes to is the same as long as its bytes are."""
    raw = getattr(os.environ, "_data", None)
    if type(raw) is not dict or type(os.environ) is not _ENVIRONMENT:
        return _changes_of(dict(os.environ))
    if _last.get("raw") != raw:
        _last.update(raw=dict(raw), changes=_changes_of(dict(os.environ)))
    return dict(_last["changes"])


def _changes_of(now: dict[str, str]) -> State:
    if now == STARTED_ENVIRONMENT:
        return {}
    changed = {name: value for name, value in now.items() if STARTED_ENVIRONMENT.get(name) != value}
    return {"environ": changed, "unset": sorted(STARTED_ENVIRONMENT.keys() - now.keys())}


def _directory() -> str:
    """The working directory; one that was deleted under its old name, so that a restore says it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return os.readlink("/proc/self/cwd").removesuffix(" (deleted)")


@lru_cache(maxsize=4)
def _submodules(prefixes: tuple[str, ...], _loaded: int) -> list[str]:
    """Names of loaded modules; asked anew when something was imported since."""
    return [name for name in sorted(sys.modules) if name.startswith(prefixes)] if prefixes else []


def prepare(state: State) -> list[str]:
    """Apply what imports and unpickling may depend on; returns what could not be applied."""
    failed: list[str] = []
    if "path" in state:
        saved = list(state["path"])
        sys.path[:] = saved + [entry for entry in sys.path if entry not in saved]
    if "cwd" in state:
        try:
            os.chdir(state["cwd"])
        except OSError as error:
            failed.append(f"the working directory {state['cwd']}: {error.strerror}")
    os.environ.update(state.get("environ", {}))
    for name in state.get("unset", ()):
        os.environ.pop(name, None)
    if "TZ" in state.get("environ", {}) or "TZ" in state.get("unset", ()):
        time.tzset()
    return failed


def finish(state: State) -> list[str]:
    """Apply the rest, after everything is loaded (loading may draw random numbers); returns what failed."""
    failed: list[str] = []
    for name in state.get("submodules", ()):
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception as error:
                failed.append(f"the module {name}: {error}")
    if "recursion" in state:
        sys.setrecursionlimit(state["recursion"])
    if "random" in state:
        import random

        random.setstate(state["random"])
    if "numpy" in state:
        try:
            import numpy
        except ImportError as error:
            failed.append(f"numpy's random generator: {error}")
        else:
            name, data, dtype, *rest = state["numpy"]
            numpy.random.set_state((name, numpy.frombuffer(data, dtype), *rest))
    return failed


class StateRollback:
    """Remembers the state that a restore may change, and puts it back."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._state = read_state(())

    def __call__(self) -> None:
        """Back to what it was when this was made."""
        sys.path[:] = self._path
        os.environ.clear()
        os.environ.update(self._environment)
        with suppress(OSError):  # it was gone
            os.chdir(self._state["cwd"])
        finish({key: value for key, value in self._state.items() if key in ("random", "numpy")})
        sys.setrecursionlimit(self._state.get("recursion", STARTED_RECURSION))


def read_sources(filenames: Iterable[str]) -> dict[str, str]:
    """The text of cells that saved functions come from, for tracebacks and inspect.getsource."""
    sources: dict[str, str] = {}
    for filename in sorted(filenames):
        entry = linecache.cache.get(filename)
        if entry is not None and len(entry) == 4 and entry[1] is None:
            sources[filename] = "".join(entry[2])
    return sources


def apply_sources(sources: dict[str, str]) -> None:
    """Put the text of cells back; text that is there already stays."""
    for filename, text in sources.items():
        note_imports(filename, text)
        linecache.cache.setdefault(filename, (len(text), None, text.splitlines(keepends=True), filename))
