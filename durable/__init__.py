"""durable-exec: code that must not die. `import durable` is cheap; each name is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.confine.limits import Limits as Limits
    from bridge.launch.pool import (
        Pool as Pool,
        PoolMetrics as PoolMetrics,
    )
    from bridge.protocol.output_rules import OutputRules as OutputRules
    from capabilities.actors.backoff import Backoff as Backoff
    from capabilities.actors.errors import (
        ActorCycle as ActorCycle,
        ActorError as ActorError,
        ActorNotFound as ActorNotFound,
        ActorNotReady as ActorNotReady,
        ActorStopped as ActorStopped,
        CodecError as CodecError,
        InvalidSupervision as InvalidSupervision,
        InvalidTopic as InvalidTopic,
        JournalFull as JournalFull,
        MailboxFull as MailboxFull,
        MessagingError as MessagingError,
        RequestTimedOut as RequestTimedOut,
        StateMismatch as StateMismatch,
        TooManyActors as TooManyActors,
        TreeIntegrityViolation as TreeIntegrityViolation,
        UnknownCorrelation as UnknownCorrelation,
        UnknownMethod as UnknownMethod,
    )
    from capabilities.actors.health import HealthChecks as HealthChecks
    from capabilities.capability import (
        Capability as Capability,
        call_id as call_id,
        capability as capability,
    )
    from capabilities.permissions.manifest import Manifest as Manifest
    from capabilities.prompts.prompt import Prompt as Prompt
    from capabilities.sandbox.errors import (
        CacheUnsafe as CacheUnsafe,
        Cancelled as Cancelled,
        CapabilityDenied as CapabilityDenied,
        ComponentExited as ComponentExited,
        ComponentLoadFailed as ComponentLoadFailed,
        ComponentNotFound as ComponentNotFound,
        ComponentParseFailed as ComponentParseFailed,
        ComponentTrapped as ComponentTrapped,
        ComponentValidationFailed as ComponentValidationFailed,
        CpuLimitExceeded as CpuLimitExceeded,
        CpuTimeExhausted as CpuTimeExhausted,
        EngineInitialization as EngineInitialization,
        ExecutionFailed as ExecutionFailed,
        ExecutionTimeout as ExecutionTimeout,
        FuelExhausted as FuelExhausted,
        HostError as HostError,
        HostTimeout as HostTimeout,
        InvalidConfiguration as InvalidConfiguration,
        MissingCpuConfig as MissingCpuConfig,
        MissingMemoryConfig as MissingMemoryConfig,
        OutOfMemory as OutOfMemory,
        ResourceLimitExceeded as ResourceLimitExceeded,
        SandboxError as SandboxError,
        SandboxUnavailable as SandboxUnavailable,
        SerializationError as SerializationError,
        SnapshotRefused as SnapshotRefused,
        Used as Used,
    )
    from capabilities.sandbox.front import Ran as Ran
    from capabilities.sandbox.javascript.errors import (
        InstanceBusy as InstanceBusy,
        InvalidSnapshot as InvalidSnapshot,
        ScriptError as ScriptError,
        ScriptSyntaxError as ScriptSyntaxError,
        StateLost as StateLost,
    )
    from capabilities.sandbox.limits import SandboxLimits as SandboxLimits
    from capabilities.sandbox.wasm.wit_values import (
        Err as Err,
        Ok as Ok,
        Some as Some,
        Variant as Variant,
    )
    from checkpoint.checkpoint_request import checkpoint as checkpoint
    from checkpoint.resumable import resumable as resumable
    from durable.actors.actor import actor as actor
    from durable.actors.component_actor import component_actor as component_actor
    from durable.actors.actor_context import ActorContext as ActorContext
    from durable.actors.actor_class import read as read
    from durable.actors.health_watch import ActorHealth as ActorHealth
    from durable.actors.management import (
        ActorInfo as ActorInfo,
        DeadLetter as DeadLetter,
    )
    from durable.actors.supervise import Supervise as Supervise
    from durable.client.api_client import Client as Client
    from durable.core.answer_types import (
        Decision as Decision,
        Given as Given,
        Review as Review,
    )
    from durable.core.errors import (
        AnswerLate as AnswerLate,
        BadArguments as BadArguments,
        Busy as Busy,
        CheckpointError as CheckpointError,
        CheckpointTampered as CheckpointTampered,
        Conflict as Conflict,
        Deadlock as Deadlock,
        Denied as Denied,
        DurableError as DurableError,
        EngineClosed as EngineClosed,
        EngineFailed as EngineFailed,
        ExecutionCancelled as ExecutionCancelled,
        ExecutionError as ExecutionError,
        ExecutionLost as ExecutionLost,
        ExecutionTimedOut as ExecutionTimedOut,
        Fatal as Fatal,
        Halted as Halted,
        InvalidAnswer as InvalidAnswer,
        InvalidId as InvalidId,
        KeyUnavailable as KeyUnavailable,
        LimitExceeded as LimitExceeded,
        NonDeterminism as NonDeterminism,
        NotAsked as NotAsked,
        NotEncodable as NotEncodable,
        NotFound as NotFound,
        NotServed as NotServed,
        OutputDrainTimeout as OutputDrainTimeout,
        OutputOverflow as OutputOverflow,
        PoolExhausted as PoolExhausted,
        ProtocolError as ProtocolError,
        ResourceExceeded as ResourceExceeded,
        RetriesExhausted as RetriesExhausted,
        RetryAfter as RetryAfter,
        StepNeeded as StepNeeded,
        StoreDenied as StoreDenied,
        StoreError as StoreError,
        StoreForeign as StoreForeign,
        StoreFull as StoreFull,
        StoreLacks as StoreLacks,
        StoreMissing as StoreMissing,
        StoreNewer as StoreNewer,
        StoreRefused as StoreRefused,
        StoreUnreachable as StoreUnreachable,
        Unenforceable as Unenforceable,
        ValueDamaged as ValueDamaged,
        Waiting as Waiting,
        WorkerDied as WorkerDied,
    )
    from durable.core.events import (
        Event as Event,
        Logged as Logged,
        log_event as log_event,
    )
    from durable.core.value_codec import ValueCodec as ValueCodec
    from durable.engine.engine import (
        Engine as Engine,
        open as open,
    )
    from durable.engine.schedule_operations import Schedule as Schedule, next_times as next_times
    from durable.engine.execution_document import ExecutionDocument as ExecutionDocument
    from durable.executions.handle import Execution as Execution
    from durable.executions.stream_reader import StreamItem as StreamItem
    from durable.functions.child_methods import ChildExecution as ChildExecution
    from durable.functions.context import Context as Context, FunctionInfo as FunctionInfo
    from durable.functions.definition import (
        Function as Function,
        Retry as Retry,
        function as function,
        register as register,
    )
    from durable.functions.failures import raised as raised
    from durable.functions.operation import Operation as Operation
    from durable.functions.signal_methods import OutsidePromise as OutsidePromise
    from durable.functions.replay.replay_check import ReplayCheck as ReplayCheck
    from durable.functions.step import cancelled as cancelled
    from durable.functions.stream_methods import (
        ItemStream as ItemStream,
        stream as stream,
    )
    from durable.prompts.open_prompt import OpenPrompt as OpenPrompt
    from durable.prompts.webhooks import Webhook as Webhook
    from durable.records.displays import Display as Display
    from durable.records.result import (
        Lost as Lost,
        RestoreReport as RestoreReport,
        Result as Result,
        RolledBack as RolledBack,
    )
    from durable.queues.queue import Queue as Queue
    from durable.sandbox.component_registry import Component as Component
    from durable.sessions.calls.audit import AuditEntry as AuditEntry
    from durable.sessions.checkpoints.history import (
        Change as Change,
        CheckpointDetail as CheckpointDetail,
        CheckpointInfo as CheckpointInfo,
    )
    from durable.sessions.checkpoints.retention import Keep as Keep
    from durable.sessions.journal_mode import MigrationAdapter as MigrationAdapter
    from durable.sessions.namespace import (
        NamespaceLimits as NamespaceLimits,
        Sources as Sources,
        Variable as Variable,
    )
    from durable.sessions.output.live_output import (
        DisplayEvent as DisplayEvent,
        OutputEvent as OutputEvent,
        Rewound as Rewound,
    )
    from durable.sessions.session import Session as Session

_HOME = {
    "capabilities.actors.backoff": ("Backoff",),
    "capabilities.actors.errors": (
        "ActorCycle",
        "ActorError",
        "ActorNotFound",
        "ActorNotReady",
        "ActorStopped",
        "CodecError",
        "InvalidSupervision",
        "InvalidTopic",
        "JournalFull",
        "MailboxFull",
        "MessagingError",
        "RequestTimedOut",
        "StateMismatch",
        "TooManyActors",
        "TreeIntegrityViolation",
        "UnknownCorrelation",
        "UnknownMethod",
    ),
    "capabilities.actors.health": ("HealthChecks",),
    "durable.actors.actor": ("actor",),
    "durable.actors.component_actor": ("component_actor",),
    "durable.actors.actor_context": ("ActorContext",),
    "durable.actors.actor_class": ("read",),
    "durable.actors.health_watch": ("ActorHealth",),
    "durable.actors.management": ("ActorInfo", "DeadLetter"),
    "durable.actors.supervise": ("Supervise",),
    "bridge.confine.limits": ("Limits",),
    "bridge.protocol.output_rules": ("OutputRules",),
    "bridge.launch.pool": ("Pool", "PoolMetrics"),
    "capabilities.capability": ("Capability", "call_id", "capability"),
    "capabilities.permissions.manifest": ("Manifest",),
    "capabilities.prompts.prompt": ("Prompt",),
    "capabilities.sandbox.javascript.errors": (
        "InstanceBusy",
        "InvalidSnapshot",
        "ScriptError",
        "ScriptSyntaxError",
        "StateLost",
    ),
    "capabilities.sandbox.errors": (
        "CacheUnsafe",
        "Cancelled",
        "CapabilityDenied",
        "ComponentExited",
        "ComponentLoadFailed",
        "ComponentNotFound",
        "ComponentParseFailed",
        "ComponentTrapped",
        "ComponentValidationFailed",
        "CpuLimitExceeded",
        "CpuTimeExhausted",
        "EngineInitialization",
        "ExecutionFailed",
        "ExecutionTimeout",
        "FuelExhausted",
        "HostError",
        "HostTimeout",
        "InvalidConfiguration",
        "MissingCpuConfig",
        "MissingMemoryConfig",
        "OutOfMemory",
        "ResourceLimitExceeded",
        "SandboxError",
        "SandboxUnavailable",
        "SerializationError",
        "SnapshotRefused",
        "Used",
    ),
    "capabilities.sandbox.front": ("Ran",),
    "capabilities.sandbox.limits": ("SandboxLimits",),
    "capabilities.sandbox.wasm.wit_values": ("Err", "Ok", "Some", "Variant"),
    "checkpoint.checkpoint_request": ("checkpoint",),
    "checkpoint.resumable": ("resumable",),
    "durable.core.errors": (
        "AnswerLate",
        "BadArguments",
        "Busy",
        "CheckpointError",
        "CheckpointTampered",
        "Conflict",
        "Deadlock",
        "Denied",
        "DurableError",
        "EngineClosed",
        "EngineFailed",
        "ExecutionCancelled",
        "ExecutionError",
        "ExecutionLost",
        "ExecutionTimedOut",
        "Fatal",
        "Halted",
        "InvalidAnswer",
        "InvalidId",
        "KeyUnavailable",
        "NonDeterminism",
        "NotAsked",
        "NotEncodable",
        "NotFound",
        "NotServed",
        "NotServed",
        "OutputDrainTimeout",
        "OutputOverflow",
        "PoolExhausted",
        "ProtocolError",
        "LimitExceeded",
        "ResourceExceeded",
        "RetriesExhausted",
        "RetryAfter",
        "StepNeeded",
        "StoreDenied",
        "StoreError",
        "StoreForeign",
        "StoreFull",
        "StoreLacks",
        "StoreMissing",
        "StoreNewer",
        "StoreRefused",
        "StoreUnreachable",
        "Unenforceable",
        "ValueDamaged",
        "Waiting",
        "WorkerDied",
    ),
    "durable.client.api_client": ("Client",),
    "durable.core.answer_types": ("Decision", "Given", "Review"),
    "durable.core.value_codec": ("ValueCodec",),
    "durable.engine.engine": ("Engine", "open"),
    "durable.engine.schedule_operations": ("Schedule", "next_times"),
    "durable.engine.execution_document": ("ExecutionDocument",),
    "durable.executions.handle": ("Execution",),
    "durable.executions.stream_reader": ("StreamItem",),
    "durable.core.events": ("Event", "Logged", "log_event"),
    "durable.functions.child_methods": ("ChildExecution",),
    "durable.functions.context": ("Context", "FunctionInfo"),
    "durable.functions.failures": ("raised",),
    "durable.functions.definition": ("Function", "Retry", "function", "register"),
    "durable.functions.operation": ("Operation",),
    "durable.functions.signal_methods": ("OutsidePromise",),
    "durable.functions.replay.replay_check": ("ReplayCheck",),
    "durable.functions.step": ("cancelled",),
    "durable.functions.stream_methods": ("ItemStream", "stream"),
    "durable.prompts.open_prompt": ("OpenPrompt",),
    "durable.queues.queue": ("Queue",),
    "durable.sandbox.component_registry": ("Component",),
    "durable.sessions.calls.audit": ("AuditEntry",),
    "durable.sessions.checkpoints.history": ("Change", "CheckpointDetail", "CheckpointInfo"),
    "durable.records.displays": ("Display",),
    "durable.sessions.checkpoints.retention": ("Keep",),
    "durable.sessions.journal_mode": ("MigrationAdapter",),
    "durable.sessions.namespace": ("NamespaceLimits", "Sources", "Variable"),
    "durable.sessions.output.live_output": ("DisplayEvent", "OutputEvent", "Rewound"),
    "durable.records.result": ("Lost", "RestoreReport", "Result", "RolledBack"),
    "durable.sessions.session": ("Session",),
    "durable.prompts.webhooks": ("Webhook",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - one list: checkers have the imports above


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'durable' has no attribute {name!r}")
    found = getattr(import_module(where), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
