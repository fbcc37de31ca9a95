"""The pending map: exactly one of reply, timeout and close wins (P9-P16)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.correlation import Correlation, ResultRouter
from bridge.protocol.messages import Error, Output, Result
from durable.core.errors import Conflict, EngineClosed
from durable.core.events import Event, ReplyUnknown


async def test_a_reply_completes_the_promise_it_belongs_to_and_leaves_the_map() -> None:
    events: list[Event] = []
    correlation = Correlation("s", observer=events.append)
    one, two = correlation.register("s@1", "exec:s@1"), correlation.register("s@2", "exec:s@2")
    assert (correlation.size, correlation.promise_of("s@2")) == (2, "exec:s@2")
    assert correlation.resolve("s@2", {"value": 2})
    settled = await two
    assert (settled.promise_id, settled.ok, settled.payload) == ("exec:s@2", True, {"value": 2})
    assert not one.done()
    assert correlation.reject("s@1", {"type": "error"})
    assert (await one).ok is False
    assert (correlation.size, correlation.high_water, correlation.unknown) == (0, 2, 0)
    assert not correlation.resolve("s@1", {})
    assert not correlation.reject("nobody", {})
    assert correlation.unknown == 2
    assert events == [ReplyUnknown("s", "s@1"), ReplyUnknown("s", "nobody")]


async def test_a_timeout_rejects_with_a_document_and_the_late_reply_is_ignored() -> None:
    correlation = Correlation("s", observer=lambda event: None)
    waiter = correlation.register("k", "exec:k", timeout_s=0.01, capability="fetch")
    settled = await waiter
    assert not settled.ok
    payload = dict(settled.payload)
    assert payload.pop("exception_message")
    assert payload == {
        "type": "error",
        "exception_type": "TimeoutError",
        "execution_id": "k",
        "capability": "fetch",
        "timeout": 0.01,
        "request_id": "k",
    }
    assert not correlation.resolve("k", {"value": 1})
    assert correlation.size == 0


async def test_a_reply_in_time_disarms_the_timeout() -> None:
    correlation = Correlation("s")
    waiter = correlation.register("k", "exec:k", timeout_s=0.02)
    correlation.resolve("k", {"value": 1})
    await asyncio.sleep(0.05)
    assert (await waiter).ok
    assert correlation.unknown == 0


async def test_close_fails_waiters_only_here_and_is_idempotent() -> None:
    correlation = Correlation("s")
    waiters = [correlation.register(str(i), f"exec:{i}", timeout_s=60) for i in range(3)]
    correlation.close()
    correlation.close()
    for waiter in waiters:
        with pytest.raises(EngineClosed):
            await waiter
    assert correlation.size == 0
    with pytest.raises(EngineClosed):
        correlation.register("new", "exec:new")


async def test_a_key_is_registered_once() -> None:
    correlation = Correlation("s")
    correlation.register("k", "exec:k")
    with pytest.raises(Conflict):
        correlation.register("k", "exec:other")
    correlation.forget("k")
    correlation.register("k", "exec:k")


async def test_the_map_returns_to_nothing_after_ten_thousand() -> None:
    correlation = Correlation("s")
    waiters = [correlation.register(str(i), f"exec:{i}", timeout_s=60) for i in range(10_000)]
    for i in range(10_000):
        correlation.resolve(str(i), {"value": i})
    assert [(await waiter).payload["value"] for waiter in waiters] == list(range(10_000))
    assert (correlation.size, correlation.high_water) == (0, 10_000)


@given(st.lists(st.tuples(st.sampled_from(["register", "resolve", "reject", "forget", "expire"]), st.integers(0, 3))))
def test_any_order_of_events_settles_each_waiter_at_most_once(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        correlation = Correlation("s", observer=lambda event: None)
        alive: dict[str, asyncio.Future[object]] = {}
        unknown = 0
        for step, number in steps:
            key = str(number)
            if step == "register" and key not in alive:
                alive[key] = correlation.register(key, f"exec:{key}")  # type: ignore[assignment]
            elif step == "expire" and key in alive:
                correlation._time_out(key, 1.0)
                assert alive.pop(key).done()
            elif step == "forget":
                correlation.forget(key)
                alive.pop(key, None)
            elif step in ("resolve", "reject"):
                known = getattr(correlation, step)(key, {"n": number})
                assert known == (key in alive)
                unknown += not known
                if known:
                    assert alive.pop(key).done()
            assert correlation.size == len(alive)
            assert correlation.unknown == unknown

    asyncio.run(run())


async def test_the_router_hands_results_and_errors_on_and_nothing_else() -> None:
    correlation = Correlation("s", observer=lambda event: None)
    router = ResultRouter(correlation)
    good, bad = correlation.register("a", "exec:a"), correlation.register("b", "exec:b")
    router(Output(execution_id="a", stream="stdout", data="x"))
    router(Error(exception_type="E", exception_message="", traceback=""))
    assert correlation.size == 2
    router(Result(execution_id="a", value=1, repr="1", execution_time=0.1))
    router(Error(execution_id="b", exception_type="E", exception_message="m", traceback="t"))
    assert (await good).payload["value"] == 1
    assert (await bad).payload["exception_message"] == "m"
    router(Result(execution_id="other", value=1, repr="1", execution_time=0.1))
    assert correlation.unknown == 1
