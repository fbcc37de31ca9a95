"""A database server that crashes, cuts connections, stops, or is not there: nothing acknowledged is lost, nothing is
done twice, nobody waits for ever."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

import durable
from durable.core.errors import CheckpointError, Halted, StoreUnreachable
from durable.core.limits import LEASE_MS
from durable.store import writer
from durable.store.operations import halted_waits, output, request_table
from durable.store.operations.lock_keys import WHOLE, keys_of
from durable.store.operations.row_records import Queries
from durable.store.operations.transaction import Tx
from durable.store.postgres import chunks as chunks_module
from durable.store.postgres import reads as reads_module
from durable.store.postgres import store as store_module
from durable.store.postgres.address import address_of
from durable.store.postgres.connection import explain
from durable.store.postgres.store import PostgresStore
from durable.store.postgres.transaction import PostgresTx
from durable.store.postgres.writer import PostgresWriter
from durable.store.protocol.requests import Answer, OutputAppend, PolicySet
from tests.postgres_server import PostgresServer, binaries, rows_of

from .opened import T0, Clock, acquire, engine, opened, promise, root, task
from .postgres_proxy import Moment, Proxy
from .postgres_rules import broken
from .test_store_processes import heard, other, tell

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed; see DURABLE_TEST_POSTGRES_BIN")


@pytest.fixture(scope="module")
def crashing_server() -> Iterator[PostgresServer]:
    """A server that may be killed: a commit is written before it is answered, and nothing of the log before that."""
    server = PostgresServer(fast=False, fsync="off", wal_writer_delay="10s", max_connections="50")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def proxy(crashing_server: PostgresServer) -> Iterator[Proxy]:
    found = Proxy(crashing_server.directory)
    yield found
    found.close()


@pytest.fixture
async def behind(crashing_server: PostgresServer, proxy: Proxy) -> AsyncIterator[PostgresStore]:
    """A store whose connections go through the proxy."""
    schema = address_of(crashing_server.url()).schema
    async with opened(proxy.url(schema)) as store:
        yield store


CELL = {"timeoutAt": 2**50, "tags": {"resonate:target": "poll://any@g", "durable:function": "f"}}


async def _once(store: PostgresStore, what: str) -> None:
    """A request that leaves another state when it is done twice."""
    if what == "cell.submit":
        answer = await store.request("cell.submit", {"session": "desk", "promise": CELL})
        assert answer.data["n"] == 1
        return
    if what == "output.append":
        answer = await store.request("output.append", {"execution": "exec:a", "chunks": [(0, "stdout", "hello")]})
        assert answer.data["end"] == 5
        return
    action = {"kind": "promise.create", "data": root("a")}
    answer = await store.request("task.create", {"pid": "e1", "ttl": 60_000, "action": action})
    found: Any = answer.data["task"]
    assert found["version"] == 1


_WRITES = {
    "cell.submit": b"INSERT INTO cells",
    "output.append": b"INSERT INTO output",
    "task.create": b"INSERT INTO tasks",
}
_COUNTS = {
    "cell.submit": "SELECT n FROM cells",
    "output.append": "SELECT count(*) FROM output",
    "task.create": "SELECT version FROM tasks",
}


@pytest.mark.parametrize("what", _COUNTS)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_request_whose_commit_was_cut_is_done_once(
    crashing_server: PostgresServer, proxy: Proxy, behind: PostgresStore, moment: Moment, what: str
) -> None:
    proxy.cut_next(moment, _WRITES[what])
    async with asyncio.timeout(60):
        await _once(behind, what)
    assert proxy.cuts == 1
    url = crashing_server.url(behind.address.schema)
    assert rows_of(url, _COUNTS[what]) == [(1,)]


def _burn(server: PostgresServer, count: int) -> None:
    """Transactions of another program."""
    with psycopg.connect(address_of(server.url()).conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS public.other_program (n bigint)")
        for n in range(count):
            connection.execute("INSERT INTO public.other_program VALUES (%s)", (n,))


@pytest.mark.parametrize("what", _COUNTS)
async def test_a_commit_lost_in_a_crash_is_done_again_although_its_number_is_another_transactions_by_then(
    crashing_server: PostgresServer, proxy: Proxy, behind: PostgresStore, what: str
) -> None:
    """The numbers of transactions that left no trace in the server's log are given anew after the crash."""

    def crash() -> None:
        crashing_server.kill()
        crashing_server.start()
        _burn(crashing_server, 50)

    proxy.cut_next("before", _WRITES[what], crash)
    async with asyncio.timeout(60):
        await _once(behind, what)
    assert proxy.cuts == 1
    assert rows_of(crashing_server.url(behind.address.schema), _COUNTS[what]) == [(1,)]


