"""Exit codes, and which error ends with which (specs/cli.md)."""

from __future__ import annotations

from durable.core.errors import (
    BadArguments,
    Conflict,
    DurableError,
    ExecutionTimedOut,
    Halted,
    InvalidAnswer,
    InvalidId,
    NotAsked,
    NotFound,
    StoreRefused,
    Waiting,
)

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
WAITING = 4
TIMED_OUT = 5
CONFLICT = 6
INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141

OF_STATE = {"completed": DONE, "timed_out": TIMED_OUT}
"""Of an execution that has ended; the other states are FAILED."""

_OF_ERROR: tuple[tuple[type[DurableError], int], ...] = (
    (NotFound, NOT_FOUND),
    (BadArguments, USAGE),
    (InvalidId, USAGE),
    (InvalidAnswer, USAGE),
    (Waiting, WAITING),
    (ExecutionTimedOut, TIMED_OUT),
    (Conflict, CONFLICT),
    (NotAsked, CONFLICT),
)
_OF_STATUS = {404: NOT_FOUND, 409: CONFLICT}


class Unusable(DurableError):
    """A typed name of something that cannot be used: a file, a function, a value."""

    code = "USAGE"


class Absent(DurableError):
    """A name that is in no store or directory here."""

    code = "NOT_FOUND"


class TookTooLong(DurableError):
    """`--timeout` of a command that waits passed; the execution goes on."""

    code = "TIMEOUT"


def code_of(error: DurableError) -> int:
    """The exit code that an error ends the command with."""
    if isinstance(error, Unusable):
        return USAGE
    if isinstance(error, Halted):
        return INTERRUPTED if error.interrupted else FAILED
    if isinstance(error, Absent):
        return NOT_FOUND
    if isinstance(error, TookTooLong):
        return TIMED_OUT
    if isinstance(error, StoreRefused):
        return _OF_STATUS.get(error.status, FAILED)
    return next((code for kind, code in (*_OF_ERROR, *_of_other_errors()) if isinstance(error, kind)), FAILED)


def _of_other_errors() -> tuple[tuple[type[DurableError], int], ...]:
    # needed by few commands, and only when they fail
    from capabilities.actors.errors import ActorStopped, MailboxFull, RequestTimedOut, UnknownMethod
    from capabilities.sandbox import errors

    return (
        (RequestTimedOut, TIMED_OUT),
        (UnknownMethod, USAGE),
        (ActorStopped, CONFLICT),
        (MailboxFull, CONFLICT),
        (errors.InvalidConfiguration, USAGE),
        (errors.ExecutionFailed, USAGE),
        (errors.ComponentLoadFailed, USAGE),
        (errors.ComponentNotFound, NOT_FOUND),
        (errors.ExecutionTimeout, TIMED_OUT),
    )
