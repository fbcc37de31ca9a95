"""durable-exec: code that must not die. `import durable` is cheap; each name is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.confine.limits import Limits
    from bridge.output_rules import OutputRules
    from bridge.pool import Pool, PoolMetrics
    from capabilities.capability import Capability, call_id, capability
    from capabilities.permissions.manifest import Manifest
    from capabilities.prompt import Prompt
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
        ExecutionCancelled,
        ExecutionError,
        ExecutionLost,
        ExecutionTimedOut,
        InvalidAnswer,
        InvalidId,
        NonDeterminism,
        NotAsked,
        NotEncodable,
        NotFound,
        OutputDrainTimeout,
        OutputOverflow,
        PoolExhausted,
        ProtocolError,
        ResourceExceeded,
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
    from durable.functions.function import Function, Retry, function
    from durable.functions.operation import Operation
    from durable.prompts import OpenPrompt
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
        "ExecutionCancelled",
        "ExecutionError",
        "ExecutionLost",
        "ExecutionTimedOut",
        "InvalidAnswer",
        "InvalidId",
        "NonDeterminism",
        "NotAsked",
        "NotEncodable",
        "NotFound",
        "OutputDrainTimeout",
        "OutputOverflow",
        "PoolExhausted",
        "ProtocolError",
        "ResourceExceeded",
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
    "durable.functions.function": ("Function", "Retry", "function"),
    "durable.functions.operation": ("Operation",),
    "durable.prompts": ("OpenPrompt",),
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
    "Capability",
    "Change",
    "CheckpointDetail",
    "CheckpointError",
    "CheckpointInfo",
    "CheckpointTampered",
    "Conflict",
    "Context",
    "Decision",
    "Denied",
    "Display",
    "DisplayEvent",
    "DurableError",
    "Engine",
    "EngineClosed",
    "Execution",
    "ExecutionCancelled",
    "ExecutionError",
    "ExecutionLost",
    "ExecutionTimedOut",
    "Function",
    "Given",
    "InvalidAnswer",
    "InvalidId",
    "Keep",
    "Limits",
    "Lost",
    "Manifest",
    "MigrationAdapter",
    "NamespaceLimits",
    "NonDeterminism",
    "NotAsked",
    "NotEncodable",
    "NotFound",
    "OpenPrompt",
    "Operation",
    "OutputDrainTimeout",
    "OutputEvent",
    "OutputOverflow",
    "OutputRules",
    "Pool",
    "PoolExhausted",
    "PoolMetrics",
    "Prompt",
    "ProtocolError",
    "ResourceExceeded",
    "RestoreReport",
    "Result",
    "Retry",
    "Review",
    "Rewound",
    "RolledBack",
    "Session",
    "Sources",
    "StoreError",
    "StoreNewer",
    "StoreRefused",
    "Unenforceable",
    "Variable",
    "Waiting",
    "Webhook",
    "WorkerDied",
    "call_id",
    "capability",
    "checkpoint",
    "function",
    "open",
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