@pytest.mark.parametrize("what", _COUNTS)
async def test_a_commit_made_just_before_a_crash_is_not_done_again(
    crashing_server: PostgresServer, proxy: Proxy, behind: PostgresStore, what: str
) -> None:
    def crash() -> None:
        crashing_server.kill()
        crashing_server.start()

    proxy.cut_next("after", _WRITES[what], crash)
    async with asyncio.timeout(60):
        await _once(behind, what)
    assert proxy.cuts == 1
    assert rows_of(crashing_server.url(behind.address.schema), _COUNTS[what]) == [(1,)]


async def test_a_cell_that_a_crash_took_before_it_was_synced_is_recorded_again_as_it_was(
    crashing_server: PostgresServer,
) -> None:
    """The engine runs it already: its end has a task to fulfil, and nothing of it is done twice."""
    async with opened(crashing_server.url()) as store, asyncio.timeout(60):
        await store.request("session.open", {"session": "desk", "engine": "e1"})
        begins = {"session": "desk", "promise": CELL, "engine": "e1", "ttl": 60_000, "sync_later": True}
        submitted = (await store.request("cell.submit", begins)).data
        url = crashing_server.url(store.address.schema)
        crashing_server.kill()
        crashing_server.start()
        assert rows_of(url, "SELECT n FROM cells") == [], "or it was synced, and this tries nothing"
        end = {"kind": "promise.settle", "data": {"id": submitted["id"], "state": "resolved"}}
        await store.request("task.fulfill", {"id": submitted["id"], "version": 1, "action": end})
        assert rows_of(url, "SELECT n, promise, settled FROM cells") == [(1, submitted["id"], 1)]
    assert broken(url) == []


async def test_a_cell_that_a_crash_took_is_lost_where_another_has_its_place(crashing_server: PostgresServer) -> None:
    """Another engine was quicker after the crash: the outcome of the code that ran must not become that cell's."""
    async with opened(crashing_server.url()) as store, asyncio.timeout(60):
        opened_here = (await store.request("session.open", {"session": "desk", "engine": "e1"})).data
        begins = {"session": "desk", "promise": CELL, "engine": "e1", "ttl": 60_000, "sync_later": True}
        submitted = (await store.request("cell.submit", begins)).data
        waiting = asyncio.create_task(store.settled(submitted["id"]))
        await asyncio.sleep(0)
        crashing_server.kill()
        crashing_server.start()
        async with opened(crashing_server.url(store.address.schema)) as other_store:
            theirs = (await other_store.request("cell.submit", {"session": "desk", "promise": CELL})).data
        assert theirs["id"] == submitted["id"]
        await store.request("promise.get", {"id": submitted["id"]})
        lost = await waiting
        assert lost.state == "rejected"
        assert "durable.ExecutionLost" in lost.value["message"]
        session = (await store.request("session.get", {"session": "desk"})).data
        assert (session["owner"], session["epoch"]) == ("e1", opened_here["epoch"] + 1)
        assert (await store.request("promise.get", {"id": submitted["id"]})).data["promise"]["state"] == "pending"


async def test_more_keys_than_the_server_has_room_for_locks(crashing_server: PostgresServer) -> None:
    count = 5_000  # it has room for about 3,500
    clock = Clock()
    async with opened(crashing_server.url(), clock=clock) as store:
        await asyncio.gather(
            *(store.request("promise.create", promise(f"p{n}", timeout_at=T0 + 1000)) for n in range(count))
        )
        clock.now += 1000
        await store.request("promise.get", {"id": "p0"})
        url = crashing_server.url(store.address.schema)
        assert rows_of(url, "SELECT state, count(*) FROM promises GROUP BY state") == [("rejected_timedout", count)]


