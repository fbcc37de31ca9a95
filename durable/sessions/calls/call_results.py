"""The results that code gets for its calls: the recorded value, or the error that is raised there."""

from __future__ import annotations

import json
from typing import Any, Literal

from bridge.protocol.messages import Call, CallError, CallResult
from durable.functions.failures import read_document
from durable.records.values import unpack


def refused(call: Call, session: str) -> CallResult:
    """The answer to a call that was not granted, that names another execution, or that cannot be recorded."""
    text = f"{call.capability}() was not granted to session {session!r}, or cannot be called here"
    return failed(call.call, "denied", "PermissionError", text)


def ended(call: Call) -> CallResult:
    """The answer to a call whose execution was over when it came: of a thread or task it is made again (B4)."""
    return failed(call.call, "ended", "RuntimeError", f"{call.capability}() was called when its execution had ended")


def answered(call: Call, promise: dict[str, Any]) -> CallResult:
    """The result of a settled call."""
    value = unpack((promise.get("value") or {}).get("data"))
    state = promise["state"]
    is_question = (promise.get("tags") or {}).get("durable:capability") == "input"
    if state == "rejected":
        return error(call.call, read_document(value))
    if is_question:
        return _answer(call, promise, value)
    if state == "resolved":
        return CallResult(call=call.call, value=value)
    if state == "rejected_timedout":
        return failed(call.call, "timeout", "TimeoutError", "it did not end before the deadline")
    return failed(call.call, "eof", "EOFError", "the call was cancelled")


def _answer(call: Call, promise: dict[str, Any], value: Any) -> CallResult:
    """A person's answer: text for `input`, else `{value}`, or `{again}` with why it has to be asked once more."""
    from capabilities.prompts.answer_rules import told
    from capabilities.prompts.prompt import read_prompt

    prompt = read_prompt(unpack((promise.get("param") or {}).get("data")))
    plain = not call.arguments.get("method")
    found = told(prompt.model_copy(update={"form": "input"}) if plain else prompt, promise["state"], value)
    match found.error:
        case None:
            if plain:
                text = found.value if isinstance(found.value, str) else json.dumps(found.value)
                return CallResult(call=call.call, value=text)
            return CallResult(call=call.call, value={"value": found.value})
        case "again":
            return CallResult(call=call.call, value={"again": found.text})
        case "denied":
            return failed(call.call, "denied", "PermissionError", found.text)
        case "timeout":
            return failed(call.call, "timeout", "TimeoutError", found.text)
        case _:
            return failed(call.call, "eof", "EOFError", found.text)


def outcome(call: int, promise: dict[str, Any]) -> CallResult:
    """The result of a wait for an execution: a function's value, or a cell's."""
    value = unpack((promise.get("value") or {}).get("data"))
    if promise["state"] == "resolved":
        is_cell = "durable:session" in (promise.get("tags") or {})
        return CallResult(call=call, value=value.get("value") if is_cell and isinstance(value, dict) else value)
    if promise["state"] == "rejected":
        return error(call, read_document(value))
    how = "passed its deadline" if promise["state"] == "rejected_timedout" else "was cancelled"
    return failed(call, "error", "RuntimeError", f"{promise['id'].removeprefix('exec:')} {how}")


def error(call: int, found: dict[str, Any]) -> CallResult:
    """The result of a call that failed with this error document."""
    kind = str(found.get("exception_type") or "RuntimeError")
    return failed(call, "error", kind, str(found.get("exception_message") or ""))


def failed(call: int, kind: Literal["eof", "timeout", "denied", "error", "ended"], name: str, text: str) -> CallResult:
    """An error by its kind, or by the name of its class."""
    return CallResult(call=call, error=CallError(kind=kind, exception_type=name, exception_message=text))
