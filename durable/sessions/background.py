"""Work beside a pass that nobody awaits: its errors are told where they belong, by the pass itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def beside(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run it as a task whose error is no warning."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_retrieved)
    return task


def _retrieved(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
