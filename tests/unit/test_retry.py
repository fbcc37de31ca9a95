"""How often and when a step is tried again: a table of errors and policies."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest

import durable
from durable.core.durations import seconds
from durable.core.errors import BadArguments
from durable.functions.definition import NEVER, Retry
from durable.functions.failures import rebuild, rejection


class Own(ConnectionError):
    pass


class Final(durable.Fatal):
    pass


def decode_error() -> Exception:
    try:
        json.loads("{")
    except ValueError as error:
        return error
    raise AssertionError


OWN = f"{__name__}.Own"
ONCE = {"max_retries": 1, "delay": 1.0}

DECISIONS: list[tuple[dict[str, Any], int, BaseException, float | None]] = [
    ({}, 1, ValueError(), 0.1),
    ({}, 2, ValueError(), 0.2),
    ({}, 3, ValueError(), 0.4),
    ({}, 4, ValueError(), None),
    ({"max_retries": 0}, 1, ValueError(), None),
    ({"max_retries": 5000}, 5000, ValueError(), 60.0),
    ({"delay": 0.0}, 1, ValueError(), 0.0),
    ({"delay": timedelta(seconds=2)}, 1, ValueError(), 2.0),
    ({"max_delay": 0.15}, 2, ValueError(), 0.15),
    ({**ONCE, "retry_on": ValueError}, 1, decode_error(), 1.0),
    ({**ONCE, "retry_on": (ValueError,)}, 1, KeyError(), None),
    ({**ONCE, "retry_on": [OWN]}, 1, Own(), 1.0),
    ({**ONCE, "retry_on": OSError}, 1, Own(), 1.0),
    ({**ONCE, "retry_on": Own}, 1, ConnectionError(), None),
    ({**ONCE, "retry_on": "json.decoder.JSONDecodeError"}, 1, decode_error(), 1.0),
    ({**ONCE, "give_up_on": ValueError}, 1, decode_error(), None),
    ({**ONCE, "give_up_on": OWN}, 1, Own(), None),
    ({**ONCE, "give_up_on": OWN}, 1, ConnectionError(), 1.0),
    ({**ONCE, "retry_on": OSError, "give_up_on": Own}, 1, Own(), None),
    ({**ONCE, "retry_on": OSError, "give_up_on": Own}, 1, OSError(), 1.0),
    ({**ONCE, "retry_on": KeyboardInterrupt}, 1, KeyboardInterrupt(), 1.0),
    (ONCE, 1, durable.Fatal("no"), None),
    ({**ONCE, "retry_on": Final}, 1, Final("no"), None),
    (ONCE, 1, durable.RetryAfter(30), 30.0),
    (ONCE, 1, durable.RetryAfter(timedelta(minutes=1)), 60.0),
    (ONCE, 1, durable.RetryAfter(0.2), 1.0),
    (ONCE, 2, durable.RetryAfter(30), None),
    ({**ONCE, "retry_on": ValueError}, 1, durable.RetryAfter(30), 30.0),
    ({"max_retries": 0}, 3, durable.RetryAfter(30), 30.0),
    ({"max_retries": 0}, 4, durable.RetryAfter(30), None),
]


@pytest.mark.parametrize(("policy", "attempt", "error", "wait"), DECISIONS, ids=lambda item: type(item).__name__)
def test_the_decision_is_the_same_live_recorded_and_rejected(
    policy: dict[str, Any], attempt: int, error: BaseException, wait: float | None
) -> None:
    retry = Retry(**policy)
    carried = rejection(error, "job.1")
    recorded = rebuild("rejected", {"message": str(carried)}, "job.1")
    assert [retry.decide(attempt, one) for one in (error, recorded, carried)] == [wait] * 3


def test_jitter_is_the_same_for_the_same_execution_and_spreads_others() -> None:
    retry = Retry(delay=10, factor=1, jitter=0.5)
    waits = [retry.decide(1, ValueError(), f"job-{n}") for n in range(100)]
    assert waits == [retry.decide(1, ValueError(), f"job-{n}") for n in range(100)]
    assert len(set(waits)) == 100
    assert all(wait is not None and 5 <= wait <= 10 for wait in waits)
    assert max(filter(None, waits)) - min(filter(None, waits)) > 3
    assert retry.decide(1, ValueError(), "job") != retry.decide(2, ValueError(), "job")


@pytest.mark.parametrize(
    "policy",
    [
        {"delay": math.nan},
        {"delay": -1},
        {"delay": math.inf},
        {"delay": "1"},
        {"delay": None},
        {"delay": True},
        {"factor": math.nan},
        {"factor": -2.0},
        {"factor": math.inf},
        {"max_delay": math.nan},
        {"max_delay": -1},
        {"max_delay": math.inf},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": math.inf},
        {"max_retries": True},
        {"max_retries": "3"},
        {"jitter": 1.1},
        {"jitter": math.nan},
        {"jitter": -0.1},
        {"retry_on": 5},
        {"retry_on": int},
        {"retry_on": ("",)},
        {"give_up_on": [ValueError, 5]},
        {"give_up_on": ValueError()},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused_where_it_is_made(policy: dict[str, Any]) -> None:
    with pytest.raises(BadArguments, match=f"Retry: {next(iter(policy))} "):
        Retry(**policy)


@pytest.mark.parametrize("given", [math.nan, math.inf, -1, "5", True, None, timedelta(days=-1)])
def test_a_wait_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(BadArguments, match="RetryAfter takes seconds"):
        durable.RetryAfter(given)


def test_the_sdk_policy_goes_on() -> None:
    assert [Retry().next(n) for n in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, None]
    assert NEVER.next(1) is None
    assert hash(Retry(retry_on=ValueError)) == hash(Retry(retry_on=(ValueError,)))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e15, "5", True, -1, timedelta(days=-1), [1]])
def test_a_duration_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadArguments, match="a duration"):
        seconds(value)


def test_durations_are_seconds() -> None:
    assert [seconds(value) for value in (None, 0, 1.5, timedelta(minutes=1))] == [None, 0.0, 1.5, 60.0]
