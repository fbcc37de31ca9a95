"""Failures at the durability boundary: user code's error as a JSON document, and back as an exception.

resonate-sdk keeps only a rejection's message, so the message is the document (requirement D3). Nothing is
unpickled on the way back. An error whose class is a builtin exception is raised as an ExecutionError that also is that
builtin, so that `except ValueError` around a step works the same live and replayed.
"""

from __future__ import annotations

import builtins
import json
import os
import traceback
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from capabilities.javascript import errors as script_errors
from capabilities.sandbox import errors as sandbox_errors
from capabilities.sandbox import values as component_values
from capabilities.sandbox.errors import SandboxError, Used
from durable.core import errors
from durable.core.errors import (
    DurableError,
    ExecutionCancelled,
    ExecutionError,
    ExecutionLost,
    ExecutionTimedOut,
    NotEncodable,
    ResourceExceeded,
)
from durable.core.limits import ERROR_CHARS_MAX

WORKER_ERRORS = frozenset({"OutputDrainTimeout", "OutputOverflow"})
"""Errors of ours that a worker tells by their plain name (requirement P36)."""

OWN = (errors, sandbox_errors, script_errors, component_values)
"""Where the errors are that records name `durable.…`, the first that has the name."""


_ROOT = Path(__file__).parents[2]
_DEMO = f"{_ROOT / 'durable' / 'demo'}{os.sep}"


@lru_cache(maxsize=1)
def _runs_user_code() -> tuple[str, ...]:
    """The directories of what runs the user's code: its frames say nothing of that code."""
    ours = [_ROOT / package for package in ("durable", "capabilities", "bridge", "checkpoint")]
    specs = [find_spec(package) for package in ("asyncio", "concurrent", "resonate")]
    theirs = [place for spec in specs if spec is not None for place in spec.submodule_search_locations or ()]
    return tuple(f"{directory}{os.sep}" for directory in (*ours, *theirs))


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
            **_about(error),
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
        **_about(error),
    }


def _about(error: BaseException) -> dict[str, Any]:
    """What is recorded of an error beside its text."""
    found: dict[str, Any] = {}
    if isinstance(error, ResourceExceeded):
        found = {"resource": error.resource, "limit": error.limit, "used": error.used}
    elif isinstance(error, SandboxError):
        about = {name: _recordable(getattr(error, name, None)) for name in error.about}
        found = {"about": about, "used": error.used.to_json()}
    if isinstance(error, DurableError) and any(error.printed):
        found["printed"] = [cut(text) for text in error.printed]
    return found


def _recordable(value: Any) -> Any:
    from durable.functions.values import to_json  # pydantic, which whoever only looks at a store does without

    if isinstance(value, str):
        return cut(value)
    try:
        return to_json(value, "it")
    except NotEncodable:
        return None


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
    """The traceback without our frames and the event loop's; of another language, its own."""
    if isinstance(error, DurableError) and error.foreign_traceback:
        return error.foreign_traceback
    frames = traceback.TracebackException.from_exception(error, capture_locals=False)
    _trim(frames)
    alone = not frames.stack and frames.__cause__ is None and frames.__context__ is None and not frames.exceptions
    try:
        return "".join(frames.format_exception_only() if alone else frames.format())
    except Exception:
        return f"{type(error).__qualname__}: {_text(error)}\n"


def _trim(frames: traceback.TracebackException) -> None:
    frames.stack = traceback.StackSummary.from_list([frame for frame in frames.stack if not _ours(frame)])
    for inner in (frames.__cause__, frames.__context__, *(frames.exceptions or ())):
        if inner is not None:
            _trim(inner)


def _ours(frame: traceback.FrameSummary) -> bool:
    """The demo's functions are a user's."""
    return frame.filename.startswith(_runs_user_code()) and not frame.filename.startswith(_DEMO)


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
    _tell(error, found)
    error.add_note(f"Execution ID: {where}")
    if error.traceback:
        error.add_note(f"Traceback where it was raised:\n{error.traceback.rstrip()}")
    return error


def _tell(error: ExecutionError, found: dict[str, Any]) -> None:
    """What `_about` recorded; what does not fit is not known."""
    match found.get("printed"):
        case [str(out), str(err)]:
            error.printed = (out, err)
    if isinstance(error, ResourceExceeded):
        error.resource = str(found.get("resource") or "")
        error.limit, error.used = _number(found.get("limit")), _number(found.get("used"))
    elif isinstance(error, SandboxError):
        about = found.get("about")
        for name in error.about:
            setattr(error, name, about.get(name) if isinstance(about, dict) else None)
        error.used = Used.of(found.get("used"), error.printed)


def _number(found: Any) -> float:
    return found if isinstance(found, int | float) else 0


@lru_cache(maxsize=256)
def _class_of(kind: str) -> type[ExecutionError]:
    """ExecutionError, mixed with the builtin exception or the error of ours that `kind` names."""
    own = kind.startswith("durable.") or kind in WORKER_ERRORS
    name = kind.removeprefix("durable.")
    homes = OWN if own else (builtins,)
    found = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
    if own and isinstance(found, type) and issubclass(found, ExecutionError):
        return found
    if not (isinstance(found, type) and issubclass(found, Exception)) or issubclass(
        found,
        ExceptionGroup | StopIteration | StopAsyncIteration,  # these steer generators and coroutines
    ):
        return ExecutionError
    try:
        body: dict[str, Any] = {"__str__": _message_of, "__module__": __name__}
        if issubclass(found, SandboxError):
            body["__init__"] = _recorded
        mixed = type(found.__name__, (ExecutionError, found), body)
        mixed("", exception_type=kind)
    except TypeError:  # layouts that do not mix
        return ExecutionError
    return mixed


def _recorded(error: ExecutionError, message: str, **told: str) -> None:
    """ExecutionError's, past the one of the class that is mixed in: its attributes come from the record."""
    Exception.__init__(error, message)
    error.exception_type = told.get("exception_type", "")
    error.exception_message = told.get("exception_message", "") or message
    error.traceback, error.execution_id = told.get("traceback", ""), told.get("execution_id", "")


def _message_of(error: BaseException) -> str:
    return str(error.args[0]) if error.args else ""