STOPS = """
import asyncio, signal, sys, threading
from dataclasses import replace
from durable.store.operations import output, request_table
from tests.contract.opened import *

stopped = []

def append(tx, request):
    answer = output.append(tx, request)
    if stopped:
        return answer
    stopped.append(True)
    if sys.argv[2] == "asks":
        tx.row("SELECT 1")
    print("stops", flush=True)
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    return answer

async def main():
    request_table.KINDS["output.append"] = replace(request_table.KINDS["output.append"], operation=append)
    async with opened(sys.argv[1]) as store:
        print("ready", flush=True)
        posted = store.post("output.append", {"execution": "exec:a", "chunks": [(0, "stdout", "hello")]})
        try:
            await posted
        except StoreRefused as refused:
            print(refused.status, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("last", ["asks", "sends"])
async def test_a_process_that_stops_in_a_transaction_holds_others_up_for_some_seconds_only(
    postgres_server: PostgresServer, last: str
) -> None:
    """Whether its last statement was answered by then, or only sent: the server waits for the next one either way."""
    url = postgres_server.url()
    async with opened(url) as store, other(url, last, STOPS) as far:
        assert await heard(far) == "stops"
        answer = await asyncio.wait_for(
            store.request("output.append", {"execution": "exec:a", "chunks": [(0, "stdout", "bye, all")]}), 40
        )
        assert answer.data["end"] == 8
        far.send_signal(signal.SIGCONT)
        assert await heard(far) == "409"  # its transaction was undone, and the place is taken
    assert rows_of(url, "SELECT text FROM output") == [("bye, all",)]


async def test_requests_fail_in_time_while_the_server_says_nothing_and_go_on_when_it_does(
    crashing_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes are stopped: connections stand, and nothing is answered."""
    async with opened(crashing_server.url()) as store:
        await store.request("promise.create", root("before"))
        monkeypatch.setattr(store_module, "REQUEST_UNHEARD_S", 2.0)
        crashing_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnreachable, match="has not been reached for 2 s"):
                await asyncio.wait_for(store.request("promise.create", root("meanwhile")), 30)
        finally:
            crashing_server.signal(signal.SIGCONT)
        monkeypatch.setattr(store_module, "REQUEST_UNHEARD_S", 60.0)
        assert (await store.request("promise.get", {"id": "exec:before"})).status == 200
        assert (await store.request("promise.get", {"id": "exec:meanwhile"})).status == 200


