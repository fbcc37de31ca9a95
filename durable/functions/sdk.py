"""The one place that touches resonate-sdk's private parts (0.8.x); tests/unit/test_sdk_seam.py holds each of them.

Needed because the SDK has no public way to choose a child's id, to suspend on promises that another part
created, to stand in for its two durable effects, or to say why a task is released.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, cast

import msgspec
from resonate.chain import Link
from resonate.codec import decode_settled
from resonate.context import Context as SdkContext
from resonate.context import ResonateFuture, SpawnedLocal
from resonate.core import Core
from resonate.error import ApplicationError, PlatformError, ResonateError, StoppedError, Suspended
from resonate.observability import Event as SdkEvent
from resonate.resonate import Resonate
from resonate.transport import ExecuteMsg, Message
from resonate.types import (
    PromiseCreateReq,
    PromiseRecord,
    Status,
    Value,
)

from durable.core.clock import TIME_MAX_MS, Clock
from durable.core.errors import EngineFailed
from durable.core.limits import HEARTBEAT_MS, LEASE_MS, TASKS_MAX
from durable.functions.fence import Fence
from durable.functions.function import NEVER, Retry
from durable.functions.heartbeat import LeaseHeartbeat
from durable.functions.ports import Halted, HandedBack, Lifecycle, StorePorts, record_of
from durable.functions.sender_ports import SenderPorts
from durable.store.face import Connection, StoreFace
from durable.store.network import SqliteConnection
from durable.store.slots import Slots
from durable.store.store import Store

__all__ = [
    "ApplicationError",
    "Halted",
    "HandedBack",
    "Link",
    "PlatformError",
    "PromiseCreateReq",
    "PromiseRecord",
    "ResonateError",
    "SdkContext",
    "Suspended",
    "Value",
    "decode_settled",
]

NO_DEADLINE = timedelta(milliseconds=TIME_MAX_MS)
"""Longer than any execution: the SDK cuts a child's deadline to its parent's. (None would mean one day.)"""

_PICKLE = b"__py_pickle"


class StripPickle:
    """The codec seam: no `__py_pickle` field ever reaches the store or the SDK's unpickler, whoever wrote it."""

    def encrypt(self, data: bytes) -> bytes:
        return without_pickle(data)

    def decrypt(self, data: bytes) -> bytes:
        return without_pickle(data)


def without_pickle(data: bytes) -> bytes:
    """JSON of a value, without the field that the SDK would unpickle."""
    # A JSON text can spell the key with escapes, so one that holds a backslash is looked into as well.
    if _PICKLE not in data and b"\\" not in data:
        return data
    try:
        value = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return data  # not JSON: the codec refuses it by itself
    if isinstance(value, dict) and "__py_pickle" in value:
        del value["__py_pickle"]
        return msgspec.json.encode(value)
    return data


def _quiet(event: SdkEvent) -> None:
    """The SDK's events have no reader here: failures reach us through the release of their task."""


def build(
    connection: Connection, store: StoreFace, *, engine_id: str, group: str, lifecycle: Lifecycle, clock: Clock
) -> Resonate:
    """A Resonate over our store, wired but not started. `clock` is in ms."""
    ports = StorePorts(store, lifecycle) if isinstance(store, Store) else SenderPorts(lifecycle)
    logging.getLogger("resonate").setLevel(logging.CRITICAL)
    resonate = Resonate(
        network=connection,
        sources=[connection],
        group=group,
        pid=engine_id,
        ttl=timedelta(milliseconds=LEASE_MS),
        encryptor=StripPickle(),
        heartbeat=LeaseHeartbeat(engine_id, HEARTBEAT_MS, ports),
        max_concurrent_tasks=TASKS_MAX,
        retry_policy=NEVER,
        env={},
        clock=clock,
        observer=_quiet,
        subscription_refresh_secs=0,
        autostart=False,
    )
    core = resonate._core = _counting(resonate._core)
    if isinstance(ports, SenderPorts):
        ports.sender = resonate._sender
    core.sender = core.fencing = ports
    slots = Slots(TASKS_MAX)
    resonate._slots = slots  # type: ignore[attr-defined]
    counted = isinstance(connection, SqliteConnection)
    if isinstance(connection, SqliteConnection):
        connection.bound(slots)
    _queue_once(resonate, slots, counted=counted)
    return resonate


def internal(what: str, error: Exception) -> ResonateError:
    """What ends an attempt by an error of the engine's own: it counts, and is the last error of what is lost."""
    return ResonateError(str(error if isinstance(error, EngineFailed) else EngineFailed(what, error)))


