"""The tasks of an engine over its store, by the protocol of resonate-sdk 0.8.x, and what the rest needs of that."""

from __future__ import annotations

from resonate.error import FunctionNotFoundError, PlatformError, ResonateError, Suspended
from resonate.types import PromiseRecord

from durable.core.limits import TASKS_MAX
from durable.functions.resonate.lease_keeper import HeldTasks, held_tasks
from durable.functions.resonate.store_ports import HaltTask, HandedBack, Lifecycle, StorePorts, Suspension, internal
from durable.functions.resonate.task_runner import PassTask, TaskPorts, TaskRunner
from durable.records.codec import StripPickle
from durable.store.port import SdkConnection, StoreFace
from durable.store.sdk_connection import DirectConnection

__all__ = [
    "FunctionNotFoundError",
    "HaltTask",
    "HandedBack",
    "PassTask",
    "PlatformError",
    "PromiseRecord",
    "ResonateError",
    "Suspended",
    "Suspension",
    "internal",
]


def build(
    connection: SdkConnection,
    store: StoreFace,
    *,
    engine_id: str,
    lifecycle: Lifecycle,
    concurrency: int = TASKS_MAX,
) -> TaskRunner:
    """The runner of an engine's tasks, wired but not started."""
    held = held_tasks(store, engine_id)
    runner = TaskRunner(
        connection,
        _ports(connection, store, held, lifecycle),
        held,
        lifecycle,
        StripPickle(store.codec, HaltTask),
        engine_id=engine_id,
        concurrency=concurrency,
        counted=isinstance(connection, DirectConnection),
    )
    if isinstance(connection, DirectConnection):
        connection.bound(runner.slots, runner.begin)
    return runner


def _ports(connection: SdkConnection, store: StoreFace, held: HeldTasks, lifecycle: Lifecycle) -> TaskPorts:
    if store.local is not None:
        return StorePorts(store.local, lifecycle)
    from durable.functions.resonate.http_ports import SenderPorts  # the SDK's Sender, which brings pydantic

    return SenderPorts(connection, store, held, lifecycle)
