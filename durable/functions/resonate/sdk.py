"""The one place that touches resonate-sdk's private parts (0.8.x); tests/unit/test_sdk_seam.py holds each of them.

Needed because the SDK has no public way to choose a child's id, to suspend on promises that another part
created, to stand in for its two durable effects, or to say why a task is released.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from resonate.context import Context as SdkContext
from resonate.core import Core, _ExecFulfilled, _ExecSuspended
from resonate.durable import DurableFunction
from resonate.error import FunctionNotFoundError, PlatformError, ResonateError, Suspended
from resonate.ids import origin_of
from resonate.observability import Event as SdkEvent
from resonate.registry import Registry
from resonate.resonate import Resonate
from resonate.retry import RetryPolicy
from resonate.transport import ExecuteMsg, Message
from resonate.types import PromiseRecord, Status

from durable.core.clock import Clock, sleep
from durable.core.definition_id import spellings
from durable.core.limits import LEASE_MS, TASKS_MAX
from durable.functions.definition import NEVER, Retry
from durable.functions.replay.recorder import Recorder
from durable.functions.resonate.http_ports import SenderPorts
from durable.functions.resonate.lease_keeper import held_tasks
from durable.functions.resonate.store_ports import (
    HaltTask,
    HandedBack,
    Lifecycle,
    StorePorts,
    Suspension,
    internal,
    record_of,
)
from durable.records.codec import StripPickle
from durable.store.operations.execution_slots import Slots
from durable.store.port import SdkConnection, StoreFace
from durable.store.sdk_connection import DirectConnection

__all__ = [
    "FunctionNotFoundError",
    "HaltTask",
    "HandedBack",
    "PlatformError",
    "PromiseRecord",
    "ResonateError",
    "SdkContext",
    "Suspended",
    "Suspension",
    "internal",
]


def _quiet(event: SdkEvent) -> None:
    """The SDK's events have no reader here: failures reach us through the release of their task."""


def build(
    connection: SdkConnection,
    store: StoreFace,
    *,
    engine_id: str,
    group: str,
    lifecycle: Lifecycle,
    clock: Clock,
    concurrency: int = TASKS_MAX,
) -> Resonate:
    """A Resonate over our store, wired but not started. `clock` is in ms."""
    held = held_tasks(store, engine_id)
    ports = SenderPorts(store, held, lifecycle) if store.local is None else StorePorts(store.local, lifecycle)
    logging.getLogger("resonate").setLevel(logging.CRITICAL)
    resonate = Resonate(
        network=connection,
        sources=[connection],
        group=group,
        pid=engine_id,
        ttl=timedelta(milliseconds=LEASE_MS),
        encryptor=StripPickle(store.codec, HaltTask),
        heartbeat=held,
        max_concurrent_tasks=concurrency,
        retry_policy=NEVER,
        env={},
        clock=clock,
        observer=_quiet,
        subscription_refresh_secs=0,
        autostart=False,
    )
    core = resonate._core = _counting(resonate._core, lifecycle)
    core.registry = resonate._registry = _Registry()
    if isinstance(ports, SenderPorts):
        ports.sender = resonate._sender
    core.sender = core.fencing = ports
    slots = Slots(concurrency)
    resonate._slots = slots  # type: ignore[attr-defined]
    counted = isinstance(connection, DirectConnection)
    if isinstance(connection, DirectConnection):
        connection.bound(slots, partial(_begin, resonate, slots))
    _queue_once(resonate, slots, counted=counted)
    return resonate


PASSES = "durable_passes"
"""The attribute of a callable that runs passes of a function: it takes a PassTask, positional and named arguments."""


class PassTask:
    """The task of an execution whose function is passed here now, as far as the pass needs it."""

    __slots__ = ("_effects", "begun", "created_at", "first", "id", "origin_id", "seed", "tags", "timeout_at", "waits")

    def __init__(self, promise: PromiseRecord, effects: Any) -> None:
        self._effects = effects
        self.id = promise.id
        self.tags = promise.tags
        self.origin_id = promise.tags.get("resonate:origin") or origin_of(promise.id)
        self.timeout_at = promise.timeout_at
        began = promise.tags.get("durable:began", "")
        self.created_at = int(began) if began.isdecimal() else promise.created_at
        """Milliseconds since the Unix epoch; of a fork, when what it comes from was made."""
        self.seed = promise.tags.get("durable:nonce") or f"{promise.id} {promise.created_at}"
        """What `ctx.random` of this execution is made from."""
        self.first = int(effects.task_version) == 1
        """Whether it was acquired for the first time, so that nothing of this execution can be recorded."""
        self.begun = False
        """Whether the function made an operation: it is not tried again by its retry policy when it raises."""
        self.waits: list[str] = []
        """The promises that it waits for; set before Suspended is raised."""

    def mark_begun(self) -> None:
        self.begun = True

    def recorder(self) -> Recorder:
        """The recorder of a pass, under the lease of this task."""
        effects = self._effects
        sender = effects.sender
        fence = sender.fence(effects.task_id, effects.task_version) if isinstance(sender, StorePorts) else None
        return Recorder(sender, fence, effects.task_id, effects.task_version)


class _Passing(DurableFunction):
    """A function whose passes take its arguments as they were recorded: they bind and shape them themselves."""