async def test_a_connection_lost_after_a_commit_keeps_no_answer_back(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a halted task is looked up after its commit, by when the connection may be gone."""
    asked: list[object] = []

    def concerned(queries: Queries, *arguments: Any) -> set[str]:
        asked.append(arguments)
        if len(asked) == 1:
            raise StoreUnreachable("the connection was lost")
        return real(queries, *arguments)

    real = halted_waits.concerned
    monkeypatch.setattr(writer, "concerned", concerned)
    async with opened(postgres_server.url()) as store, asyncio.timeout(30):
        await store.request("promise.create", root("a"))
        waiting = asyncio.create_task(store.settled("exec:a", halts=True))
        await store.request("promise.get", {"id": "exec:a"})
        await store.request("task.halt", {"id": "exec:a"})
        assert asked
        with pytest.raises(Halted):
            await waiting


@pytest.mark.parametrize("how", ["leaves", "dies"])
async def test_a_task_that_ends_while_its_engine_goes_stays_ended(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Another engine cancels it just before it is locked here: whatever was looked at before that counts no more."""
    url = postgres_server.url()
    ends: list[str] = []

    def lock_promise(tx: PostgresTx, promise_id: str) -> None:
        if ends:
            ends.clear()
            with psycopg.connect(address_of(url).conninfo, autocommit=True) as other:
                other.execute(f"SET search_path TO {address_of(url).schema}".encode())
                other.execute("UPDATE promises SET state='rejected_canceled', settled_at=1 WHERE id='exec:a'")
                other.execute(
                    "UPDATE tasks SET state='fulfilled', ended='cancelled', pid=NULL, ttl=NULL, lease_at=NULL"
                    " WHERE id='exec:a'"
                )
        real(tx, promise_id)

    real = PostgresTx.lock_promise
    monkeypatch.setattr(PostgresTx, "lock_promise", lock_promise)
    async with opened(url) as store:
        await engine(store, "e1")
        await store.request("promise.create", root("a"))
        await acquire(store, "a")
        ends.append("exec:a")
        await store.request("engine.leave" if how == "leaves" else "engine.lost", {"engine": "e1"})
        assert not ends
        assert (await task(store, "a"))["state"] == "fulfilled"
    assert broken(url) == []


async def test_reads_and_chunks_wait_for_a_server_that_is_back_soon(crashing_server: PostgresServer) -> None:
    async with opened(crashing_server.url()) as store, asyncio.timeout(60):
        await store.request("promise.create", root("a"))
        await store.reads.list_executions()
        await asyncio.to_thread(store.chunks.put_many, [("d1", b"data")])
        crashing_server.kill()
        try:
            waiting = [
                asyncio.create_task(store.reads.list_executions()),
                asyncio.create_task(asyncio.to_thread(store.chunks.get, "d1")),
            ]
            done, _ = await asyncio.wait(waiting, timeout=1)  # they have met the server's absence by then, or do soon
            assert not done
        finally:
            crashing_server.start()
        executions, data = await asyncio.gather(*waiting)
        assert ([each.id for each in executions], data) == (["a"], b"data")


async def test_a_server_that_stays_away_is_told_in_time_and_closing_ends(
    crashing_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store_module, reads_module, chunks_module):
        monkeypatch.setattr(module, "REQUEST_UNHEARD_S", 1.0)
    monkeypatch.setattr(store_module, "WAIT_UNHEARD_S", 1.0)
    async with opened(crashing_server.url()) as store, asyncio.timeout(60):
        await store.request("promise.create", root("a"))
        waiting = asyncio.create_task(store.settled("exec:a", patient=False))
        await store.request("promise.get", {"id": "exec:a"})
        crashing_server.kill()
        try:
            with pytest.raises(StoreUnreachable, match=r"No such file|refused"):
                await store.request("promise.get", {"id": "exec:a"})
            with pytest.raises(StoreUnreachable):
                await store.reads.list_executions()
            with pytest.raises(CheckpointError):
                await asyncio.to_thread(store.chunks.get, "d1")
            with pytest.raises(StoreUnreachable):
                await waiting
            posted = [store.post("promise.create", promise(f"p{n}")) for n in range(100)]
            await store.close()
            failures = await asyncio.gather(*posted, return_exceptions=True)
            assert {type(each) for each in failures} == {StoreUnreachable}
        finally:
            crashing_server.start()


async def test_requests_under_way_while_the_server_crashes_are_answered_once_it_is_back(
    crashing_server: PostgresServer,
) -> None:
    count, rounds = 60, 3
    async with opened(crashing_server.url()) as store, asyncio.timeout(100):
        answered: list[int] = []
        for number in range(rounds):
            first = await store.request("cell.submit", {"session": "desk", "promise": CELL})
            posted = [store.post("cell.submit", {"session": "desk", "promise": CELL}) for _ in range(count)]
            crashing = asyncio.create_task(asyncio.to_thread(crashing_server.kill))
            posted += [store.post("cell.submit", {"session": "desk", "promise": CELL}) for _ in range(count)]
            await crashing
            await asyncio.to_thread(crashing_server.start)
            answers = [first, *await asyncio.gather(*posted)]
            answered += [answer.data["n"] for answer in answers]
            assert answered == list(range(1, (number + 1) * (2 * count + 1) + 1))
        url = crashing_server.url(store.address.schema)
        assert rows_of(url, "SELECT count(*), max(n) FROM cells") == [(len(answered), len(answered))]
    assert broken(url) == []


async def test_a_connection_that_is_ended_in_the_middle_of_a_batch_leaves_nothing_twice(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an administrator, or a server that is shut down."""
    ended: list[str] = []

    def append(tx: Tx, request: OutputAppend) -> Answer:
        answer = output.append(tx, request)
        if request.execution == "exec:b" and not ended:
            ended.append(request.execution)
            tx.rows("SELECT pg_terminate_backend(pg_backend_pid())")
        return answer

    kind = request_table.KINDS["output.append"]
    monkeypatch.setitem(request_table.KINDS, "output.append", replace(kind, operation=append))
    url = postgres_server.url()
    async with opened(url) as store, asyncio.timeout(60):
        posted = [
            store.post("output.append", {"execution": f"exec:{name}", "chunks": [(0, "stdout", "hello")]})
            for name in "abc"
        ]
        assert [answer.data["end"] for answer in await asyncio.gather(*posted)] == [5, 5, 5]
    assert ended
    assert rows_of(url, "SELECT execution, start, length FROM output ORDER BY execution") == [
        (f"exec:{name}", 0, 5) for name in "abc"
    ]


def test_permissions_for_everybody_wait_for_all_calls_that_are_being_recorded() -> None:
    """A call is recorded under the version of the permissions that its transaction read."""
    assert WHOLE in set(keys_of(PolicySet(name="*", before=0, document={})))
    assert WHOLE not in set(keys_of(PolicySet(name="desk", before=0, document={})))


async def test_engines_that_could_not_be_heard_of_in_an_outage_have_time_to_be_heard_of_again(
    crashing_server: PostgresServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server was away for longer than a lease: whoever is back first does not take the others' tasks."""
    url = crashing_server.url()
    looked = asyncio.Queue[None]()
    loop = asyncio.get_running_loop()

    def find_dead(self: PostgresWriter) -> None:
        real(self)
        loop.call_soon_threadsafe(looked.put_nowait, None)

    real = PostgresWriter._find_dead
    opening = opened(proxy.url(address_of(url).schema), lease_ms=60_000)
    async with asyncio.timeout(60), opening as store, other(url) as far:
        tell(far, "take")
        await store.request("promise.create", root("a", target="poll://any@g/far"))
        assert [await heard(far), await heard(far)] == ["exec:a", "taken"]
        far.send_signal(signal.SIGSTOP)
        proxy.refuse(True)
        while store._writer.unreachable_since is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        with psycopg.connect(address_of(url).conninfo, autocommit=True) as connection:
            connection.execute(f"UPDATE {address_of(url).schema}.engine_leases SET until=1".encode())
        monkeypatch.setattr(PostgresWriter, "_find_dead", find_dead)
        proxy.refuse(False)
        await looked.get()
        await looked.get()
        assert (await task(store, "a"))["state"] == "acquired"


async def test_a_server_that_starts_just_now_is_waited_for_at_the_opening(crashing_server: PostgresServer) -> None:
    crashing_server.kill()
    opening = asyncio.create_task(PostgresStore.open(crashing_server.url()))
    await asyncio.sleep(0)
    await asyncio.to_thread(crashing_server.start)
    async with asyncio.timeout(60):
        await (await opening).close()


async def _create_until_unreachable(store: PostgresStore) -> str:
    """Create promises until the server has read its settings; the one that was refused by then."""
    for number in itertools.count():
        try:
            await store.request("promise.create", promise(f"meanwhile{number}"))
        except StoreUnreachable as error:
            if "read-only" not in str(error):
                raise
            return f"meanwhile{number}"
    raise AssertionError("numbers do not end")


async def test_a_server_that_takes_no_writes_for_a_while_counts_as_away(
    crashing_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby before it is promoted, or a managed server whose disk is full."""
    conninfo = address_of(crashing_server.url()).conninfo + "&options=-c%20default_transaction_read_only%3Doff"
    async with opened(crashing_server.url()) as store, asyncio.timeout(60):
        await store.request("promise.create", promise("before"))
        monkeypatch.setattr(store_module, "REQUEST_UNHEARD_S", 1.0)
        with psycopg.connect(conninfo, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
            try:
                last = await _create_until_unreachable(store)
            finally:
                admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
                admin.execute("SELECT pg_reload_conf()")
        monkeypatch.setattr(store_module, "REQUEST_UNHEARD_S", 60.0)
        found = (await store.request("promise.create", promise("after"))).data["promise"]
        assert found["state"] == "pending"
        assert (await store.request("promise.get", {"id": last})).status == 200


@durable.function
async def one(ctx: durable.Context) -> int:
    return 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_function_that_a_cut_commit_acquired_begins_at_once(
    crashing_server: PostgresServer, proxy: Proxy, moment: Moment
) -> None:
    """Its engine is told with the answer, which is asked for where it was lost; nobody waits for a lease to run out."""
    async with durable.open(proxy.url(address_of(crashing_server.url()).schema)) as engine:
        proxy.cut_next(moment, b"UPDATE tasks")
        async with asyncio.timeout(LEASE_MS / 1000):
            assert await (await engine.start(one, id="a")).result() == 1
        assert proxy.cuts == 1
        answer = await engine.store.request("task.get", {"id": "exec:a"})
        assert answer.data["task"]["version"] == 1


def test_a_full_disk_of_the_server_is_told_with_what_to_do() -> None:
    told = str(explain(address_of("postgresql:///x?schema=s"), psycopg.errors.DiskFull("could not extend file")))
    assert told.count("disk") == 2
    assert "could not extend file; the server's disk is full; free some disk space, then it goes on" in told
