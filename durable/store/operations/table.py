"""The table of request kinds: what each may say, what does it, whether it needs a sync, who may send it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from durable.store.operations import (
    cancellation,
    checkpoints,
    debug,
    engines,
    executions,
    kv,
    output,
    policies,
    promises,
    prompt_answers,
    schedules,
    sessions,
    tasks,
)
from durable.store.protocol import requests as r
from durable.store.sqlite.searches import Unfinished
from durable.store.sqlite.transaction import Tx
from durable.store.upkeep import gc

type Operation = Callable[[Tx, Any], r.Answer | Unfinished]
"""Takes a transaction and the kind's own request struct, which the table pairs it with."""


def _yes(_request: Any) -> bool:
    return True


def _no(_request: Any) -> bool:
    return False


def _step_create(request: r.TaskFence) -> bool:
    """A step's create is seen by nobody but the execution that makes it, which runs again if it is lost."""
    return isinstance(request.action, r.FencedCreate) and not promises.is_external(request.action.data.tags or {})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    `internal` says whether losing it in a power cut could not be noticed: only then may a batch go without a sync. A
    lost wait, release or beat leaves an attempt that runs again; a lost checkpoint or print leaves the one before, and
    what depends on them is synced later.
    """

    request: type[msgspec.Struct]
    operation: Operation
    internal: Callable[[Any], bool] = _no
    protocol: bool = True
    debug: bool = False


def _ours(request: type[msgspec.Struct], operation: Operation, internal: Callable[[Any], bool] = _no) -> Kind:
    return Kind(request, operation, internal, protocol=False)


def _debug(request: type[msgspec.Struct], operation: Operation) -> Kind:
    return Kind(request, operation, debug=True)


KINDS: dict[str, Kind] = {
    "promise.get": Kind(r.ById, promises.get, _yes),
    "promise.create": Kind(r.PromiseCreate, promises.create),
    "promise.settle": Kind(r.PromiseSettle, promises.settle_request),
    "promise.register_callback": Kind(r.RegisterCallback, promises.register_callback),
    "promise.register_listener": Kind(r.RegisterListener, promises.register_listener),
    "promise.search": Kind(r.PromiseSearch, promises.search, _yes),
    "task.get": Kind(r.ById, tasks.get, _yes),
    "task.create": Kind(r.TaskCreate, tasks.create),
    "task.acquire": Kind(r.TaskAcquire, tasks.acquire),
    "task.release": Kind(r.TaskAt, tasks.release, _yes),
    "task.suspend": Kind(r.TaskSuspend, tasks.suspend, _yes),
    "task.fulfill": Kind(r.TaskFulfill, tasks.fulfill),
    "task.fence": Kind(r.TaskFence, tasks.fence, _step_create),
    "task.heartbeat": Kind(r.TaskHeartbeat, tasks.heartbeat, _yes),
    "task.halt": Kind(r.TaskHalt, tasks.halt),
    "task.continue": Kind(r.ById, tasks.resume),
    "task.search": Kind(r.TaskSearch, tasks.search, _yes),
    "schedule.get": Kind(r.ById, schedules.get, _yes),
    "schedule.create": Kind(r.ScheduleCreate, schedules.create),
    "schedule.delete": Kind(r.ById, schedules.delete),
    "schedule.search": Kind(r.ScheduleSearch, schedules.search, _yes),
    "debug.reset": _debug(r.Nothing, debug.reset),
    "debug.tick": _debug(r.DebugTick, debug.tick),
    "debug.snap": _debug(r.Nothing, debug.snap),
    "execution.cancel": _ours(r.ExecutionCancel, cancellation.cancel),
    "task.fail": _ours(r.TaskFail, tasks.fail, _yes),
    "engine.join": _ours(r.EngineJoin, engines.join, _yes),
    "engine.serve": _ours(r.EngineServe, engines.serve, _yes),
    "engine.leave": _ours(r.Engine, engines.leave, _yes),
    "engine.lost": _ours(r.Engine, engines.lost, _yes),
    "engine.list": _ours(r.Nothing, engines.listing, _yes),
    "session.open": _ours(r.SessionOpen, sessions.open_),
    "session.take": _ours(r.SessionTake, sessions.take),
    "session.worker": _ours(r.SessionWorker, sessions.worker, _yes),
    "session.give": _ours(r.SessionAt, sessions.give, _yes),
    "session.close": _ours(r.Session, sessions.close),
    "session.get": _ours(r.Session, sessions.get, _yes),
    "cell.submit": _ours(r.CellSubmit, sessions.submit),
    "call.create": _ours(r.CallCreate, sessions.create_call),
    "prompt.answer": _ours(r.PromptAnswer, prompt_answers.record),
    "execution.source": _ours(r.ExecutionSource, executions.note_source),
    "execution.import": _ours(r.ExecutionImport, executions.import_),
    "function.alias": _ours(r.FunctionAlias, executions.alias),
    "call.list": _ours(r.CallList, sessions.list_calls, _yes),
    "output.append": _ours(r.OutputAppend, output.append, _yes),
    "output.truncate": _ours(r.OutputTruncate, output.truncate, _yes),
    "checkpoint.publish": _ours(r.CheckpointPublish, checkpoints.publish, _yes),
    "checkpoint.latest": _ours(r.Session, checkpoints.latest, _yes),
    "checkpoint.drop": _ours(r.CheckpointGet, checkpoints.drop),
    "checkpoint.label": _ours(r.CheckpointLabel, checkpoints.relabel),
    "checkpoint.get": _ours(r.CheckpointGet, checkpoints.get, _yes),
    "checkpoint.list": _ours(r.Session, checkpoints.listing, _yes),
    "chunk.get": _ours(r.ChunkGet, checkpoints.chunks, _yes),
    "sweep.executions": _ours(r.SweepExecutions, gc.sweep_executions, _yes),
    "sweep.checkpoints": _ours(r.SweepCheckpoints, checkpoints.sweep, _yes),
    "sweep.messages": _ours(r.SweepMessages, gc.sweep_messages, _yes),
    "sweep.audit": _ours(r.SweepAudit, policies.sweep, _yes),
    "policy.get": _ours(r.PolicyGet, policies.get, _yes),
    "policy.set": _ours(r.PolicySet, policies.put),
    "audit.append": _ours(r.AuditAppend, policies.append, _yes),
    "audit.list": _ours(r.AuditList, policies.listing, _yes),
    "kv.get": _ours(r.KvAt, kv.get, _yes),
    "kv.set": _ours(r.KvSet, kv.put),
    "kv.delete": _ours(r.KvAt, kv.delete),
    "kv.list": _ours(r.KvList, kv.listing, _yes),
    "kv.usage": _ours(r.KvNamespace, kv.usage, _yes),
}
