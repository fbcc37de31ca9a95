"""Deadlines are seen to before any request, however many are due (specs/store.md W5; specs/postgres.md C5, C8, P7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from durable.core.limits import HELD_ELSEWHERE_MS
from durable.store.direct_store import DirectStore
from durable.store.operations.deadlines import sweep
from durable.store.operations.lock_keys import lock_number, promise_key
from durable.store.operations.transaction import Deadline, Tx
from durable.store.postgres.address import address_of
from durable.store.postgres.transaction import PostgresTx
from durable.store.postgres.writer import PostgresWriter
from durable.store.writer import Job, Writer
from tests.postgres_server import PostgresServer

from .opened import T0, Clock, acquire, engine, opened, promise, root, state, task

COUNT = 23


async def waiting(store: object, name: str, steps: int = 1, *, at: int) -> None:
    """An execution that waits for so many timers of its own, all due at that time."""
    await store.request("promise.create", root(name))  # type: ignore[attr-defined]
    await acquire(store, name)  # type: ignore[arg-type]
    actions = []
    for step in range(steps):
        timer = promise(f"exec:{name}.{step}", timeout_at=at, resonate_timer="true")
        await store.request("promise.create", timer)  # type: ignore[attr-defined]
        awaited = {"awaited": timer["id"], "awaiter": f"exec:{name}"}
        actions.append({"kind": "promise.register_callback", "data": awaited})
    await store.request("task.suspend", {"id": f"exec:{name}", "version": 1, "actions": actions})  # type: ignore[attr-defined]


@pytest.mark.parametrize("most", [1, 5, COUNT, 1_000])
async def test_all_that_is_due_is_settled_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """In as many transactions as it takes; and each execution that waited is offered once."""
    for kind in (Writer, PostgresWriter):
        monkeypatch.setattr(kind, "SWEEP_MAX", most)
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        for number in range(COUNT):
            await waiting(store, f"w{number}", at=T0 + 1 + number)
            assert await inbox.next() == f"exec:w{number}"
        clock.now += COUNT
        states = [await state(store, f"exec:w{number}.0") for number in reversed(range(COUNT))]
        assert states == ["resolved"] * COUNT
        offered = [await inbox.next() for _ in range(COUNT)]
        assert sorted(offered) == sorted(f"exec:w{number}" for number in range(COUNT))
        assert await inbox.quiet()


async def test_two_timers_of_one_execution_that_are_due_together_resume_it_once(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await waiting(store, "both", 2, at=T0 + 1)
        await waiting(store, "other", at=T0 + 1)
        clock.now += 1
        assert [(await task(store, name))["resumes"] for name in ("both", "other")] == [2, 1]
        inbox = await engine(store)
        assert sorted([await inbox.next(), await inbox.next()]) == ["exec:both", "exec:other"]
        assert await inbox.quiet()


async def test_an_execution_whose_own_time_is_over_takes_what_is_due_under_it_along(tmp_path: Path) -> None:
    """It comes first, so what is under it is cancelled and does not time out."""
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("over", timeout_at=T0 + 1))
        await store.request("promise.create", promise("exec:over.1", timeout_at=T0 + 2, resonate_timer="true"))
        await store.request("promise.create", promise("exec:alone.1", timeout_at=T0 + 2, resonate_timer="true"))
        clock.now += 5
        states = [await state(store, f"exec:{name}") for name in ("over", "over.1", "alone.1")]
        assert states == ["rejected_timedout", "rejected_canceled", "resolved"]


async def idle_turns(store: DirectStore, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of 20 turns of the writer begin no transaction."""
    kinds: list[str] = []
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    turn, begin = PostgresWriter._turn, PostgresWriter._begin

    def turned(writer: PostgresWriter, jobs: list[Job]) -> None:
        turn(writer, jobs)
        kinds.append("turn")
        if kinds.count("turn") == 20:
            loop.call_soon_threadsafe(done.set)

    def begun(writer: PostgresWriter, jobs: list[Job]) -> Tx:
        kinds.append("begin")
        return begin(writer, jobs)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresWriter, "_turn", turned)
        patched.setattr(PostgresWriter, "_begin", begun)
        await asyncio.wait_for(done.wait(), 30)
    return 20 - kinds.count("begin")


@pytest.mark.file_only("a file is held by one transaction at a time")
async def test_a_lease_that_ran_out_under_anothers_key_is_looked_at_again(postgres_server: PostgresServer) -> None:
    url, clock = postgres_server.url(), Clock()
    address = address_of(url)
    async with opened(url, clock=clock) as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a", pid="gone", ttl=1_000)
        await store.request("promise.create", promise("p"))
        with psycopg.connect(address.conninfo) as other:
            number = lock_number(address.schema, promise_key("exec:a"))
            other.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
            clock.now += 1_000
            await state(store, "p")  # what is due comes before it
            other.rollback()
        clock.now += HELD_ELSEWHERE_MS
        await state(store, "p")
        assert (await task(store, "a"))["state"] == "pending"


