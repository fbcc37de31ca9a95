"""How a host call is settled, and which calls are being performed now: for sessions and for foreign code alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from capabilities.capability import Capability
from durable.core.background import retrieved
from durable.functions.failures import document
from durable.records.values import pack

type Settlement = dict[str, Any]
"""The state and value that a call's promise is settled with."""


def succeeded(capability: Capability, value: Any) -> Settlement:
    """A call that was performed; of a `send_only` capability the value is not kept."""
    return {"state": "resolved", "value": {"data": pack(None if capability.kind == "send_only" else value)}}


def failed_with(found: dict[str, Any]) -> Settlement:
    """A call that failed, with this error document."""
    return {"state": "rejected", "value": {"data": pack({"__type": "error", "message": json.dumps(found)})}}


def failed_by(raised: Exception, execution_id: str) -> Settlement:
    """A call that raised."""
    return failed_with(document(raised, execution_id))


class CallsUnderWay:
    """Calls that are being performed, by promise id: a replay joins the one that its dead run began."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[dict[str, Any]]] = {}

    def join(
        self, promise_id: str, perform: Callable[[], Coroutine[Any, Any, dict[str, Any]]]
    ) -> asyncio.Task[dict[str, Any]]:
        """The call with this promise; begun with `perform` where it is not under way. Its settled promise."""
        task = self._tasks.get(promise_id)
        if task is None:
            task = self._tasks[promise_id] = asyncio.create_task(perform())
            task.add_done_callback(lambda _: self._tasks.pop(promise_id, None))
            task.add_done_callback(retrieved)  # whoever waits for the call has its error
        return task

    async def cancel(self) -> None:
        """Cancel all, and return when they have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
