"""The runner of an engine's tasks: from the offer of each until it is fulfilled, suspended or given back.

The SDK's own Core does the same for functions that have its context, which none of ours has. Its module, and that of
its client, import pydantic and aiohttp; what this stands on imports neither.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal, Protocol

import msgspec
from resonate.error import (
    Base64DecodeError,
    DecodingError,
    FunctionNotFoundError,
    PlatformError,
    ResonateError,
    SerializationError,
    Suspended,
)
from resonate.ids import origin_of
from resonate.observability import Event
from resonate.transport import ExecuteMsg, Message, Transport
from resonate.types import PromiseRecord, PromiseRegisterCallbackData, PromiseSettleReq, TaskData, Value

from durable.core.background import eager_task
from durable.core.clock import is_replaced, sleep
from durable.core.definition_id import spellings
from durable.core.ids import QUEUE, may_be_recorded
from durable.core.limits import LEASE_MS
from durable.functions.definition import Retry
from durable.functions.replay.recorder import FencedWrites, Recorder
from durable.functions.resonate.fence import Fence
from durable.functions.resonate.lease_keeper import HeldTasks
from durable.functions.resonate.stay_room import StayRoom
from durable.functions.resonate.store_ports import AcquiredTask, Lifecycle, internal, record_of
from durable.records.codec import StripPickle
from durable.store.operations.execution_slots import Slots
from durable.store.port import SdkConnection


class TaskPorts(FencedWrites, Protocol):
    """The requests about tasks and under their leases, on a store here or elsewhere. ResonateError."""

    async def task_acquire(self, id: str, version: int, pid: str, ttl: int) -> AcquiredTask: ...

    async def task_fulfill(self, id: str, version: int, action: PromiseSettleReq) -> PromiseRecord: ...
    async def task_suspend(self, id: str, version: int, actions: list[PromiseRegisterCallbackData]) -> Any:
        """ "suspended"; anything else where something that is awaited has settled already."""

    async def task_release(self, id: str, version: int) -> None: ...
    def fence(self, id: str, version: int) -> Fence | None:
        """The writer under a lease, where the store is here."""


class PassTask:
    """The task of an execution whose function is passed here now, as far as the pass needs it."""

    __slots__ = ("_ports", "_version", "begun", "created_at", "first", "id", "origin_id", "record", "room", "seed",
                 "tags", "timeout_at", "waits")  # fmt: skip

    def __init__(
        self,
        promise: PromiseRecord,
        version: int,
        ports: TaskPorts | None = None,
        record: dict[str, Any] | None = None,
        room: StayRoom | None = None,
    ) -> None:
        self._ports = ports
        self.record = record
        """The beginning of what is recorded, where it came with the lease (AcquiredTask)."""
        self._version = version
        self.id = promise.id
        self.tags = promise.tags
        self.origin_id = promise.tags.get("resonate:origin") or origin_of(promise.id)
        self.timeout_at = promise.timeout_at
        began = promise.tags.get("durable:began", "")
        self.created_at = int(began) if began.isdecimal() else promise.created_at
        """Milliseconds since the Unix epoch; of a fork, when what it comes from was made."""
        self.seed = promise.tags.get("durable:nonce") or f"{promise.id} {promise.created_at}"
        """What `ctx.random` of this execution is made from."""
        self.first = not may_be_recorded(version, promise.tags)
        """Whether nothing of this execution can be recorded: it was acquired for the first time, and is no fork."""
        self.begun = False
        """Whether the function made an operation: it is not tried again by its retry policy when it raises."""
        self.waits: list[str] = []
        """The promises that it waits for; set before Suspended is raised. None where its end is recorded already."""
        self.room = None if QUEUE in promise.tags or is_replaced() else room
        """Where its pass may stay while it only waits. What stands in a queue does not: it would hold a place there."""

    def mark_begun(self) -> None:
        self.begun = True

    def recorder(self) -> Recorder:
        """The recorder of a pass, under the lease of this task."""
        assert self._ports is not None, "a replay that records nothing has a recorder of its own"
        return Recorder(self._ports, self._ports.fence(self.id, self._version), self.id, self._version)


type PassFunction = Callable[[PassTask, list[Any], dict[str, Any]], Awaitable[Any]]
"""Runs one pass of a function with its arguments as they were recorded; returns JSON builtins."""


class TaskSettlement(msgspec.Struct, frozen=True):
    """How a task's promise is settled."""

    state: Literal["resolved", "rejected", "rejected_canceled"]
    value: Value