async def test_a_request_is_answered_although_what_is_due_cannot_be_seen_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after several transactions, of which one fails."""
    for kind in (Writer, PostgresWriter):
        monkeypatch.setattr(kind, "SWEEP_MAX", 1)
    clock, sweeps = Clock(), [0]

    def second_fails(tx: Tx, most: int) -> bool:
        sweeps[0] += 1
        if sweeps[0] == 2:
            raise OSError("no more of it")
        return sweep(tx, most)

    async with opened(tmp_path / "s.db", clock=clock) as store:
        for number in range(4):
            await store.request("promise.create", promise(f"p{number}", timeout_at=T0 + 1))
        monkeypatch.setattr("durable.store.writer.sweep", second_fails)
        clock.now += 1
        asked = [store.post("promise.get", {"id": f"p{number}"}) for number in range(4)]
        found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
        assert any("no more of it" in str(each) for each in found)
        assert [await state(store, f"p{number}") for number in range(4)] == ["rejected_timedout"] * 4


@pytest.mark.file_only("a file is held by one transaction at a time")
async def test_what_another_transaction_holds_is_passed_over_and_settled_when_that_has_ended(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresWriter, "SWEEP_MAX", 4)
    url, clock = postgres_server.url(), Clock()
    address = address_of(url)
    held = {f"h{number}" for number in range(9)}
    async with opened(url, clock=clock) as store:
        for name in (*sorted(held), *(f"w{number}" for number in range(9))):
            await waiting(store, name, at=T0 + 1)
        inbox = await engine(store)
        with psycopg.connect(address.conninfo) as other:
            for name in held:
                number = lock_number(address.schema, promise_key(f"exec:{name}"))
                other.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
            clock.now += 1
            assert sorted([await inbox.next() for _ in range(9)]) == [f"exec:w{number}" for number in range(9)]
            assert await inbox.quiet()
            assert await idle_turns(store, monkeypatch) > 15  # and it is not asked for all the time
            other.rollback()
        assert {await inbox.next() for _ in held} == {f"exec:{name}" for name in held}


@pytest.mark.file_only("a file is held by one transaction at a time")
async def test_what_others_hold_is_looked_at_once_for_all_that_is_due(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again in each of the transactions that settle the rest, nor page by page from the beginning."""
    held, free, most = 40, 40, 4
    monkeypatch.setattr(PostgresWriter, "SWEEP_MAX", most)
    url, clock = postgres_server.url(), Clock()
    address = address_of(url)
    looked: list[str] = []
    hold = PostgresTx.hold_if_free

    def noted(tx: PostgresTx, deadlines: list[Deadline]) -> set[str]:
        looked.extend(deadline.id for deadline in deadlines)
        return hold(tx, deadlines)

    async with opened(url, clock=clock) as store:
        for tree, count in (("held", held), ("wfree", free)):
            for number in range(count):
                await store.request("promise.create", promise(f"exec:{tree}.{number}", timeout_at=T0 + 1))
        await store.request("promise.create", promise("p"))
        with psycopg.connect(address.conninfo) as other:
            number = lock_number(address.schema, promise_key("exec:held"))
            other.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
            monkeypatch.setattr(PostgresTx, "hold_if_free", noted)
            clock.now += 1
            assert await state(store, "exec:wfree.0") == "rejected_timedout"
            assert len(looked) <= 3 * held + 2 * free
            looked.clear()
            await state(store, "p")
            assert sorted(looked) == sorted(f"exec:held.{number}" for number in range(held))
            other.rollback()
        states = [await state(store, f"exec:held.{number}") for number in range(held)]
        assert states == ["rejected_timedout"] * held


@pytest.mark.file_only("a cursor of a file's own connection sees each row once")
async def test_rows_of_one_rank_are_each_given_once(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are fetched at once, in an order that leaves open which of them comes first."""
    given: list[str] = []

    def work_on(tx: PostgresTx, request: object | None) -> None:
        if not given:
            given.extend(row[0] for row in tx.each("SELECT n::text FROM generate_series(1, 1000) n ORDER BY n / 1001"))
        real(tx, request)

    real = PostgresTx.work_on
    monkeypatch.setattr(PostgresTx, "work_on", work_on)
    async with opened(postgres_server.url()) as store:
        await store.request("promise.create", promise("p"))
    assert sorted(given, key=int) == [str(number) for number in range(1, 1001)]


async def test_a_list_of_what_is_recorded_has_what_the_same_transaction_recorded_before_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a")
        step = {"kind": "promise.create", "data": promise("exec:a.1")}
        ended = {"kind": "promise.settle", "data": {"id": "exec:a.1", "state": "resolved", "value": {"data": "Mg=="}}}
        fences = [store.post("task.fence", {"id": "exec:a", "version": 1, "action": each}) for each in (step, ended)]
        listed = store.post("call.list", {"execution": "exec:a"})
        for fence in fences:
            await fence
        found = (await listed).data["promises"]
        assert [(each["id"], each["state"]) for each in found] == [("exec:a.1", "resolved")]
        again = (await store.request("call.list", {"execution": "exec:a"})).data
        assert (again["promises"], again["cancelled"]) == (found, None)
