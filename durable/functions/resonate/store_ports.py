"""The requests about tasks, and those under their leases, to a store in this process, without JSON in between.

The SDK's Sender does the same through an envelope of JSON; against a store that lives here that costs more than the
store. A store elsewhere goes through the Sender (http_ports.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec
from resonate.error import PlatformError
from resonate.types import PromiseCreateReq, PromiseRecord, PromiseRegisterCallbackData, PromiseSettleReq, TaskRecord
from resonate_base import ResonateError

from durable.core.errors import DurableError, EngineFailed
from durable.core.frozen_record import FrozenRecord
from durable.functions.resonate.fence import Fence, answered, fenced
from durable.store.direct_store import DirectStore
from durable.store.protocol.requests import (
    ActionCallback,
    ActionSettle,
    ActorFulfill,
    Answer,
    PromiseCreate,
    PromiseSettle,
    RegisterCallback,
    TaskAcquire,
    TaskFulfill,
    TaskSuspend,
    Value,
)

type SuspendResult = Literal["suspended", "redirect"]
"""Whether the task is suspended, or goes on at once, since something that it waits for has settled already."""


class AcquiredTask(msgspec.Struct, frozen=True):
    """A task that was acquired, with its promise. As the SDK's TaskAcquireResult has them."""

    task: TaskRecord
    promise: PromiseRecord
    record: dict[str, Any] | None = None
    """Its first BEGUN_ROWS of what is recorded, as `call.list` gives them; None where they are to be asked for."""


class FencedPromise(msgspec.Struct, frozen=True):
    """A promise as it is after a write under a lease. As the SDK's TaskFenceResult has it."""

    promise: PromiseRecord


class HaltTask(ResonateError):
    """Ends an attempt by halting its task instead of releasing it: the promise stays pending, `resume` goes on."""

    def __init__(self, error: DurableError) -> None:
        self.error = error
        super().__init__(str(error))


class HandedBack(ResonateError):
    """Ends an attempt that this engine cannot make (another one may): nothing is counted."""


def internal(what: str, error: Exception) -> ResonateError:
    """The error of the engine's own that ends an attempt: it counts, and is the last error of what is lost."""
    return ResonateError(str(error if isinstance(error, EngineFailed) else EngineFailed(what, error)))


class Suspension(FrozenRecord, frozen=True):
    """The remains of a pass: lines that each function has logged, and whether it heard of a cancellation."""

    logged: dict[str, int] = msgspec.field(default_factory=dict)
    cancelled: bool | None = None

    def logged_json(self) -> str | None:
        return msgspec.json.encode(self.logged).decode() if self.logged else None


class Lifecycle(Protocol):
    """The engine's side of an attempt's end."""

    async def release(self, id: str, version: int, error: BaseException | None) -> None:
        """The attempt ended without an outcome, for this reason."""

    def epoch_of(self, id: str) -> int | None:
        """For a cell: the epoch of its session under which it was run."""

    def saves_of(self, id: str) -> dict[str, Any] | None:
        """For a turn of an actor: what is saved with its end."""

    def suspension(self, id: str) -> Suspension:
        """The remains of the pass of a task that is to be suspended now."""

    def suspended(self, id: str, waits: Sequence[str]) -> None:
        """The task is suspended until one of these promises is settled: the next pass begins under a new lease."""

    def begins(self, promise: PromiseRecord, version: int) -> None:
        """An attempt begins, under this lease."""

    def fulfilled(self, id: str, state: str) -> None:
        """The task is fulfilled: its promise is settled, with this state."""

    def ended(self, id: str) -> None:
        """The attempt is over, however it ended."""


class StorePorts:
    """The ports of a task runner (task_runner.py) onto a Store."""

    def __init__(self, store: DirectStore, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle

    def fence(self, id: str, version: int) -> Fence:
        """The writer under this lease, for its holder."""
        return Fence(self._store, id, version)

    async def _send(self, kind: str, request: msgspec.Struct) -> tuple[int, dict[str, Any]]:
        return await answered(self._store.enqueue(kind, request))

    async def task_acquire(self, id: str, version: int, pid: str, ttl: int) -> AcquiredTask:
        request = TaskAcquire(id=id, version=version, pid=pid, ttl=ttl, record=True)
        # Internal: a power cut that loses this lease ends the engine that has it, too.
        _, data = await answered(self._store.enqueue("task.acquire", request, internal=True))
        return AcquiredTask(msgspec.convert(data["task"], TaskRecord), record_of(data["promise"]), data["record"])

    async def task_fulfill(self, id: str, version: int, action: PromiseSettleReq) -> PromiseRecord:
        settle = ActionSettle(kind="promise.settle", data=_settle(action))
        epoch = self._lifecycle.epoch_of(id)
        fulfill = TaskFulfill(id=id, version=version, action=settle, epoch=epoch)
        saves = self._lifecycle.saves_of(id)
        if saves is None:
            _, data = await self._send("task.fulfill", fulfill)
        else:
            _, data = await self._send("actor.fulfill", ActorFulfill(task=fulfill, **saves))
        record = record_of(data["promise"])
        self._lifecycle.fulfilled(id, record.state)
        return record

    async def task_suspend(self, id: str, version: int, actions: list[PromiseRegisterCallbackData]) -> SuspendResult:
        request = suspend_request(id, version, actions, self._lifecycle.suspension(id))
        found = suspend_result(await answered(self._store.enqueue("task.suspend", request)))
        if found == "suspended":
            self._lifecycle.suspended(id, [action.awaited for action in actions])
        return found

    async def task_release(self, id: str, version: int) -> None:
        await self._lifecycle.release(id, version, release_reason())

    async def task_fence_create(self, id: str, version: int, req: PromiseCreateReq) -> FencedPromise:
        create = PromiseCreate(id=req.id, timeout_at=req.timeout_at, param=_value(req.param), tags=req.tags)
        return FencedPromise(record_of(await fenced(self.fence(id, version).create(create))))

    async def task_fence_settle(self, id: str, version: int, req: PromiseSettleReq) -> FencedPromise:
        found = await fenced(self.fence(id, version).settle(_settle(req)))
        return FencedPromise(record_of(found))


def suspend_request(id: str, version: int, actions: list[PromiseRegisterCallbackData], left: Suspension) -> TaskSuspend:
    """The SDK's request, with the remains of the pass."""
    callbacks = [
        ActionCallback(
            kind="promise.register_callback", data=RegisterCallback(awaited=one.awaited, awaiter=one.awaiter)
        )
        for one in actions
    ]
    return TaskSuspend(id=id, version=version, actions=callbacks, logged=left.logged_json(), cancelled=left.cancelled)


def suspend_result(answer: Answer) -> SuspendResult:
    """How the answer ends the pass."""
    return "redirect" if answer.status == 300 else "suspended"


def release_reason() -> BaseException | None:
    """Why a task is released now: the runner does so inside its `except` block, so that error is being handled."""
    error = sys.exception()
    if isinstance(error, PlatformError):
        return next((cause for cause in error.causes if isinstance(cause, HaltTask | HandedBack)), error.cause)
    return error


def record_of(promise: dict[str, Any]) -> PromiseRecord:
    """The SDK's record of a promise as the store returns it."""
    return msgspec.convert(promise, PromiseRecord)


def _settle(req: PromiseSettleReq) -> PromiseSettle:
    return PromiseSettle(id=req.id, state=req.state, value=_value(req.value))


def _value(value: Any) -> Value:
    return Value(headers=value.headers, data=value.data)
