"""durable-exec: code that must not die. `import durable` is cheap; each name is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.confine.limits import Limits
    from bridge.output_rules import OutputRules
    from bridge.pool import Pool, PoolMetrics
    from capabilities.capability import Capability, call_id, capability
    from capabilities.javascript.errors import ScriptError, ScriptSyntaxError
    from capabilities.permissions.manifest import Manifest
    from capabilities.prompt import Prompt
    from capabilities.sandbox.errors import (
        CacheUnsafe,
        CapabilityDenied,
        ComponentExited,
        ComponentLoadFailed,
        ComponentNotFound,
        ComponentParseFailed,
        ComponentTrapped,
        ComponentValidationFailed,
        CpuLimitExceeded,
        CpuTimeExhausted,
        EngineInitialization,
        ExecutionFailed,
        ExecutionTimeout,
        FuelExhausted,
        HostError,
        HostTimeout,
        InvalidConfiguration,
        MissingCpuConfig,
        MissingMemoryConfig,
        OutOfMemory,
        ResourceLimitExceeded,
        SandboxError,
        SandboxUnavailable,
        SnapshotRefused,
        Used,
    )
    from capabilities.sandbox.front import Ran
    from capabilities.sandbox.limits import SandboxLimits
    from capabilities.sandbox.values import Err, Ok, Some, Variant
    from checkpoint.asked import checkpoint
    from checkpoint.resumable import resumable
    from durable.core.errors import (
        AnswerLate,
        BadArguments,
        Busy,
        CheckpointError,
        CheckpointTampered,
        Conflict,
        Denied,
        DurableError,
        EngineClosed,
        EngineFailed,
        ExecutionCancelled,
        ExecutionError,
        ExecutionLost,
        ExecutionTimedOut,
        Fatal,
        InvalidAnswer,
        InvalidId,
        LimitExceeded,
        NonDeterminism,
        NotAsked,
        NotEncodable,
        NotFound,
        NotServed,
        OutputDrainTimeout,
        OutputOverflow,
        PoolExhausted,
        ProtocolError,
        ResourceExceeded,
        RetryAfter,
        StoreError,
        StoreNewer,
        StoreRefused,
        Unenforceable,
        Waiting,
        WorkerDied,
    )
    from durable.core.people import Decision, Given, Review
    from durable.engine import Engine, open
    from durable.execution import Execution
    from durable.functions.context import Context
    from durable.functions.failure import raised
    from durable.functions.function import Function, Retry, function
    from durable.functions.operation import Operation
    from durable.functions.steps import cancelled
    from durable.prompts import OpenPrompt
    from durable.sandbox.declared import Component
    from durable.sessions.audit import AuditEntry
    from durable.sessions.displays import Display
    from durable.sessions.history import Change, CheckpointDetail, CheckpointInfo
    from durable.sessions.keeping import Keep
    from durable.sessions.migration import MigrationAdapter
    from durable.sessions.namespace import NamespaceLimits, Sources, Variable
    from durable.sessions.recent import DisplayEvent, OutputEvent, Rewound
    from durable.sessions.result import Lost, RestoreReport, Result, RolledBack
    from durable.sessions.session import Session
    from durable.webhooks import Webhook

_HOME = {
    "bridge.confine.limits": ("Limits",),
    "bridge.output_rules": ("OutputRules",),
    "bridge.pool": ("Pool", "PoolMetrics"),
    "capabilities.capability": ("Capability", "call_id", "capability"),
    "capabilities.permissions.manifest": ("Manifest",),
    "capabilities.prompt": ("Prompt",),
    "capabilities.javascript.errors": ("ScriptError", "ScriptSyntaxError"),
    "capabilities.sandbox.errors": (
        "CacheUnsafe",
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
        "SnapshotRefused",
        "Used",
    ),
    "capabilities.sandbox.front": ("Ran",),
    "capabilities.sandbox.limits": ("SandboxLimits",),
    "capabilities.sandbox.values": ("Err", "Ok", "Some", "Variant"),
    "checkpoint.asked": ("checkpoint",),
    "checkpoint.resumable": ("resumable",),
    "durable.core.errors": (
        "AnswerLate",
        "BadArguments",
        "Busy",
        "CheckpointError",
        "CheckpointTampered",
        "Conflict",
        "Denied",
        "DurableError",
        "EngineClosed",
        "EngineFailed",
        "ExecutionCancelled",
        "ExecutionError",
        "ExecutionLost",
        "ExecutionTimedOut",
        "Fatal",
        "InvalidAnswer",
        "InvalidId",
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
        "RetryAfter",
        "StoreError",
        "StoreNewer",
        "StoreRefused",
        "Unenforceable",
        "Waiting",
        "WorkerDied",
    ),
    "durable.core.people": ("Decision", "Given", "Review"),
    "durable.engine": ("Engine", "open"),
    "durable.execution": ("Execution",),
    "durable.functions.context": ("Context",),
    "durable.functions.failure": ("raised",),
    "durable.functions.function": ("Function", "Retry", "function"),
    "durable.functions.operation": ("Operation",),
    "durable.functions.steps": ("cancelled",),
    "durable.prompts": ("OpenPrompt",),
    "durable.sandbox.declared": ("Component",),
    "durable.sessions.audit": ("AuditEntry",),
    "durable.sessions.history": ("Change", "CheckpointDetail", "CheckpointInfo"),
    "durable.sessions.displays": ("Display",),
    "durable.sessions.keeping": ("Keep",),
    "durable.sessions.migration": ("MigrationAdapter",),
    "durable.sessions.namespace": ("NamespaceLimits", "Sources", "Variable"),
    "durable.sessions.recent": ("DisplayEvent", "OutputEvent", "Rewound"),
    "durable.sessions.result": ("Lost", "RestoreReport", "Result", "RolledBack"),
    "durable.sessions.session": ("Session",),
    "durable.webhooks": ("Webhook",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AnswerLate",
    "AuditEntry",
    "BadArguments",
    "Busy",
    "CacheUnsafe",
    "Capability",
    "CapabilityDenied",
    "Change",
    "CheckpointDetail",
    "CheckpointError",
    "CheckpointInfo",
    "CheckpointTampered",
    "Component",
    "ComponentExited",
    "ComponentLoadFailed",
    "ComponentNotFound",
    "ComponentParseFailed",
    "ComponentTrapped",
    "ComponentValidationFailed",
    "Conflict",
    "Context",
    "CpuLimitExceeded",
    "CpuTimeExhausted",
    "Decision",
    "Denied",
    "Display",
    "DisplayEvent",
    "DurableError",
    "Engine",
    "EngineClosed",
    "EngineFailed",
    "EngineInitialization",
    "Err",
    "Execution",
    "ExecutionCancelled",
    "ExecutionError",
    "ExecutionFailed",
    "ExecutionLost",
    "ExecutionTimedOut",
    "ExecutionTimeout",
    "Fatal",
    "FuelExhausted",
    "Function",
    "Given",
    "HostError",
    "HostTimeout",
    "InvalidAnswer",
    "InvalidConfiguration",
    "InvalidId",
    "Keep",
    "LimitExceeded",
    "Limits",
    "Lost",
    "Manifest",
    "MigrationAdapter",
    "MissingCpuConfig",
    "MissingMemoryConfig",
    "NamespaceLimits",
    "NonDeterminism",
    "NotAsked",
    "NotEncodable",
    "NotFound",
    "NotServed",
    "Ok",
    "OpenPrompt",
    "Operation",
    "OutOfMemory",
    "OutputDrainTimeout",
    "OutputEvent",
    "OutputOverflow",
    "OutputRules",
    "Pool",
    "PoolExhausted",
    "PoolMetrics",
    "Prompt",
    "ProtocolError",
    "Ran",
    "ResourceExceeded",
    "ResourceLimitExceeded",
    "RestoreReport",
    "Result",
    "Retry",
    "RetryAfter",
    "Review",
    "Rewound",
    "RolledBack",
    "SandboxError",
    "SandboxLimits",
    "SandboxUnavailable",
    "ScriptError",
    "ScriptSyntaxError",
    "Session",
    "SnapshotRefused",
    "Some",
    "Sources",
    "StoreError",
    "StoreNewer",
    "StoreRefused",
    "Unenforceable",
    "Used",
    "Variable",
    "Variant",
    "Waiting",
    "Webhook",
    "WorkerDied",
    "call_id",
    "cancelled",
    "capability",
    "checkpoint",
    "function",
    "open",
    "raised",
    "resumable",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'durable' has no attribute {name!r}")
    found = getattr(import_module(where), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
