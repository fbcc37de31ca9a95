"""Work beside a pass that nobody awaits: its errors are told where they belong, by the pass itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from durable.core.errors import DurableError


def beside(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run it as a task whose error is no warning."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_retrieved)
    return task


def _retrieved(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


class Failing:
    """A guard that ends the attempt on an error without a meaning of its own: `ends` gives the work."""

    def __init__(self, ends: Callable[[Exception], Coroutine[Any, Any, None] | None]) -> None:
        self._ends = ends

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, DurableError):
            work = self._ends(error)
            if work is not None:
                beside(work)
