"""Tasks that nobody awaits: their errors are told where they belong, by the task itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def beside(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run it as a task whose error is no warning."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(retrieved)
    return task


def eager_task[R](work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """Run it as a task, up to its first wait before this returns."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)


def retrieved(done: asyncio.Future[Any]) -> None:
    """Take the error of a future that nobody awaits, so that it is no warning."""
    if not done.cancelled():
        done.exception()
