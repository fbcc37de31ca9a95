"""The table of request kinds: what each may say, what does it, whether it needs a sync, who may send it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from durable.core.frozen_record import FrozenRecord
from durable.store.operations import (
    cancellation,
    checkpoints,
    deployments,
    engines,
    execution_tags,
    kv,
    listener_posts,
    output,
    policies,
    promises,
    prompt_answers,
    retentions,
    sessions,
    signals,
    tasks,
)
from durable.store.operations.searches import Unfinished
from durable.store.operations.transaction import Tx
from durable.store.protocol import requests

type Operation = Callable[[Tx, Any], requests.Answer | Unfinished]
"""Takes a transaction and the kind's own request struct, which the table pairs it with."""


class _Seldom:
    """A module of operations that most processes never ask for: it is imported with the first request for one."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, operation: str) -> Operation:
        def run(tx: Tx, request: Any) -> requests.Answer | Unfinished:
            found: Operation = getattr(import_module(self._module), operation)
            return found(tx, request)

        return run


actors = _Seldom("durable.store.operations.actors")
debug = _Seldom("durable.store.operations.debug")
executions = _Seldom("durable.store.operations.executions")
gc = _Seldom("durable.store.upkeep.gc")
queues = _Seldom("durable.store.operations.queues")
schedules = _Seldom("durable.store.operations.schedules")
sealed_values = _Seldom("durable.store.operations.sealed_values")


def _yes(_request: Any) -> bool:
    return True


def _no(_request: Any) -> bool:
    return False


def _step_create(request: requests.TaskFence) -> bool:
    """A step's create is seen by nobody but the execution that makes it, which runs again if it is lost."""
    return isinstance(request.action, requests.FencedCreate) and not promises.is_external(
        request.action.data.tags or {}
    )


