"""W9's word for how code ended, whichever backend ran it."""

from __future__ import annotations

from typing import Literal

from capabilities.sandbox.errors import (
    CapabilityDenied,
    ComponentLoadFailed,
    ComponentTrapped,
    CpuLimitExceeded,
    ExecutionFailed,
    HostTimeout,
    ResourceLimitExceeded,
)
from capabilities.sandbox.javascript.errors import ScriptError, ScriptSyntaxError, StateLost
from capabilities.sandbox.wasm.wit_values import Err
from durable.core.errors import DurableError, ExecutionError, ResourceExceeded

type Kind = Literal["syntax", "runtime", "permission", "resource", "timeout", "unknown"]

_KINDS: tuple[tuple[type[DurableError], Kind], ...] = (
    (ScriptSyntaxError, "syntax"),
    (ComponentLoadFailed, "syntax"),
    (ScriptError, "runtime"),
    (ComponentTrapped, "runtime"),
    (ExecutionFailed, "runtime"),
    (Err, "runtime"),
    (CapabilityDenied, "permission"),
    (CpuLimitExceeded, "timeout"),
    (HostTimeout, "timeout"),
    (ResourceLimitExceeded, "resource"),
    (StateLost, "resource"),
    (ResourceExceeded, "resource"),
)
_PYTHON: dict[str, Kind] = {"SyntaxError": "syntax", "IndentationError": "syntax", "PermissionError": "permission"}
_PYTHON |= {"Denied": "permission", "CapabilityDenied": "permission"}


def kind_of(error: DurableError) -> Kind:
    """syntax: nothing of it ran. timeout: its time, its CPU time or its fuel was over."""
    for cls, kind in _KINDS:
        if isinstance(error, cls):
            return kind
    if isinstance(error, ExecutionError):
        return _PYTHON.get(error.exception_type.rpartition(".")[2], "runtime")
    return "unknown"
