"""The SDK's ports onto a store elsewhere: its own Sender, and the engine's say in how an attempt ends."""

from __future__ import annotations

from typing import Any

import msgspec
from resonate.error import ServerError
from resonate.observability import Event
from resonate.send import Sender, TaskFenceResult, TaskRef
from resonate.transport import Transport
from resonate.types import PromiseCreateReq, PromiseRecord, PromiseRegisterCallbackData, PromiseSettleReq

from durable.core.errors import DurableError
from durable.functions.resonate.fence import answered
from durable.functions.resonate.lease_keeper import HeldTasks
from durable.functions.resonate.store_ports import (
    AcquiredTask,
    Lifecycle,
    SuspendResult,
    record_of,
    release_reason,
    suspend_request,
    suspend_result,
)
from durable.store.port import SdkConnection, StoreFace


def _quiet(event: Event) -> None:
    """The SDK's events have no reader here: failures reach us through the release of their task."""


class SenderPorts:
    """The ports of a task runner (task_runner.py) onto a store elsewhere."""

    def __init__(self, connection: SdkConnection, store: StoreFace, held: HeldTasks, lifecycle: Lifecycle) -> None:
        self.sender = Sender(Transport(connection, [connection]), None, observer=_quiet)
        self._store = store
        self._held = held
        self._lifecycle = lifecycle

    def fence(self, id: str, version: int) -> None:
        """There is none: each write is a request of its own."""

    async def task_acquire(self, id: str, version: int, pid: str, ttl: int) -> AcquiredTask:
        if self._held.holds(id, version) and await self._renewed(id, version, pid):
            raise ServerError(409, f"task {id!r} runs here already: its lease had lapsed, and goes on")
        found = await self.sender.task_acquire(id, version, pid, ttl)
        return AcquiredTask(found.task, found.promise)

    async def _renewed(self, id: str, version: int, pid: str) -> bool:
        """Whether an offer is of a lapsed lease that this engine can still renew."""
        await self.sender.task_heartbeat(pid, [TaskRef(id=id, version=version)])
        return await self._version(id) == (version, "acquired")

    async def task_fulfill(self, id: str, version: int, action: PromiseSettleReq) -> PromiseRecord:
        saves = self._lifecycle.saves_of(id)
        try:
            if saves is not None:
                record = await self._fulfill_turn(id, version, action, saves)
            else:
                record = await self.sender.task_fulfill(id, version, action)
        except ServerError as error:
            await self._discarded(id, version, id, error)
            raise
        self._lifecycle.fulfilled(id, record.state)
        return record

    async def _fulfill_turn(
        self, id: str, version: int, action: PromiseSettleReq, saves: dict[str, Any]
    ) -> PromiseRecord:
        value = {"headers": action.value.headers, "data": action.value.data}
        settle = {"kind": "promise.settle", "data": {"id": action.id, "state": action.state, "value": value}}
        task = {"id": id, "version": version, "action": settle}
        _, data = await answered(self._store.post("actor.fulfill", {**saves, "task": task}))
        return record_of(data["promise"])

    async def task_suspend(self, id: str, version: int, actions: list[PromiseRegisterCallbackData]) -> SuspendResult:
        request = suspend_request(id, version, actions, self._lifecycle.suspension(id))
        found = suspend_result(await answered(self._store.post("task.suspend", msgspec.to_builtins(request))))
        if found == "suspended":
            self._lifecycle.suspended(id, [action.awaited for action in actions])
        return found

    async def task_release(self, id: str, version: int) -> None:
        await self._lifecycle.release(id, version, release_reason())

    async def task_fence_create(self, id: str, version: int, req: PromiseCreateReq) -> TaskFenceResult:
        return await self.sender.task_fence_create(id, version, self._sealed(req, "param"))

    async def task_fence_settle(self, id: str, version: int, req: PromiseSettleReq) -> TaskFenceResult:
        try:
            return await self.sender.task_fence_settle(id, version, self._sealed(req, "value"))
        except ServerError as error:
            await self._discarded(id, version, req.id, error)
            raise

    def _sealed[T: (PromiseCreateReq, PromiseSettleReq)](self, req: T, name: str) -> T:
        """The request with its value sealed, where the store seals."""
        value = getattr(req, name)
        if self._store.codec is None or not value.data:
            return req
        data = self._store.codec.seal_text(value.data)
        return msgspec.structs.replace(req, **{name: msgspec.structs.replace(value, data=data)})

    async def task_heartbeat(self, pid: str, tasks: list[TaskRef]) -> None:
        await self.sender.task_heartbeat(pid, tasks)

    async def _discarded(self, id: str, version: int, step: str, error: ServerError) -> None:
        """Tell of a result that was thrown away because somebody else has the task; the server notes it, too."""
        if error.code == 409:
            held, _ = await self._version(id)
            if held > version:
                self._store.discarded(id, step, error.message)

    async def _version(self, id: str) -> tuple[int, str]:
        try:
            task = (await self._store.request("task.get", {"id": id})).data["task"]
        except DurableError:
            return 0, ""
        return int(task["version"]), str(task["state"])
