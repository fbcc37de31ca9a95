"""Failures at the durability boundary: user code's error as a JSON document, and back as an exception.

resonate-sdk keeps only a rejection's message, so the message is the document (requirement D3). Nothing is
unpickled on the way back. An error whose class is a builtin exception is raised as an ExecutionError that also is that
builtin, so that `except ValueError` around a step works the same live and replayed.
"""

from __future__ import annotations

import builtins
import json
import traceback
from functools import lru_cache
from typing import Any, NoReturn

from durable.core import errors
from durable.core.errors import (
    DurableError,
    ExecutionCancelled,
    ExecutionError,
    ExecutionLost,
    ExecutionTimedOut,
    ResourceExceeded,
)
from durable.core.limits import ERROR_CHARS_MAX

WORKER_ERRORS = frozenset({"OutputDrainTimeout", "OutputOverflow"})
"""Errors of ours that a worker tells by their plain name (requirement P36)."""


class Rejection(Exception):
    """Carries an error document through the SDK. Refuses to be pickled, so the SDK stores the message alone."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a rejection is recorded as JSON only")


def document(error: BaseException, execution_id: str) -> dict[str, Any]:
    """The error document of what user code raised: its type, text, the user's own traceback, where."""
    if isinstance(error, ExecutionError):
        # A child's failure that nobody caught: keep the first cause, it is what helps.
        return {
            "type": "error",
            "exception_type": error.exception_type,
            "exception_message": error.exception_message,
            "traceback": error.traceback,
            "execution_id": error.execution_id or execution_id,
            **_excess(error),
        }
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    if isinstance(error, DurableError):
        module = "durable."
    return {
        "type": "error",
        "exception_type": f"{module}{kind.__qualname__}",
        "exception_message": cut(_text(error)),
        "traceback": cut(user_traceback(error)),
        "execution_id": execution_id,
    }


def _excess(error: ExecutionError) -> dict[str, Any]:
    if not isinstance(error, ResourceExceeded):
        return {}
    return {"resource": error.resource, "limit": error.limit, "used": error.used}


def cut(text: str) -> str:
    """The text, without its middle when it is longer than can be recorded; lone surrogates as escapes."""
    if len(text) > ERROR_CHARS_MAX:
        half = ERROR_CHARS_MAX // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters cut …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as inner:
        return f"<the error's own text failed: {type(inner).__name__}>"


def user_traceback(error: BaseException) -> str:
    """The traceback without our frames and the event loop's."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=False)
    _trim(frames)
    try:
        return "".join(frames.format())
    except Exception:
        return f"{type(error).__qualname__}: {_text(error)}\n"


def _trim(frames: traceback.TracebackException) -> None:
    frames.stack = traceback.StackSummary.from_list([frame for frame in frames.stack if not _ours(frame)])
    for inner in (frames.__cause__, frames.__context__, *(frames.exceptions or ())):
        if inner is not None:
            _trim(inner)


def _ours(frame: traceback.FrameSummary) -> bool:
    parts = frame.filename.replace("\\", "/").split("/")
    return any(f"{package}" in parts for package in ("resonate", "asyncio", "concurrent")) or (
        "durable" in parts and any(sub in parts for sub in ("functions", "sessions"))
    )


def rejection(error: BaseException, execution_id: str) -> Rejection:
    """What the SDK is given to settle an execution or step as rejected."""
    return Rejection(json.dumps(document(error, execution_id)))


def read_document(value: Any) -> dict[str, Any]:
    """The error document inside a rejected promise's decoded value, whoever wrote it."""
    message = value.get("message") if isinstance(value, dict) else value
    if isinstance(message, str):
        try:
            found = json.loads(message)
        except ValueError:
            found = None
        if isinstance(found, dict) and found.get("type") == "error":
            return found
        return {"type": "error", "exception_type": "", "exception_message": message, "traceback": ""}
    return {"type": "error", "exception_type": "", "exception_message": "rejected without a message", "traceback": ""}


def rebuild(state: str, value: Any, execution_id: str) -> ExecutionError:
    """The exception of a rejected promise: state is the record's, value its decoded value."""
    found = read_document(value)
    kind = str(found.get("exception_type") or "")
    text = str(found.get("exception_message") or "")
    where = str(found.get("execution_id") or execution_id)
    message = f"{kind}: {text}" if kind else text
    cls: type[ExecutionError]
    if state == "rejected_timedout":
        cls, kind, text = ExecutionTimedOut, "durable.ExecutionTimedOut", f"{execution_id} passed its deadline"
        message = text
    elif state == "rejected_canceled":
        cls, kind = ExecutionCancelled, "durable.ExecutionCancelled"
        message = text = f"{execution_id} was cancelled" + (f": {text}" if value else "")
    elif kind == "durable.ExecutionLost":
        cls = ExecutionLost
        last = found.get("last_error")
        message = text + (f"; last error: {last}" if last and str(last) not in text else "")
    else:
        cls = _class_of(kind)
    error = cls(
        message,
        exception_type=kind,
        exception_message=text,
        traceback=str(found.get("traceback") or ""),
        execution_id=where,
    )
    if isinstance(error, ResourceExceeded):
        error.resource = str(found.get("resource") or "")
        error.limit, error.used = _number(found.get("limit")), _number(found.get("used"))
    error.add_note(f"Execution ID: {where}")
    if error.traceback:
        error.add_note(f"Traceback where it was raised:\n{error.traceback.rstrip()}")
    return error


def _number(found: Any) -> float:
    return found if isinstance(found, int | float) else 0


@lru_cache(maxsize=256)
def _class_of(kind: str) -> type[ExecutionError]:
    """ExecutionError, mixed with the builtin exception or the error of ours that `kind` names."""
    own = kind.startswith("durable.") or kind in WORKER_ERRORS
    found = getattr(errors, kind.removeprefix("durable."), None) if own else getattr(builtins, kind, None)
    if own and isinstance(found, type) and issubclass(found, ExecutionError):
        return found
    if not (isinstance(found, type) and issubclass(found, Exception)) or issubclass(
        found,
        ExceptionGroup | StopIteration | StopAsyncIteration,  # these steer generators and coroutines
    ):
        return ExecutionError
    try:
        mixed = type(found.__name__, (ExecutionError, found), {"__str__": _message_of, "__module__": __name__})
        mixed("", exception_type=kind)
    except TypeError:  # layouts that do not mix
        return ExecutionError
    return mixed


def _message_of(error: BaseException) -> str:
    return str(error.args[0]) if error.args else ""
