"""When nothing is tried any more, and when again (specs/pool.md W5)."""

from bridge.launch.circuit_breaker import FAILURES_MAX, PAUSE_FIRST_S, PAUSE_MAX_S, Breaker


def _broken(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for n in range(FAILURES_MAX):
        assert breaker.closed_for(now) == 0
        breaker.failed(f"no {n}", now)
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(3 * FAILURES_MAX):
        breaker.failed("no", 0)
        breaker.failed("no", 0)
        breaker.succeeded()
        assert breaker.closed_for(0) == 0
    assert _broken().closed_for(0) == PAUSE_FIRST_S


def test_after_the_pause_one_attempt_decides() -> None:
    breaker = _broken()
    assert breaker.closed_for(PAUSE_FIRST_S / 2) == PAUSE_FIRST_S / 2
    assert breaker.closed_for(PAUSE_FIRST_S) == 0
    assert breaker.closed_for(PAUSE_FIRST_S) > 0, "one at a time"
    breaker.failed("again", PAUSE_FIRST_S)
    assert breaker.closed_for(PAUSE_FIRST_S) == 2 * PAUSE_FIRST_S
    assert breaker.closed_for(3 * PAUSE_FIRST_S) == 0
    breaker.succeeded()
    assert (breaker.closed_for(3 * PAUSE_FIRST_S), breaker.failures) == (0, 0)


def test_an_attempt_that_was_cancelled_lets_the_next_one_try() -> None:
    breaker = _broken()
    assert breaker.closed_for(PAUSE_FIRST_S) == 0
    breaker.abandoned()
    assert breaker.closed_for(PAUSE_FIRST_S) == 0


def test_the_pause_is_bounded() -> None:
    breaker, now = _broken(), 0.0
    for _ in range(20):
        now = breaker.opened_until
        assert breaker.closed_for(now) == 0
        breaker.failed("no", now)
        assert breaker.opened_until - now <= PAUSE_MAX_S
    assert breaker.pause_s == PAUSE_MAX_S