class _Core(Core, kw_only=True):
    """A task whose attempt ended by an error of the engine's own is released too (specs/execution.md, Attempts)."""

    async def execute_until_blocked_outer(
        self, task_id: str, task_version: int, promise: PromiseRecord, preload: list[PromiseRecord]
    ) -> Status:
        try:
            return await super().execute_until_blocked_outer(task_id, task_version, promise, preload)
        except ResonateError:
            raise  # released already
        except Exception as error:
            try:
                raise internal(f"run {task_id.removeprefix('exec:')} or to record how it ended", error) from error
            except ResonateError:
                await self.sender.task_release(task_id, task_version)  # while the reason is being handled
                raise


def _counting(core: Core) -> Core:
    return _Core(**{name: getattr(core, name) for name in core.__struct_fields__})


def _queue_once(resonate: Resonate, slots: Slots, *, counted: bool) -> None:
    """An offer that waits here for a slot does not wait twice: the store repeats it until the task is acquired.

    `counted`: offers come with a slot taken for them. Those of a store elsewhere do not, and may have to wait for one.
    """
    core: Core = resonate._core
    others = resonate._on_message
    waiting: set[tuple[str, int]] = set()

    def on_message(message: Message) -> None:
        if not isinstance(message, ExecuteMsg):
            others(message)
        elif not resonate._runtime.stopping:
            offer = (message.task_id, message.version)
            if offer not in waiting:
                waiting.add(offer)
                resonate._spawn(begin(*offer))
            elif counted:
                slots.give()

    async def begin(task_id: str, version: int) -> None:
        held = counted
        try:
            async with resonate._runtime.execute_sema:
                waiting.discard((task_id, version))
                held = held or slots.take()
                await core.on_message(task_id, version)
        finally:
            if held:
                slots.give()

    resonate._on_message = on_message  # type: ignore[method-assign, assignment]


def register(resonate: Resonate, name: str, version: int, fn: Callable[..., Any], retry: Retry) -> None:
    """Enter or replace what runs under (name, version)."""
    resonate._registry._by_key.pop((name, version), None)
    resonate._registry.register(name, fn, version, retry)


def slots_of(resonate: Resonate) -> Slots:
    """What an engine has for executions; `execute_acquired` gives the one back that was taken for it."""
    slots: Slots = resonate._slots  # type: ignore[attr-defined]
    return slots


def execute_acquired(
    resonate: Resonate, task_id: str, version: int, promise: dict[str, Any], preload: list[dict[str, Any]]
) -> None:
    """Run a task that is acquired already, in a slot that was taken for it; `promise` as the store returns it."""
    core: Core = resonate._core
    record = core.codec.decode_promise(record_of(promise))
    known = [record_of(item) for item in preload]
    run = core.execute_until_blocked_outer(task_id, version, record, known)
    resonate._spawn(_finish(resonate._bounded_execute(run), slots_of(resonate)))


async def _finish(run: Awaitable[Status | None], slots: Slots) -> None:
    try:
        await run
    except ResonateError:
        pass  # released or halted with its reason already
    finally:
        slots.give()


def cancel_running(resonate: Resonate) -> None:
    """Cancel every task of the SDK in this process: used only by a closing engine, whose store refuses writes."""
    for task in list(resonate._runtime.bg_tasks):
        task.cancel()


# -- inside a durable function --------------------------------------------------------------------------------


class EffectsPort(Protocol):
    async def create_promise(self, req: PromiseCreateReq) -> PromiseRecord: ...
    async def settle_promise(self, id: str, result: Any) -> PromiseRecord: ...


def effects_of(ctx: SdkContext) -> EffectsPort:
    return cast(EffectsPort, ctx._state.effects)


def replace_effects(ctx: SdkContext, effects: EffectsPort) -> None:
    """Children made from `ctx` afterwards inherit the stand-in."""
    ctx._state.effects = effects


def know(effects: EffectsPort, promise: dict[str, Any]) -> None:
    """Put a record into the SDK's cache, so that creating it again costs no request."""
    inner: Any = effects
    inner._absorb(record_of(promise))


def fence_of(effects: EffectsPort) -> Fence | None:
    """The lease under which a pass writes; None where the store is elsewhere."""
    inner: Any = effects
    return inner.sender.fence(inner.task_id, inner.task_version) if isinstance(inner.sender, StorePorts) else None


