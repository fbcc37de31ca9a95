"""Errors as `application/problem+json` (RFC 9457) with our codes: each class of error has one status."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from durable.client.api_models import Problem
from durable.core import errors
from durable.core.errors import DurableError

MEDIA_TYPE = "application/problem+json"

STATUS_OF: tuple[tuple[type[DurableError], int], ...] = (
    (errors.NotFound, 404),
    (errors.AnswerLate, 410),
    (errors.Conflict, 409),
    (errors.NotAsked, 403),
    (errors.Denied, 403),
    (errors.InvalidAnswer, 422),
    (errors.InvalidId, 400),
    (errors.BadArguments, 400),
    (errors.NotEncodable, 400),
    (errors.Busy, 409),
    (errors.Halted, 409),
    (errors.NotServed, 409),
    (errors.WorkerDied, 409),
    (errors.CheckpointError, 409),
    (errors.ExecutionError, 409),
    (errors.LimitExceeded, 409),
    (errors.Unenforceable, 409),
    (errors.PoolExhausted, 503),
    (errors.EngineClosed, 503),
    (errors.ValueDamaged, 409),  # which asking again does not mend
    (errors.StoreError, 503),
    (errors.EngineFailed, 500),
    (errors.ProtocolError, 500),
    (DurableError, 409),
)
"""The first class that fits says the status: an error of ours says that something is not as the request needs it."""

TITLES = {
    400: "The request cannot be understood",
    401: "The token is missing or wrong",
    403: "It is not allowed",
    404: "There is no such thing",
    405: "There is no such method here",
    409: "It does not fit how things stand",
    410: "It is too late",
    413: "The body is too large",
    415: "The body is not JSON",
    421: "The name in Host is not this server's",
    422: "The answer does not fit the question",
    429: "Too many requests",
    431: "The head of the request is too large",
    500: "An error of the server itself",
    503: "It cannot be done now",
}


class Refusal(Exception):
    """A request that is refused before anything is done: its status, code and what is wrong."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def status_of(error: DurableError) -> int:
    """The status that an error is answered with."""
    if isinstance(error, errors.StoreRefused):
        return error.status if error.status in TITLES else 409
    return next(status for kind, status in STATUS_OF if isinstance(error, kind))


def problem_of(error: DurableError) -> Response:
    """The answer that tells of an error."""
    found = error.errors if isinstance(error, errors.InvalidAnswer) else []
    return problem(status_of(error), error.code, str(error), errors=found, resonate_code=error.resonate_code)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, object]] | None = None,
    resonate_code: str = "",
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem as an answer."""
    found = Problem(
        type=f"urn:durable-exec:error:{code}",
        title=TITLES.get(status, "The request failed"),
        status=status,
        detail=detail.encode("utf-8", "replace").decode(),
        code=code,
        resonate_code=resonate_code,
        errors=errors or [],
    )
    more = dict(headers or {})
    if status == 401:
        more["www-authenticate"] = "Bearer"
    return Response(msgspec.json.encode(found), status, more, MEDIA_TYPE)
