"""Attempts that ended without a result, and what each means (specs/store.md S6)."""

from __future__ import annotations

import base64
import json

from durable.core.limits import ATTEMPTS_DIED_MAX, ATTEMPTS_FAILED_MAX, RETRY_FIRST_MS, RETRY_MAX_MS
from durable.store.operations.attempts import Attempts, after_attempt, lost_value


def test_progress_resets_both_counts_and_asks_for_no_delay() -> None:
    assert after_attempt(2, 9, progress=True, cause="failed") == Attempts(0, 0, 0, False)


def test_each_cause_has_its_own_limit() -> None:
    assert after_attempt(ATTEMPTS_FAILED_MAX - 1, 0, progress=False, cause="failed").lost
    assert not after_attempt(ATTEMPTS_FAILED_MAX - 1, 0, progress=False, cause="died").lost
    assert after_attempt(0, ATTEMPTS_DIED_MAX - 1, progress=False, cause="died").lost


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = [after_attempt(0, died, progress=False, cause="died").delay_ms for died in range(40)]
    assert delays[:3] == [RETRY_FIRST_MS, 2 * RETRY_FIRST_MS, 4 * RETRY_FIRST_MS]
    assert delays == sorted(delays)
    assert delays[-1] == RETRY_MAX_MS


def test_the_value_of_a_lost_execution_is_an_error_as_the_sdk_writes_it() -> None:
    outer = json.loads(base64.b64decode(lost_value("exec:a@1", 3, "boom")))
    assert outer["__type"] == "error"
    inner = json.loads(outer["message"])
    assert inner["execution_id"] == "a@1"
    assert inner["last_error"] == "boom"
    assert "3 attempts" in inner["exception_message"]