def is_known(effects: EffectsPort, id: str) -> bool:
    """Whether the SDK has a record of the promise, from this pass or an earlier one."""
    inner: Any = effects
    return id in inner.cache


def check_whole(effects: EffectsPort) -> None:
    """Raise when a durable operation of this attempt failed: none is begun after it."""
    inner: Any = effects
    if inner._stopped:
        raise PlatformError([StoppedError()])


def break_off(effects: EffectsPort, error: ResonateError) -> PlatformError:
    """A durable operation failed, so the attempt does: raise what is returned."""
    inner: Any = effects
    inner._stopped = True
    return PlatformError([error])


def decoded(effects: EffectsPort, promise: dict[str, Any]) -> PromiseRecord:
    """The SDK's decoded record of a promise as the store returns it."""
    inner: Any = effects
    record: PromiseRecord = inner.codec.decode_promise(record_of(promise))
    return record


def first_attempt(ctx: SdkContext) -> bool:
    """Whether the task was acquired for the first time, so that nothing of this execution can be recorded."""
    effects: Any = ctx._state.effects
    return int(effects.task_version) == 1


def set_next(ctx: SdkContext, k: int) -> None:
    """Make the next child of `ctx` its k-th."""
    ctx._state.seq = k - 1


def add_leaf(ctx: SdkContext, id: str) -> Link:
    """Enter a local child that is run without `Context.run`; its place in the order of creations."""
    state = ctx._state
    state.workflow = True
    state.tree.add_child(state.id, id, "int")
    return state.chain.link()


def leaf_request(ctx: SdkContext, id: str) -> PromiseCreateReq:
    """What `Context.run` would create: a local child with its parent's deadline."""
    state = ctx._state
    tags = {
        "resonate:scope": "local",
        "resonate:branch": state.branch_id,
        "resonate:parent": state.id,
        "resonate:origin": state.origin_id,
    }
    return PromiseCreateReq(id=id, timeout_at=state.timeout_at, tags=tags)


def join_leaf(ctx: SdkContext, id: str, task: asyncio.Task[Any]) -> None:
    """The function's end waits for it, and takes its platform errors."""
    ctx._state.spawned_locals.append(SpawnedLocal(id=id, handle=task))


def settle_leaf(ctx: SdkContext, id: str) -> None:
    """It has its outcome."""
    ctx._state.tree.settle(id)


def chosen_promise(ctx: SdkContext, id: str, *, timeout: timedelta | None, data: Any) -> ResonateFuture[Any]:
    """Await a promise whose id we choose: external, settled by somebody else. `data` is its param."""
    ctx._state.workflow = True
    link = ctx._state.chain.link()
    origin = ctx._state.origin_id
    req = ctx._global_req(id, timeout or NO_DEADLINE, data=data, external=True, parent=origin)
    return ctx._remote_future(req, link)


def suspend_on(ctx: SdkContext, ids: list[str]) -> Suspended:
    """Make `ctx` wait for promises that exist already; raise what is returned."""
    state = ctx._state
    state.workflow = True
    for id in ids:
        if state.tree.add_child(state.id, id, "ext"):
            state.spawned_remote.append(id)
    return Suspended()


def abandon(ctx: SdkContext) -> list[str]:
    """Forget what a failing function still waits for, so that its failure settles now; returns those ids."""
    state = ctx._state
    waiting = list(dict.fromkeys(state.spawned_remote))
    state.spawned_remote = []
    for id in state.tree.ids():
        if id != state.tree.root():
            state.tree.settle(id)
    return waiting


def forget_suspended(ctx: SdkContext) -> None:
    """Let go of waits that are suspended, which the end of a pass joins otherwise: their tracebacks and the frames in
    them hold each other and all that the pass had, until the garbage collector looks at everything."""
    state = ctx._state
    state.spawned_remote_tasks = [task for task in state.spawned_remote_tasks if not _is_suspended(task)]
    state.spawned_locals = [local for local in state.spawned_locals if not _is_suspended(local.handle)]


def _is_suspended(task: asyncio.Task[Any]) -> bool:
    error = task.exception() if task.done() and not task.cancelled() else None
    if isinstance(error, Suspended):
        error.__traceback__ = None
        return True
    return False


def task_of(future: ResonateFuture[Any], id: str) -> asyncio.Task[Any]:
    """The asyncio task behind a future of the SDK, which is to have this id."""
    assert future._id == id, "the SDK minted another id than the one that was recorded"
    return future._task