class TaskRunner:
    """The tasks of one engine. Made without a running loop.

    concurrency: how many run at a time. counted: whether offers come with a slot taken for them; those of a store
    elsewhere do not, and may have to wait for one. encryptor: how values are written and read.
    """

    def __init__(
        self,
        connection: SdkConnection,
        ports: TaskPorts,
        held: HeldTasks,
        lifecycle: Lifecycle,
        encryptor: StripPickle,
        *,
        engine_id: str,
        concurrency: int,
        counted: bool,
    ) -> None:
        self._connection = connection
        self._ports = ports
        self._held = held
        self._lifecycle = lifecycle
        self._encryptor = encryptor
        self._engine_id = engine_id
        self._counted = counted
        self._functions: dict[tuple[str, int], tuple[PassFunction, Retry]] = {}
        self._offers: set[tuple[str, int]] = set()
        """Tasks that wait here for a slot."""
        self.slots = Slots(concurrency)
        self.places = asyncio.Semaphore(concurrency)
        self._room = StayRoom(held, self.slots)
        self.jobs: set[asyncio.Task[Any]] = set()
        self.stopping = False

    def register(self, name: str, version: int, function: PassFunction, retry: Retry) -> None:
        """Enter or replace what runs under (name, version)."""
        self._functions[name, version] = function, retry

    def start(self) -> None:
        """Begin to take offers. Needs a running loop."""
        transport = Transport(self._connection, [self._connection], _quiet)
        transport.recv(self._on_message)  # before the connection starts, so that no offer is missed
        self._spawn(self._connection.start())

    async def stop(self) -> None:
        """Take no more offers, and return when all that runs here has ended."""
        self.stopping = True
        with suppress(ResonateError):
            await self._connection.stop()
        while self.jobs:
            await asyncio.gather(*self.jobs, return_exceptions=True)
            await asyncio.sleep(0)  # their callbacks take them out of the set
        self._held.shutdown()

    def cancel(self) -> None:
        """Cancel all that runs here: only for a closing engine, whose store refuses writes."""
        for job in list(self.jobs):
            job.cancel()

    # -- how a task comes here ----------------------------------------------------------------------------------

    def execute_acquired(
        self,
        task_id: str,
        version: int,
        promise: dict[str, Any],
        record: dict[str, Any] | None = None,
        *,
        eager: bool = False,
    ) -> None:
        """Run a task that is acquired already, in a slot that was taken for it; `promise` as the store returns it, and
        `record` as AcquiredTask has it. eager: it begins before this returns, where no slot has to be waited for."""
        self._spawn(self._finish(self._read_and_run(task_id, version, record_of(promise), record)), eager=eager)

    def begin(self, task_id: str, version: int, promise: dict[str, Any], record: dict[str, Any] | None = None) -> None:
        """Run a task that the store acquired for this engine, in the slot that was taken for it.

        One that comes while the engine closes is given back with all that it holds, when it leaves.
        """
        if self.stopping:
            self.slots.give()
        else:
            self.execute_acquired(task_id, version, promise, record)

    async def _finish(self, work: Awaitable[None]) -> None:
        try:
            async with self.places:
                await work
        except ResonateError:
            pass  # released or halted with its reason already
        finally:
            self.slots.give()

    def _on_message(self, message: Message) -> None:
        """Take an offer. One that waits here for a slot does not wait twice: the store repeats it until it is taken."""
        if self.stopping or not isinstance(message, ExecuteMsg):
            return
        offer = (message.task_id, message.version)
        if offer not in self._offers:
            self._offers.add(offer)
            self._spawn(self._take(*offer))
        elif self._counted:
            self.slots.give()

    async def _take(self, task_id: str, version: int) -> None:
        held = self._counted
        try:
            async with self.places:
                self._offers.discard((task_id, version))
                held = held or self.slots.take()
                acquired = await self._ports.task_acquire(task_id, version, self._engine_id, LEASE_MS)
                await self._read_and_run(task_id, acquired.task.version, acquired.promise, acquired.record)
        finally:
            if held:
                self.slots.give()

    def _spawn(self, work: Coroutine[Any, Any, None], *, eager: bool = False) -> None:
        job = eager_task(work) if eager else asyncio.create_task(work)
        self.jobs.add(job)
        job.add_done_callback(self._ended)

    def _ended(self, job: asyncio.Task[None]) -> None:
        self.jobs.discard(job)
        if not job.cancelled():
            job.exception()  # has no reader: failures reach us through the release of their task

    # -- how it is run ------------------------------------------------------------------------------------------

    async def _read_and_run(
        self, task_id: str, version: int, promise: PromiseRecord, record: dict[str, Any] | None
    ) -> None:
        try:
            promise = self._read(promise)
        except ResonateError:
            await self._ports.task_release(task_id, version)  # while the reason is being handled
            raise
        await self._run(task_id, version, promise, record)

    async def _run(self, task_id: str, version: int, promise: PromiseRecord, record: dict[str, Any] | None) -> None:
        """Run it until it is fulfilled or suspended. ResonateError: it was released."""
        if promise.tags.get("resonate:timer") == "true" and promise.state == "pending":
            return  # a sleep that is not over names no function: its deadline settles it
        if promise.state == "pending":
            self._lifecycle.begins(promise, version)
        self._held.start(task_id, version)
        try:
            while not await self._attempt(task_id, version, promise, record):
                record = None  # it is as it was when the lease was given
        except PlatformError as error:
            await self._ports.task_release(task_id, version)
            raise error.cause from error
        except ResonateError:
            await self._ports.task_release(task_id, version)
            raise
        except Exception as error:
            try:
                raise internal(f"run {task_id.removeprefix('exec:')} or to record how it ended", error) from error
            except ResonateError:
                await self._ports.task_release(task_id, version)
                raise
        finally:
            self._held.stop(task_id)
            self._lifecycle.ended(task_id)

    async def _attempt(self, task_id: str, version: int, promise: PromiseRecord, record: dict[str, Any] | None) -> bool:
        """One pass, and what comes of it. False where it waits for what has settled already, and is to go on."""
        outcome = await self._outcome(promise, version, record)
        if isinstance(outcome, TaskSettlement):
            settle = PromiseSettleReq(id=promise.id, state=outcome.state, value=outcome.value)
            await self._ports.task_fulfill(task_id, version, settle)
            return True
        if not outcome:  # its promise was settled or halted while it only waited
            self._lifecycle.suspended(task_id, [])
            return True
        waits = [PromiseRegisterCallbackData(awaited=awaited, awaiter=task_id) for awaited in outcome]
        return bool(await self._ports.task_suspend(task_id, version, waits) == "suspended")

    async def _outcome(
        self, promise: PromiseRecord, version: int, record: dict[str, Any] | None
    ) -> TaskSettlement | list[str]:
        """How the promise is to be settled, or the promises that its function waits for."""
        if promise.tags.get("resonate:timer") == "true":
            return self._as_settled(promise)
        try:
            data = msgspec.convert(promise.param.data, TaskData)
        except msgspec.MsgspecError as error:
            raise DecodingError(f"invalid task data: {SerializationError(error)}") from error
        name, number = _function_of(promise, data)
        found = self._found(name, number)
        if promise.state != "pending":
            return self._as_settled(promise)
        return await self._pass(PassTask(promise, version, self._ports, record, self._room), data, *found)

    def _found(self, name: str, version: int) -> tuple[PassFunction, Retry]:
        """The function under it, or under another spelling of the name (specs/execution.md, Identity)."""
        for each in (name, *spellings(name)):
            found = self._functions.get((each, version))
            if found is not None:
                return found
        raise FunctionNotFoundError(name, version)

    async def _pass(
        self, task: PassTask, data: TaskData, function: PassFunction, retry: Retry
    ) -> TaskSettlement | list[str]:
        retries = 0
        while True:
            try:
                value = await function(task, list(data.args), data.kwargs)
                break
            except Suspended:
                return task.waits
            except Exception as error:  # the function's
                retries += 1
                delay = None if task.begun else retry.next(retries)
                if delay is None:
                    return TaskSettlement("rejected", self._written({"__type": "error", "message": str(error)}))
            await sleep(delay)
        return TaskSettlement("resolved", self._written(value))

    def _as_settled(self, promise: PromiseRecord) -> TaskSettlement:
        """The settlement that the promise has already, by which its task is fulfilled."""
        assert promise.state != "pending"
        state = "rejected" if promise.state == "rejected_timedout" else promise.state
        return TaskSettlement(state, self._written(promise.value.data))

    # -- values -------------------------------------------------------------------------------------------------

    def _written(self, value: Any) -> Value:
        if value is None:
            return Value()
        try:
            return Value(data=base64.b64encode(self._encryptor.encrypt(msgspec.json.encode(value))).decode("ascii"))
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise SerializationError(error) from error

    def _read(self, promise: PromiseRecord) -> PromiseRecord:
        """The promise with its values as JSON builtins. ResonateError."""
        param, value = (msgspec.structs.replace(each, data=self._data(each)) for each in (promise.param, promise.value))
        return msgspec.structs.replace(promise, param=param, value=value)

    def _data(self, value: Value) -> Any:
        if not value.data:
            return None
        try:
            text = base64.b64decode(value.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Base64DecodeError(error) from error
        try:
            return msgspec.json.decode(self._encryptor.decrypt(text))
        except msgspec.MsgspecError as error:
            raise SerializationError(error) from error


def _function_of(promise: PromiseRecord, data: TaskData) -> tuple[str, int]:
    """The function of an execution: as its tag has it, which an alias or an upgrade has changed even where the store
    cannot read the data; else as the data has it."""
    key, _, version = promise.tags.get("durable:function", "").rpartition("@")
    return (key, int(version)) if key and version.isdecimal() else (data.func, data.version)


def _quiet(event: Event) -> None:
    """The SDK's events have no reader here: failures reach us through the release of their task."""
