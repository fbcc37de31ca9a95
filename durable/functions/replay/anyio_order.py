"""anyio's scopes in the order in which they were made (specs/execution.md, L6).

anyio cancels the scopes inside one in the order of a set, which is that of their addresses: another one at each replay.
In a durable function it is theirs.
"""

from __future__ import annotations

import sys
from asyncio import events
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from durable.functions.replay.function_loop import FunctionLoop

BACKEND = "anyio._backends._asyncio"


class _InOrder(dict[Any, None]):
    """As much of a set as anyio uses."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]

    def discard(self, item: Any) -> None:
        self.pop(item, None)


def _put_in_order(backend: ModuleType) -> None:
    scope = getattr(backend, "CancelScope", None)
    if scope is None or getattr(scope.__init__, "in_order", False):
        return
    init = scope.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if isinstance(events._get_running_loop(), FunctionLoop) and type(self._child_scopes) is set:
            self._child_scopes = _InOrder()

    __init__.in_order = True  # type: ignore[attr-defined]
    scope.__init__ = __init__


class _WhenImported:
    """anyio imports its backend when it is first used, which may be inside of a function."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != BACKEND:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _put_in_order(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_waits = False


def order_scopes() -> None:
    """Put anyio's scopes in order from now on, whenever anyio is imported. Idempotent."""
    global _waits
    if BACKEND in sys.modules:
        _put_in_order(sys.modules[BACKEND])
    elif not _waits:
        _waits = True
        sys.meta_path.insert(0, _WhenImported())
