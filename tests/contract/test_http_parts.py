"""The parts of the served store by themselves: leases, rates, events, seals, batches (specs/http.md)."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoint.format.signature import sign, verified
from durable.core.errors import CheckpointTampered, StoreRefused
from durable.http.access.rate_limit import Rate
from durable.http.change_feed import Feed, merged
from durable.http.manifest_resealing import Seals
from durable.http.remote_leases import RemoteLeases
from durable.http.sse import Messages, ascii_json
from durable.store.changes import StoreChange
from durable.store.protocol.reads import READINGS
from durable.store.protocol.requests import Answer
from durable.store.reads import Reads
from durable.store.remote.reads import RemoteReads
from durable.store.remote.request_headers import AGAIN
from durable.store.remote.store import RemoteStore
from durable.store.remote.transit_key import transit_key

from .opened import engine as joined
from .opened import opened, root, settle
from .served import TOKEN, client, served


def test_an_engine_lives_while_its_stream_is_open_or_it_was_heard_of_within_its_lease() -> None:
    leases = RemoteLeases(10.0)
    leases.opened("a")
    leases.join("a", 0.0)
    leases.join("b", 0.0)
    assert leases.expired(9.9) == []
    assert leases.expired(10.0) == ["b"]
    assert "b" not in leases
    assert leases.expired(1_000.0) == []  # its stream is open
    leases.opened("a")
    leases.closed("a", 1_000.0)
    assert leases.expired(2_000.0) == []  # one of two streams is left
    leases.closed("a", 2_000.0)
    assert leases.expired(2_009.9) == []
    assert leases.beat("a", 2_009.9)
    assert leases.expired(2_019.8) == []
    assert leases.expired(2_019.9) == ["a"]
    assert not leases.beat("a", 2_020.0)
    leases.join("a", 2_020.0)
    leases.leave("a")
    assert leases.expired(9_999.0) == []


def test_a_rate_delays_before_it_refuses_and_recovers() -> None:
    rate = Rate(per_s=10, burst=2, wait_s=0.2)
    assert [rate.take("a", 0.0) for _ in range(5)] == [0.0, 0.0, pytest.approx(0.1), pytest.approx(0.2), None]
    assert rate.take("b", 0.0) == 0.0
    assert rate.take("a", 10.0) == 0.0


@pytest.mark.parametrize("text", ["plain", "é", "\u2028", "\x85", "😀", "a\u2029b😀c", 'é"\\', 'é\\\\"\\u00e9\n\0'])
def test_events_are_ascii_and_say_the_same(text: str) -> None:
    written = ascii_json(json.dumps({"k": text}, ensure_ascii=False))
    assert written.isascii()
    assert len(written.splitlines()) == 1
    assert json.loads(written) == {"k": text}


def test_messages_beyond_the_limit_end_the_stream() -> None:
    messages = Messages(limit=2)
    messages.put("1")
    messages.put("2")
    assert (messages.take(), messages.ready.is_set()) == (["1", "2"], False)
    for text in "345":
        messages.put(text)
    assert (messages.closed, messages.ready.is_set(), messages.take()) == (True, True, [])
    messages.put("6")
    assert messages.take() == []


def test_changes_become_one() -> None:
    one = StoreChange(foreign=False, settled=frozenset("a"), output=frozenset("x"))
    two = StoreChange(foreign=True, settled=frozenset("b"), prompts=frozenset("p"))
    both = StoreChange(foreign=True, settled=frozenset("ab"), output=frozenset("x"), prompts=frozenset("p"))
    assert merged(one, two) == both
    lapse = StoreChange(foreign=True, lapsed=True)
    assert merged(one, lapse).lapsed
    assert merged(lapse, two).lapsed


def test_a_manifest_changes_its_signature_at_the_border_and_a_changed_one_passes_neither_way() -> None:
    ours, transit = b"s" * 32, transit_key(TOKEN)
    seals = Seals(ours, transit)
    stored = seals.received(sign(b"body", transit))
    assert verified(stored, ours) == b"body"
    assert verified(seals.sent(stored), transit) == b"body"
    with pytest.raises(StoreRefused, match="400"):
        seals.received(sign(b"body", transit_key("another token")))
    with pytest.raises(CheckpointTampered):
        verified(seals.sent(stored[:-1] + b"x"), transit)
    assert ours not in stored
    assert transit_key(TOKEN) != transit_key(TOKEN + "x")


def test_every_read_can_be_asked_elsewhere() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(each).parameters)[1:] for name, each in found if name[0] != "_"}

    remote, local = public(RemoteReads), public(Reads)
    local.pop("close")
    assert remote == {name: parameters for name, parameters in local.items() if name in remote}
    assert set(remote) == set(READINGS)
    assert {name: list(struct.__struct_fields__) for name, (struct, _) in READINGS.items()} == remote


async def test_a_batch_that_is_sent_again_is_answered_and_not_done_again(tmp_path: Path) -> None:
    cell = {"timeoutAt": 2**50, "tags": {"resonate:target": "poll://any@g"}}
    batch = [{"kind": "cell.submit", "data": {"session": "desk", "promise": cell}}]
    async with served(tmp_path / "work.db") as found, client() as session:
        answers = []
        for number in ("1", "1", "2", "2", "1"):
            headers = {"durable-client": "c", "durable-batch": number}
            async with session.post(f"{found.url}/batch", json=batch, headers=headers) as response:
                answers.append((await response.json())[0]["data"]["n"])
        # Only the last number is remembered: a client has one batch under way, and never goes back.
        assert answers == [1, 1, 2, 2, 3]


async def test_a_cell_that_was_submitted_to_a_server_that_died_is_not_submitted_again(tmp_path: Path) -> None:
    tags = {"resonate:target": "poll://any@g", "durable:nonce": "of this cell"}
    submit = {"session": "desk", "promise": {"timeoutAt": 2**50, "tags": tags}}
    batch = [{"kind": "promise.get", "data": {"id": "a"}}, {"kind": "cell.submit", "data": submit}]
    numbers = []
    for headers in ({}, {AGAIN: "1"}, {AGAIN: "1"}, {}):
        named = {"durable-client": "c", "durable-batch": "1", **headers}
        async with (
            served(tmp_path / "work.db") as found,
            client() as session,
            session.post(f"{found.url}/batch", json=batch, headers=named) as response,
        ):
            first, second = await response.json()
            assert first["status"] == 404
            numbers.append((second["data"]["n"], second["data"]["id"], second["data"]["promise"]["id"]))
    assert [n for n, _, _ in numbers] == [1, 1, 1, 2]
    assert numbers[0] == numbers[1] == (1, "exec:desk@1", "exec:desk@1")


async def test_a_flush_waits_also_for_what_its_caller_gave_up(tmp_path: Path) -> None:
    async with served(tmp_path / "work.db") as found:
        store = await RemoteStore.open(found.url, token=TOKEN)
        try:
            for n in range(100):
                store.post("promise.create", root(f"r{n}")).cancel()
            await store.flushed()
            assert await found.store.reads.get_promise("exec:r99") is not None
        finally:
            await store.close()
        await store.flushed()  # of a closed store: nothing to wait for


async def test_requests_of_a_remote_store_commit_in_the_order_they_were_posted(tmp_path: Path) -> None:
    async with served(tmp_path / "work.db") as found:
        store = await RemoteStore.open(found.url, token=TOKEN)
        try:
            offset = 0
            for n in range(2_000):
                text = f"{n} \ud800\n"  # a lone surrogate is printed as one other character
                store.post("output.append", {"execution": "e", "chunks": [(offset, "stdout", text)]})
                offset += len(text)
            await store.flushed()
            printed = "".join(row.text for row in await store.reads.output("e"))
            assert printed == "".join(f"{n} ?\n" for n in range(2_000))
        finally:
            await store.close()


async def test_who_waits_elsewhere_is_woken_by_whoever_settles_it(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with served(path) as found, opened(path) as beside:
        store = await RemoteStore.open(found.url, token=TOKEN)
        changes: list[StoreChange] = []
        store.watch(changes.append)
        try:
            for n in range(3):
                await store.request("promise.create", root(f"r{n}"))
            waiting = [store.settled(f"exec:r{n}") for n in range(3)]
            await store.request("promise.settle", settle("exec:r0"))
            await found.store.request("promise.settle", settle("exec:r1", "rejected"))
            await beside.request("promise.settle", settle("exec:r2", "rejected_canceled"))
            rows = [await each for each in waiting]
            assert [row.state for row in rows] == ["resolved", "rejected", "rejected_canceled"]
            assert any("exec:r1" in change.settled for change in changes)
        finally:
            await store.close()
        assert found.site.desk.feeds == {} or all(feed.closed for feed in found.site.desk.feeds.values())


async def test_waiting_for_too_many_promises_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable.http.change_feed.AWAITED_MAX", 3)
    async with opened(tmp_path / "work.db") as store:
        feed = Feed(store)
        feed.wait_for(["a", "b", "c"])
        with pytest.raises(StoreRefused, match="AWAITED_MAX"):
            feed.wait_for(["d"])
        feed.close()


async def test_an_engine_of_the_servers_machine_is_not_another_machines_business(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with served(path) as found, opened(path) as beside:
        await joined(beside, "e1")
        store = await RemoteStore.open(found.url, token=TOKEN)
        try:
            serve: dict[str, object] = {"functions": ["f"]}
            for kind, more in (("engine.leave", {}), ("engine.serve", serve), ("engine.beat", {})):
                with pytest.raises(StoreRefused, match="404"):
                    await store.request(kind, {"engine": "e1", **more})
            data = {"engine": "e1", "group": "g", "pid": 1, "functions": []}
            with pytest.raises(StoreRefused, match="409"):
                await store.request("engine.join", data)
            assert beside.engine_alive("e1")
        finally:
            await store.close()


async def test_a_remote_engine_is_alive_for_everybody_until_its_lease_is_over(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with served(path, lease_s=0.1) as found, opened(path) as beside:
        store = await RemoteStore.open(found.url, token=TOKEN)
        await store.request("engine.join", {"engine": "far", "group": "g", "pid": 1, "functions": ["f"]})
        assert beside.engine_alive("far")
        await store.request("promise.create", root("r"))
        await store.request("task.acquire", {"id": "exec:r", "version": 0, "pid": "far", "ttl": 600_000})
        store._joined = None  # it falls silent
        freed: Answer | None = None
        while freed is None or freed.data["task"]["state"] == "acquired":
            freed = await beside.request("task.get", {"id": "exec:r"})
        assert not beside.engine_alive("far")
        await store.close()


def test_a_store_on_a_file_needs_no_http() -> None:
    code = (
        "import sys, durable.store.port, durable.store.sqlite.store\n"
        "assert not {'aiohttp', 'uvicorn', 'starlette'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
