"""What code gets for a call: the recorded value, or the error that it is raised as there."""

from __future__ import annotations

import json
from typing import Any, Literal

from bridge.messages import Call, CallError, CallResult
from capabilities.prompt import Settlement
from durable.functions.failure import read_document
from durable.functions.values import unpack


def refused(call: Call, session: str) -> CallResult:
    """The answer to a call that was not granted, that names another execution, or that cannot be recorded."""
    text = f"{call.capability}() was not granted to session {session!r}, or cannot be called here"
    return failed(call.call, "denied", "PermissionError", text)


def answered(call: int, promise: dict[str, Any]) -> CallResult:
    """What the code gets for a settled call."""
    value = unpack((promise.get("value") or {}).get("data"))
    state = promise["state"]
    tags = promise.get("tags") or {}
    if state == "resolved":
        if tags.get("durable:capability") == "input":
            settlement = Settlement.from_record(value)
            if settlement.declined:
                by = f" by {settlement.by}" if settlement.by else ""
                return failed(call, "denied", "PermissionError", f"the question was declined{by}")
            answer = settlement.value
            value = answer if isinstance(answer, str) else json.dumps(answer)
        return CallResult(call=call, value=value)
    if state == "rejected_timedout":
        return failed(call, "timeout", "TimeoutError", "nobody answered before the deadline")
    if state == "rejected_canceled":
        return failed(call, "eof", "EOFError", "the question was cancelled")
    return error(call, read_document(value))


def outcome(call: int, promise: dict[str, Any]) -> CallResult:
    """What the code gets for an execution that it waited for: a function's value, or a cell's."""
    value = unpack((promise.get("value") or {}).get("data"))
    if promise["state"] == "resolved":
        is_cell = "durable:session" in (promise.get("tags") or {})
        return CallResult(call=call, value=value.get("value") if is_cell and isinstance(value, dict) else value)
    if promise["state"] == "rejected":
        return error(call, read_document(value))
    how = "passed its deadline" if promise["state"] == "rejected_timedout" else "was cancelled"
    return failed(call, "error", "RuntimeError", f"{promise['id'].removeprefix('exec:')} {how}")


def error(call: int, found: dict[str, Any]) -> CallResult:
    """An error document as what the code gets."""
    kind = str(found.get("exception_type") or "RuntimeError")
    return failed(call, "error", kind, str(found.get("exception_message") or ""))


def failed(call: int, kind: Literal["eof", "timeout", "denied", "error"], name: str, text: str) -> CallResult:
    """An error by its kind, or by the name of its class."""
    return CallResult(call=call, error=CallError(kind=kind, exception_type=name, exception_message=text))
