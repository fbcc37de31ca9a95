"""Problems that a server answers with, as the errors that an engine raises."""

from __future__ import annotations

from typing import Any

import msgspec

from durable.client.api_models import ExecutionFailure, Problem
from durable.core import errors
from durable.core.errors import DurableError, ExecutionError


def error_of(url: str, status: int, body: bytes) -> DurableError:
    """The error of an answer."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        return errors.StoreError(f"{url} answers with {status}, and not as durable serve does; is a proxy in between?")
    if status == 401:
        return errors.StoreDenied(f"{url} does not let this token in: {problem.detail}")
    kind = _CODES.get(problem.code, errors.StoreError if status >= 500 or status in (404, 421, 429) else DurableError)
    found = kind.__new__(kind)
    Exception.__init__(found, problem.detail)  # the classes have arguments of their own; the text is the server's
    fields: dict[str, Any] = {"resonate_code": problem.resonate_code, "errors": problem.errors}
    for name, value in fields.items():
        if value:
            setattr(found, name, value)
    if isinstance(found, ExecutionError):
        found._message = problem.detail
    return found


def failure_of(execution_id: str, failure: ExecutionFailure) -> ExecutionError:
    """The error of an execution that failed."""
    kind = _FAILURES.get(failure.code, ExecutionError)
    return kind(
        failure.message,
        exception_type=failure.exception_type,
        traceback=failure.traceback,
        execution_id=execution_id,
    )


def _all(kind: type[DurableError]) -> list[type[DurableError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all(child))]


_OURS = [each for each in _all(DurableError) if each.__module__ == errors.__name__]
_CODES: dict[str, type[DurableError]] = {each.code: each for each in reversed(_OURS)}
_FAILURES: dict[str, type[ExecutionError]] = {
    each.code: each
    for each in (errors.ExecutionCancelled, errors.ExecutionLost, errors.ExecutionTimedOut, errors.ExecutionError)
}
