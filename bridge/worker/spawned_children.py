"""Processes that cells start by spawn or forkserver find the cells' functions and classes (specs/session.md, E12).

Such a child begins with an empty `__main__`. A script's is run again there; a session's is sent: its functions,
classes and imports, and the variables that those functions name, as a checkpoint of them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

SPAWN = "multiprocessing.spawn"
MAIN = "durable_main"
"""The entry of the preparation data that holds `__main__`; multiprocessing knows nothing of it."""

_LOAD = (
    "import sys\n"
    "sys.path.extend(entry for entry in {path!r} if entry not in sys.path)\n"
    "from bridge.worker.spawned_children import load\n"
    "load({payload!r})\n"
)


class Main:
    """Becomes `__main__` where it is unpickled."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        path = [entry for entry in sys.path if entry]
        return exec, (_LOAD.format(path=path, payload=self.payload), {})


def adapt(spawn: Any) -> None:
    """Let the preparation of children send `__main__` along."""
    plain = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = plain(name)
        return {**data, MAIN: Main(captured())}

    spawn.get_preparation_data = get_preparation_data


def captured() -> bytes:
    """The part of the namespace that a child needs, as a checkpoint's payload."""
    from bridge.worker.calls.capability_functions import granted
    from checkpoint.capture.incremental_capture import Capturer
    from checkpoint.lost_names import LostNames

    namespace = vars(sys.modules["__main__"])
    left_out = frozenset(namespace.keys() - needed(namespace))
    return Capturer(namespace, left_out, externals=granted(), lost=LostNames(), alone=True).capture().payload


def needed(namespace: dict[str, Any]) -> set[str]:
    """Functions, classes, modules, and what their code names, as far as that goes."""
    found = {
        name
        for name, value in namespace.items()
        if isinstance(value, types.ModuleType | types.FunctionType | type) and not name.startswith("__")
    }
    left = [code for name in found for code in _codes(namespace[name])]
    seen: set[types.CodeType] = set()
    while left:
        code = left.pop()
        if code in seen:
            continue
        seen.add(code)
        left += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        for name in code.co_names:
            if name in namespace and name not in found:
                found.add(name)
                left += _codes(namespace[name])
    return found


def _codes(value: object) -> list[types.CodeType]:
    if isinstance(value, types.FunctionType):
        return [value.__code__]
    if isinstance(value, type) and value.__module__ == "__main__":
        inner = (getattr(each, "__func__", getattr(each, "fget", each)) for each in vars(value).values())
        return [each.__code__ for each in inner if isinstance(each, types.FunctionType)]
    return []


def load(payload: bytes) -> None:
    """In the child: be that `__main__`. What cannot be loaded is missing there, as a name."""
    import random

    from checkpoint.lost_names import LOST
    from checkpoint.restore import restore_into

    module = types.ModuleType("__mp_main__")
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    restore_into(module.__dict__, payload, lost=LOST)
    random.seed()  # each child draws its own numbers
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
