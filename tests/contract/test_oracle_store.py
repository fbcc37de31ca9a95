"""The store against the oracle: short streams, and the cases in which they have once differed."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from durable.core.errors import StoreRefused
from durable.store.sqlite.store import Store

from .compare import Pair, SetClock, replay
from .opened import PLACES
from .oracle import Oracle
from .run import opening_in, run
from .stream import ADDRESSES, START_MS, Operation
from .wire import Json

OPERATIONS = 10_000
"""A few seconds; `python -m tests.contract.run` does more."""

OPERATIONS_POSTGRES = 3_000
"""Of the random stream: each costs several times as much there. `python -m tests.contract.run --postgres` does more."""

FAR = START_MS + 10**12
TARGET = {"resonate:target": "poll://any@g"}
EXTERNAL = {"resonate:external": "true"}
SETTLE_MISSING = {"kind": "promise.settle", "data": {"id": "a:9", "state": "resolved"}}


def create(promise_id: str, tags: dict[str, str], timeout_at: int = FAR, at: int = 0) -> Operation:
    return Operation("promise.create", {"id": promise_id, "timeoutAt": timeout_at, "tags": tags}, START_MS + at)


def acquire(task_id: str, version: int, ttl: int = 60_000, at: int = 0) -> Operation:
    data = {"id": task_id, "version": version, "pid": "p1", "ttl": ttl}
    return Operation("task.acquire", data, START_MS + at)


def suspend(task_id: str, version: int, awaited: str, at: int = 0) -> Operation:
    pair = {"awaited": awaited, "awaiter": task_id}
    actions = [{"kind": "promise.register_callback", "head": {}, "data": pair}]
    return Operation("task.suspend", {"id": task_id, "version": version, "actions": actions}, START_MS + at)


def ask(kind: str, data: Json, at: int = 0) -> Operation:
    return Operation(kind, data, START_MS + at)


ONCE_DIFFERENT: dict[str, list[Operation]] = {
    "a foreign cursor is refused": [ask("promise.search", {"cursor": "no cursor"})],
    "a unicast address names its process": [
        create("a", EXTERNAL),
        ask("promise.register_listener", {"awaited": "a", "address": "poll://uni@g"}),
    ],
    "text holds no NUL": [ask("task.get", {"id": "x\0"})],
    "an id is UTF-8": [ask("task.get", {"id": "x\ud800"})],
    "a value is UTF-8": [ask("promise.create", {"id": "a", "timeoutAt": FAR, "param": {"data": "\ud800"}})],
    "a header is UTF-8": [
        ask("promise.create", {"id": "a", "timeoutAt": FAR, "param": {"headers": {"\ud800": "h"}}}),
    ],
    "an action names its kind": [
        ask("task.create", {"pid": "p1", "ttl": 1, "action": {"data": {"id": "a", "timeoutAt": FAR, "tags": TARGET}}}),
    ],
    "a fence says apart whose promise is missing": [
        create("a", TARGET),
        acquire("a", 0),
        ask("task.fence", {"id": "a", "version": 1, "action": SETTLE_MISSING}),
        ask("task.fence", {"id": "b", "version": 1, "action": SETTLE_MISSING}),
    ],
    "a target is no URL": [
        create("a", {"resonate:target": "https://example.com/run"}),
        create("b", {"resonate:target": "http://example.com/run"}),
        create("c", {"resonate:target": "httpd"}),
    ],
    "a suspend that is answered with 300 clears resumes": [
        create("a", TARGET),
        create("a:1", EXTERNAL),
        acquire("a", 0),
        ask("promise.register_callback", {"awaited": "a:1", "awaiter": "a"}),
        ask("promise.settle", {"id": "a:1", "state": "resolved"}),
        ask("task.get", {"id": "a"}),
        suspend("a", 1, "a:1"),
        ask("task.get", {"id": "a"}),
    ],
    "waking counts in resumes": [
        create("a", TARGET),
        create("a:1", EXTERNAL),
        acquire("a", 0),
        suspend("a", 1, "a:1"),
        ask("promise.settle", {"id": "a:1", "state": "resolved"}),
        ask("task.get", {"id": "a"}),
    ],
    "without a branch there is no preload": [
        create("a:1", {"resonate:branch": "a"}),
        create("a", TARGET),
        acquire("a", 0),
    ],
    "NUL is text in a tag": [
        create("a", {"t": "x\0", "u": "\\u0000", "v": "\ufdd0"}),
        ask("promise.search", {"tags": {"t": "x\0"}}),
        ask("promise.search", {"tags": {"t": "x"}}),
        ask("promise.search", {"tags": {"u": "\\u0000"}}),
        ask("promise.search", {"tags": {"u": "\0"}}),
        ask("promise.search", {"tags": {"v": "\ufdd0"}}),
    ],
    "a delay outlives a release": [
        create("a", TARGET | {"resonate:delay": str(FAR)}),
        acquire("a", 0),
        ask("task.release", {"id": "a", "version": 1}),
        ask("task.get", {"id": "b"}, at=3_600_000),
        ask("task.get", {"id": "b"}, at=3_600_001),
    ],
    "a delay outlives a lease": [
        create("a", TARGET | {"resonate:delay": str(FAR)}),
        acquire("a", 0, ttl=10),
        ask("task.get", {"id": "b"}, at=10),
        ask("task.get", {"id": "b"}, at=3_600_000),
        ask("task.get", {"id": "b"}, at=3_600_001),
    ],
}


@pytest.mark.parametrize("operations", ONCE_DIFFERENT.values(), ids=ONCE_DIFFERENT.keys())
async def test_what_once_differed(tmp_path: Path, operations: list[Operation]) -> None:
    assert await replay(opening_in(tmp_path), operations) is None


async def test_the_store_answers_a_random_stream_as_the_oracle_does(tmp_path: Path) -> None:
    given = os.environ.get("CONTRACT_SEED")
    seed = int(given) if given else random.randrange(2**32)
    print(f"seed {seed}")
    await run(tmp_path, seed, OPERATIONS_POSTGRES if PLACES else OPERATIONS)


async def test_an_execute_of_a_lease_that_lapsed_may_come_before_the_request_that_ends_its_task(tmp_path: Path) -> None:
    """The store's own look at that moment sends it: the request came later, though not by the clock."""
    settle_other = {"head": {}, "kind": "promise.settle", "data": {"id": "other", "state": "rejected", "value": {}}}
    clock = SetClock()
    async with opening_in(tmp_path)(clock) as subject:
        pair, came = Pair(Oracle(), subject, clock), asyncio.Queue[str]()

        def receive(address: str, text: str) -> None:
            pair.mail.receive(address, text)
            came.put_nowait(text)

        await subject.connect(receive)
        for kind, data in (
            ("promise.create", {"id": "other", "param": {}, "tags": {}, "timeoutAt": FAR}),
            ("promise.create", {"id": "a", "param": {}, "tags": {"resonate:target": ADDRESSES[1]}, "timeoutAt": FAR}),
            ("task.acquire", {"id": "a", "pid": "p2", "ttl": 500, "version": 0}),
            ("task.fence", {"id": "a", "version": 1, "action": settle_other}),  # so that it is due again without a wait
        ):
            assert (await pair.step(Operation(kind, data, START_MS)))[1] is None
            assert await pair.states() is None
        clock.now_ms = START_MS + 500
        while '"version":1' not in await came.get():
            pass
        end = Operation("promise.settle", {"id": "a", "state": "rejected"}, clock.now_ms)
        assert (await pair.step(end))[1] is None
        assert await pair.states() is None


async def test_a_fixed_stream_reaches_every_kind_with_each_of_its_status_codes(tmp_path: Path) -> None:
    coverage = await run(tmp_path, 20_261_120, OPERATIONS, every=500)
    assert coverage.missing() == []
    assert coverage.unexpected() == []


async def test_debugging_is_refused_to_a_store_that_was_not_opened_for_it(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.db")
    try:
        for kind, data in (("debug.reset", {}), ("debug.tick", {"time": START_MS}), ("debug.snap", {})):
            with pytest.raises(StoreRefused) as refused:
                await store.request(kind, data)
            assert refused.value.status == 403
    finally:
        await store.close()