class Kind(FrozenRecord, frozen=True):
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
    "promise.get": Kind(requests.ById, promises.get, _yes),
    "promise.create": Kind(requests.PromiseCreate, promises.create),
    "promise.settle": Kind(requests.PromiseSettle, promises.settle_request),
    "promise.register_callback": Kind(requests.RegisterCallback, promises.register_callback),
    "promise.register_listener": Kind(requests.RegisterListener, promises.register_listener),
    "promise.search": Kind(requests.PromiseSearch, promises.search, _yes),
    "task.get": Kind(requests.ById, tasks.get, _yes),
    "task.create": Kind(requests.TaskCreate, tasks.create),
    "task.acquire": Kind(requests.TaskAcquire, tasks.acquire),
    "task.release": Kind(requests.TaskAt, tasks.release, _yes),
    "task.suspend": Kind(requests.TaskSuspend, tasks.suspend, _yes),
    "task.fulfill": Kind(requests.TaskFulfill, tasks.fulfill),
    "task.fence": Kind(requests.TaskFence, tasks.fence, _step_create),
    "task.heartbeat": Kind(requests.TaskHeartbeat, tasks.heartbeat, _yes),
    "task.halt": Kind(requests.TaskHalt, tasks.halt),
    "task.continue": Kind(requests.ById, tasks.resume),
    "task.search": Kind(requests.TaskSearch, tasks.search, _yes),
    "schedule.get": Kind(requests.ById, schedules.get, _yes),
    "schedule.create": Kind(requests.ScheduleCreate, schedules.create),
    "schedule.delete": Kind(requests.ById, schedules.delete),
    "schedule.search": Kind(requests.ScheduleSearch, schedules.search, _yes),
    "debug.reset": _debug(requests.Nothing, debug.reset),
    "debug.tick": _debug(requests.DebugTick, debug.tick),
    "debug.snap": _debug(requests.Nothing, debug.snap),
    "execution.cancel": _ours(requests.ExecutionCancel, cancellation.cancel),
    "task.fail": _ours(requests.TaskFail, tasks.fail, _yes),
    "engine.join": _ours(requests.EngineJoin, engines.join, _yes),
    "engine.serve": _ours(requests.EngineServe, engines.serve, _yes),
    "engine.leave": _ours(requests.Engine, engines.leave, _yes),
    "engine.move": _ours(requests.Engine, engines.move, _yes),
    "engine.lost": _ours(requests.Engine, engines.lost, _yes),
    "deployment.list": _ours(requests.Nothing, deployments.listing, _yes),
    "deployment.use": _ours(requests.Deployment, deployments.use),
    "deployment.delete": _ours(requests.Deployment, deployments.delete),
    "engine.list": _ours(requests.Nothing, engines.listing, _yes),
    "session.open": _ours(requests.SessionOpen, sessions.open_),
    "session.take": _ours(requests.SessionTake, sessions.take),
    "session.worker": _ours(requests.SessionWorker, sessions.worker, _yes),
    "session.give": _ours(requests.SessionAt, sessions.give, _yes),
    "session.close": _ours(requests.Session, sessions.close),
    "session.get": _ours(requests.Session, sessions.get, _yes),
    "cell.submit": _ours(requests.CellSubmit, sessions.submit, lambda request: request.sync_later),
    "call.create": _ours(requests.CallCreate, sessions.create_call),
    "prompt.answer": _ours(requests.PromptAnswer, prompt_answers.record),
    "listener.claim": _ours(requests.PostsClaim, listener_posts.claim, _yes),
    "listener.end": _ours(requests.PostEnd, listener_posts.end, _yes),
    "execution.tag": _ours(requests.ExecutionTag, execution_tags.change),
    "signal.send": _ours(requests.SignalSend, signals.send),
    "signal.look": _ours(requests.SignalLook, signals.look, _yes),
    "schedule.put": _ours(requests.SchedulePut, schedules.put),
    "schedule.list": _ours(requests.ScheduleList, schedules.listing, _yes),
    "schedule.pause": _ours(requests.SchedulePause, schedules.pause),
    "schedule.trigger": _ours(requests.ById, schedules.trigger),
    "schedule.backfill": _ours(requests.ScheduleBackfill, schedules.backfill),
    "queue.declare": _ours(requests.QueueDeclare, queues.declare),
    "queue.set": _ours(requests.QueueSet, queues.change),
    "queue.turn": _ours(requests.QueueTurn, queues.turn),
    "queue.delete": _ours(requests.QueueDelete, queues.delete),
    "queue.enqueue": _ours(requests.QueueEnqueue, queues.enqueue),
    "queue.get": _ours(requests.QueueGet, queues.get, _yes),
    "execution.source": _ours(requests.ExecutionSource, executions.note_source),
    "execution.upgrade": _ours(requests.ExecutionUpgrade, executions.upgrade),
    "execution.import": _ours(requests.ExecutionImport, executions.import_),
    "function.alias": _ours(requests.FunctionAlias, executions.alias),
    "call.list": _ours(requests.CallList, sessions.list_calls, _yes),
    "output.append": _ours(requests.OutputAppend, output.append, _yes),
    "output.truncate": _ours(requests.OutputTruncate, output.truncate, _yes),
    "checkpoint.publish": _ours(requests.CheckpointPublish, checkpoints.publish, _yes),
    "checkpoint.keep": _ours(requests.CheckpointPublish, checkpoints.publish, _yes),
    "checkpoint.latest": _ours(requests.Session, checkpoints.latest, _yes),
    "checkpoint.drop": _ours(requests.CheckpointGet, checkpoints.drop),
    "checkpoint.label": _ours(requests.CheckpointLabel, checkpoints.relabel),
    "checkpoint.get": _ours(requests.CheckpointGet, checkpoints.get, _yes),
    "checkpoint.list": _ours(requests.Session, checkpoints.listing, _yes),
    "chunk.get": _ours(requests.ChunkGet, checkpoints.chunks, _yes),
    "sweep.executions": _ours(requests.SweepExecutions, gc.sweep_executions, _yes),
    "retention.list": _ours(requests.Nothing, retentions.listing, _yes),
    "sweep.retention": _ours(requests.SweepRetention, gc.sweep_retention, _yes),
    "sealed.page": _ours(requests.SealedPage, sealed_values.page, _yes),
    "value.reseal": _ours(requests.ValueReseal, sealed_values.reseal),
    "sweep.checkpoints": _ours(requests.SweepCheckpoints, checkpoints.sweep, _yes),
    "sweep.messages": _ours(requests.SweepMessages, gc.sweep_messages, _yes),
    "sweep.audit": _ours(requests.SweepAudit, policies.sweep, _yes),
    "policy.get": _ours(requests.PolicyGet, policies.get, _yes),
    "policy.set": _ours(requests.PolicySet, policies.put),
    "audit.append": _ours(requests.AuditAppend, policies.append, _yes),
    "audit.list": _ours(requests.AuditList, policies.listing, _yes),
    "actor.send": _ours(requests.ActorSend, actors.send),
    "actor.fulfill": _ours(requests.ActorFulfill, actors.fulfill),
    "actor.stop": _ours(requests.ActorStop, actors.stop),
    "actor.restart": _ours(requests.ActorRestart, actors.restart),
    "actor.get": _ours(requests.ActorAt, actors.get, _yes),
    "actor.list": _ours(requests.ActorList, actors.listing, _yes),
    "actor.letters": _ours(requests.ActorLetters, actors.letters, _yes),
    "actor.journal": _ours(requests.ActorJournal, actors.journal, _yes),
    "actor.delete": _ours(requests.ActorDelete, actors.delete),
    "sweep.actors": _ours(requests.SweepActors, actors.sweep, _yes),
    "actor.subscribe": _ours(requests.ActorSubscribe, actors.subscribe),
    "actor.subscriptions": _ours(requests.ActorSubscriptions, actors.subscriptions, _yes),
    "kv.get": _ours(requests.KvAt, kv.get, _yes),
    "kv.set": _ours(requests.KvSet, kv.put),
    "kv.write": _ours(requests.KvWrite, kv.write),
    "kv.delete": _ours(requests.KvDelete, kv.delete),
    "kv.list": _ours(requests.KvList, kv.listing, _yes),
    "kv.usage": _ours(requests.KvNamespace, kv.usage, _yes),
}
