"""The SDK's ports onto a store elsewhere: its own Sender, and the engine's say in how an attempt ends."""

from __future__ import annotations

from resonate.send import Sender, SuspendResult, TaskAcquireResult, TaskFenceResult, TaskRef
from resonate.types import PromiseCreateReq, PromiseRecord, PromiseRegisterCallbackData, PromiseSettleReq

from durable.functions.ports import Lifecycle, release_reason


class SenderPorts:
    """`TaskLifecycle`, `PromiseFencing` and `TaskHeartbeating` of the SDK. `sender` is set when the SDK has made it."""

    sender: Sender

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def task_acquire(self, id: str, version: int, pid: str, ttl: int) -> TaskAcquireResult:
        return await self.sender.task_acquire(id, version, pid, ttl)

    async def task_fulfill(self, id: str, version: int, action: PromiseSettleReq) -> PromiseRecord:
        return await self.sender.task_fulfill(id, version, action)

    async def task_suspend(self, id: str, version: int, actions: list[PromiseRegisterCallbackData]) -> SuspendResult:
        found = await self.sender.task_suspend(id, version, actions)
        if found == "suspended":
            self._lifecycle.suspended(id)
        return found

    async def task_release(self, id: str, version: int) -> None:
        await self._lifecycle.release(id, version, release_reason())

    async def task_fence_create(self, id: str, version: int, req: PromiseCreateReq) -> TaskFenceResult:
        return await self.sender.task_fence_create(id, version, req)

    async def task_fence_settle(self, id: str, version: int, req: PromiseSettleReq) -> TaskFenceResult:
        return await self.sender.task_fence_settle(id, version, req)

    async def task_heartbeat(self, pid: str, tasks: list[TaskRef]) -> None:
        await self.sender.task_heartbeat(pid, tasks)