class _Registry(Registry):
    """Finds a function by what was recorded: another spelling of its name (specs/execution.md, Identity)."""

    def register(
        self, name: str, fn: Callable[..., Any], version: int = 1, retry_policy: RetryPolicy | None = None
    ) -> None:
        super().register(name, fn, version, retry_policy)
        if PASSES in fn.__dict__:
            self._by_key[name, version] = _Passing(fn)

    def get(self, name: str, version: int = 1) -> DurableFunction | None:
        return super().get(self._known(name, version), version)

    def get_policy(self, name: str, version: int = 1) -> RetryPolicy | None:
        return super().get_policy(self._known(name, version), version)

    def _known(self, name: str, version: int) -> str:
        if (name, version) in self._by_key:
            return name
        return next((each for each in spellings(name) if (each, version) in self._by_key), name)


class _Core(Core, kw_only=True):
    """A task whose attempt ended by an error of the engine's own is released too (specs/execution.md, Attempts)."""

    lifecycle: Lifecycle

    async def execute_until_blocked_outer(
        self, task_id: str, task_version: int, promise: PromiseRecord, preload: list[PromiseRecord]
    ) -> Status:
        if promise.state == "pending" and promise.tags.get("resonate:timer") != "true":
            self.lifecycle.begins(promise, task_version)
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
        finally:
            self.lifecycle.ended(task_id)

    async def execute_until_blocked_inner(
        self, promise: PromiseRecord, effects: Any
    ) -> _ExecFulfilled | _ExecSuspended:
        """Run the function once: without the SDK's own context, where passes run it, which have one of their own."""
        data = promise.param.data
        if promise.state != "pending" or type(data) is not dict or not _names_function(data):
            return await super().execute_until_blocked_inner(promise, effects)
        name, version = _function_of(promise, data)
        found = self.registry.get(name, version)
        if not isinstance(found, _Passing):
            return await super().execute_until_blocked_inner(promise, effects)
        task = PassTask(promise, effects)
        retries = 0
        while True:
            try:
                run: Any = found._fn
                value = await run(task, data.get("args", []), data.get("kwargs", {}))
                break
            except Suspended:
                return _ExecSuspended(todos=task.waits, tree=_NO_TREE)
            except Exception as error:  # the function's
                retries += 1
                policy = self.registry.get_policy(name, version) or self.retry_policy
                delay = None if task.begun else policy.next(retries)
                if delay is None:
                    return _ExecFulfilled(state="rejected", value=self.codec.encode(error), tree=_NO_TREE)
            await sleep(delay)
        return _ExecFulfilled(state="resolved", value=self.codec.encode(value), tree=_NO_TREE)


_NO_TREE: Any = None
"""The SDK's picture of an attempt, which it asserts by and never reads: a pass has its own record of what it does."""


def _function_of(promise: PromiseRecord, data: dict[str, Any]) -> tuple[str, int]:
    """The function of an execution: as its tag has it, which an alias or an upgrade has changed even where the store
    cannot read the data; else as the data has it."""
    key, _, version = promise.tags.get("durable:function", "").rpartition("@")
    if key and version.isdecimal():
        return key, int(version)
    return data["func"], data.get("version", 1)


def _names_function(data: dict[str, Any]) -> bool:
    """Whether a promise's data is a call as ours are recorded. The SDK says what is wrong with any other."""
    return (
        type(data.get("func")) is str
        and type(data.get("version", 1)) is int
        and type(data.get("args", [])) is list
        and type(data.get("kwargs", {})) is dict
    )


def _counting(core: Core, lifecycle: Lifecycle) -> Core:
    return _Core(lifecycle=lifecycle, **{name: getattr(core, name) for name in core.__struct_fields__})


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


def _begin(resonate: Resonate, slots: Slots, task_id: str, version: int, promise: dict[str, Any]) -> None:
    """Run a task that the store acquired for this engine, in the slot that was taken for it.

    One that comes while the engine closes is given back with all that it holds, when it leaves.
    """
    if resonate._runtime.stopping:
        slots.give()
        return
    resonate._spawn(_finish(resonate._bounded_execute(_decoded(resonate._core, task_id, version, promise)), slots))


async def _decoded(core: Core, task_id: str, version: int, promise: dict[str, Any]) -> Status | None:
    try:
        record = core.codec.decode_promise(record_of(promise))
    except ResonateError:
        await core.sender.task_release(task_id, version)  # while the reason is being handled
        raise
    return await core.execute_until_blocked_outer(task_id, version, record, [])


def register(resonate: Resonate, name: str, version: int, fn: Callable[..., Any], retry: Retry) -> None:
    """Enter or replace what runs under (name, version)."""
    resonate._registry._by_key.pop((name, version), None)
    resonate._registry.register(name, fn, version, retry)


def slots_of(resonate: Resonate) -> Slots:
    """The slots of an engine for executions; `execute_acquired` gives the one back that was taken for it."""
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


# -- inside a cell --------------------------------------------------------------------------------


def first_attempt(ctx: SdkContext) -> bool:
    """Whether the task was acquired for the first time, so that nothing of this execution can be recorded."""
    effects: Any = ctx._state.effects
    return int(effects.task_version) == 1


def suspend_on(ctx: SdkContext, ids: list[str]) -> Suspended:
    """Make `ctx` wait for promises that exist already; raise what is returned."""
    state = ctx._state
    state.workflow = True
    for id in ids:
        if state.tree.add_child(state.id, id, "ext"):
            state.spawned_remote.append(id)
    return Suspended()
