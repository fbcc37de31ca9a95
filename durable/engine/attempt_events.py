"""The attempts of this engine at executions, as its observers are told of them: each begins once and ends once."""

from __future__ import annotations

from collections.abc import Sequence

from durable.core.agent_tool import TOOL, TOOL_CALL
from durable.core.events import ExecutionLeft, ExecutionSettled, ExecutionStarted, ExecutionWaiting
from durable.core.ids import PREFIX, TRACEPARENT
from durable.core.observers import Observers
from durable.functions.resonate.sdk import PromiseRecord
from durable.sessions.execution.cell import FUNCTION_ID


class AttemptEvents:
    """The attempts under way, by the promise of their execution. Nothing is kept where nobody watches."""

    def __init__(self, observer: Observers) -> None:
        self._observer = observer
        self._versions: dict[str, int] = {}

    def begins(self, promise: PromiseRecord, version: int) -> None:
        """Tell of an attempt, in its own context. `version`: of the lease, which counts the attempts."""
        if not self._observer.watching:
            return
        self._versions[promise.id] = version
        tags = promise.tags
        session, function = tags.get("durable:session", ""), tags.get("durable:function", "")
        started = ExecutionStarted(
            promise.id.removeprefix(PREFIX),
            version,
            "" if function == FUNCTION_ID else function.rpartition("@")[0],
            session,
            promise.created_at,
            tags.get(TRACEPARENT, ""),
            tags.get(TOOL, ""),
            tags.get(TOOL_CALL, ""),
        )
        self._observer(started)

    def waits(self, id: str, promises: Sequence[str]) -> None:
        """The execution waits for these."""
        version = self._versions.pop(id, None)
        if version is not None:
            waits = tuple(promise.removeprefix(PREFIX) for promise in promises)
            self._observer(ExecutionWaiting(id.removeprefix(PREFIX), version, waits))

    def settled(self, id: str, state: str) -> None:
        """The execution has its result."""
        version = self._versions.pop(id, None)
        if version is not None:
            self._observer(ExecutionSettled(id.removeprefix(PREFIX), version, state))

    def given_up(self, id: str) -> None:
        """The attempt failed, was halted or lost its lease, which is told by whoever records that."""
        self._versions.pop(id, None)

    def ended(self, id: str) -> None:
        """The attempt is over; where nothing was told of its end, the engine is being closed."""
        version = self._versions.pop(id, None)
        if version is not None:
            self._observer(ExecutionLeft(id.removeprefix(PREFIX), version))
