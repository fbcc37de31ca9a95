"""The consequence of an attempt without a result: another attempt after a delay, or the end (specs/store.md, S6).

An attempt counts only if it ended without progress; progress resets both counts. Pure: no clock, no table.
"""

from __future__ import annotations

import base64
from typing import Literal, NamedTuple

import msgspec

from durable.core.limits import ATTEMPTS_DIED_MAX, ATTEMPTS_FAILED_MAX, RETRY_FIRST_MS, RETRY_MAX_MS, RETURNED_MS

type Cause = Literal["failed", "died", "returned"]


class Attempts(NamedTuple):
    """Attempts without progress so far, by cause, and whether the next waits (`delay_ms`) or is not to be (`lost`)."""

    failed: int
    died: int
    delay_ms: int
    lost: bool


def after_attempt(failed: int, died: int, *, progress: bool, cause: Cause) -> Attempts:
    """Count an attempt that ended: `failed` by the function or worker itself, or `died` with its engine.

    `returned` is one that its engine could not make: nothing is counted.
    """
    if cause == "returned":
        return Attempts(failed, died, RETURNED_MS, lost=False)
    if progress:
        return Attempts(0, 0, 0, lost=False)
    failed, died = failed + (cause == "failed"), died + (cause == "died")
    lost = failed >= ATTEMPTS_FAILED_MAX or died >= ATTEMPTS_DIED_MAX
    delay_ms = min(RETRY_FIRST_MS << min(failed + died - 1, 32), RETRY_MAX_MS)
    return Attempts(failed, died, delay_ms, lost)


def lost_value(promise_id: str, attempts: int, last_error: str) -> str:
    """The rejection of an execution that was given up, as the codec of the SDK writes errors: base64 of JSON."""
    text = f"given up after {attempts} attempts without progress; the last one: {last_error}"
    document = {
        "type": "error",
        "exception_type": "durable.ExecutionLost",
        "exception_message": text,
        "execution_id": promise_id.removeprefix("exec:"),
        "attempts": attempts,
        "last_error": last_error,
    }
    return rejection(msgspec.json.encode(document).decode())


def rejection(message: str) -> str:
    """An error as the codec of the SDK writes it: base64 of JSON. Fields other than the message would be lost."""
    return base64.b64encode(msgspec.json.encode({"__type": "error", "message": message})).decode()
