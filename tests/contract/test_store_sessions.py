"""Sessions, cells, calls, output and checkpoints of the store (specs/store.md S5, S9-S11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreRefused
from durable.store.changes import StoreChange
from durable.store.output_reader import OutputReader
from durable.store.sqlite.store import Store

from .opened import Inbox, acquire, engine, opened, promise, settle, status, task

CELL = "session@1"


async def cell(store: Store, session: str = "desk") -> str:
    tags = {"resonate:target": "poll://any@g", "durable:function": CELL}
    answer = await store.request(
        "cell.submit", {"session": session, "promise": {"timeoutAt": TIME_MAX_MS, "tags": tags}}
    )
    return str(answer.data["id"])


async def host(store: Store, name: str = "e1") -> Inbox:
    return await engine(store, name, [CELL])


async def test_cells_run_one_at_a_time_in_order_and_a_waiting_one_blocks_those_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await host(store)
        await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
        ids = [await cell(store) for _ in range(3)]
        assert ids == ["exec:desk@1", "exec:desk@2", "exec:desk@3"]
        assert await inbox.next() == ids[0]
        assert await inbox.quiet()
        with pytest.raises(StoreRefused, match="before it"):
            await acquire(store, "desk@2")
        await acquire(store, "desk@1")
        call = {"id": "exec:desk@1:input:1", "timeoutAt": TIME_MAX_MS, "tags": {"resonate:external": "true"}}
        asked = {"session": "desk", "epoch": 1, "awaiter": ids[0], "promise": call}
        assert (await store.request("call.create", asked)).data["created"] is True
        assert (await store.request("call.create", asked)).data["created"] is False
        callback = {"kind": "promise.register_callback", "data": {"awaited": call["id"], "awaiter": ids[0]}}
        await store.request("task.suspend", {"id": ids[0], "version": 1, "actions": [callback]})
        assert await inbox.quiet()
        await store.request("promise.settle", settle(str(call["id"])))
        assert await inbox.next() == ids[0]
        await store.request("task.halt", {"id": ids[0]})
        assert await inbox.quiet()
        await store.request("promise.settle", settle(ids[0], "rejected_canceled"))
        assert await inbox.next() == ids[1]
        await store.request("promise.settle", settle(ids[2]))  # cancelled while it waited in line
        await store.request("promise.settle", settle(ids[1]))
        assert await inbox.quiet()


async def test_a_child_of_a_function_takes_its_place_in_the_session(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await host(store)
        first = await cell(store)
        child = promise("exec:f.1", target="poll://any@g", durable_session="desk", durable_function=CELL)
        await store.request("promise.create", child)
        third = await cell(store)
        assert third == "exec:desk@3"
        for expected in (first, "exec:f.1", third):
            assert await inbox.next() == expected
            assert await inbox.quiet()
            await store.request("promise.settle", settle(expected))
        opened_now = await store.request(
            "session.open", {"session": "desk", "engine": None, "options": {"profile": "open"}}
        )
        assert (opened_now.data["created"], opened_now.data["options"]) == (True, {"profile": "open"})


async def test_cells_go_to_the_owner_and_to_another_only_when_it_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        one, two = await host(store, "e1"), await host(store, "e2")
        await store.request("session.open", {"session": "desk", "engine": "e2", "options": {}})
        await cell(store)
        assert await two.next() == "exec:desk@1"
        assert await one.quiet()
        assert await status(store, "session.take", {"session": "desk", "engine": "e1"}) == 409
        await acquire(store, "desk@1", pid="e2")
        await two.connection.stop()
        await store.request("engine.leave", {"engine": "e2"})
        assert await one.next() == "exec:desk@1"
        taken = await store.request("session.take", {"session": "desk", "engine": "e1"})
        assert taken.data == {"epoch": 2, "previous_worker": None}


async def test_every_write_of_a_former_owner_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await host(store)
        await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
        await cell(store)
        await store.request("session.worker", {"session": "desk", "epoch": 1, "pid": 42, "start": 7})
        await store.request("session.give", {"session": "desk", "epoch": 1})
        assert (await store.request("session.take", {"session": "desk", "engine": "e1"})).data["epoch"] == 2
        stale: dict[str, dict[str, Any]] = {
            "session.worker": {"pid": 1, "start": 1},
            "session.give": {},
            "call.create": {"awaiter": "exec:desk@1", "promise": promise("exec:desk@1:input:1")},
            "checkpoint.publish": {"execution": None, "statement": 0, "final": False, "manifest": b""},
            "output.append": {"execution": "desk@1", "chunks": [(0, "stdout", "x")]},
        }
        for kind, data in stale.items():
            assert await status(store, kind, {"session": "desk", "epoch": 1, **data}) == 409, kind


async def test_a_second_taker_still_finds_the_old_worker_until_the_new_one_is_recorded(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await host(store)
        await store.request("session.open", {"session": "desk", "engine": "gone", "options": {}})
        await store.request("session.worker", {"session": "desk", "epoch": 1, "pid": 42, "start": 7})
        for _ in range(2):
            taken = await store.request("session.take", {"session": "desk", "engine": "e1"})
            assert taken.data == {"epoch": 2, "previous_worker": {"pid": 42, "start": 7}}


async def test_numbers_are_never_used_again_not_even_after_closing(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        first = await store.request("session.open", {"session": "desk", "engine": None, "options": {"a": 1}})
        again = await store.request("session.open", {"session": "desk", "engine": None, "options": {"a": 2}})
        assert (first.data["created"], again.data["created"], again.data["options"]) == (True, False, {"a": 1})
        await store.request("promise.settle", settle(await cell(store)))
        await store.request("session.close", {"session": "desk"})
        with pytest.raises(StoreRefused, match="closed"):
            await cell(store)
        anew = await store.request("session.open", {"session": "desk", "engine": None, "options": {"a": 3}})
        assert (anew.data["created"], anew.data["options"]) == (True, {"a": 3})
        assert await cell(store) == "exec:desk@2"
        assert int(str(anew.data["epoch"])) > int(str(first.data["epoch"]))


async def test_of_a_run_of_sandboxed_code_nothing_stays(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await host(store)
        await store.request("session.open", {"session": "once", "engine": "e1", "options": {"run": "r"}})
        assert [row.run for row in await store.reads.sessions()] == ["r"]
        await store.request("session.close", {"session": "once"})
        assert await store.reads.sessions() == []
        assert await status(store, "session.worker", {"session": "once", "epoch": 1, "pid": 42, "start": 7}) == 404


async def test_a_new_call_is_progress_and_an_execution_that_is_over_asks_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await host(store)
        await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
        cell_id = await cell(store)
        for version in range(5):
            await acquire(store, "desk@1", version)
            call = promise(f"exec:desk@1:input:{version + 1}", resonate_external="true")
            await store.request("call.create", {"session": "desk", "epoch": 1, "awaiter": cell_id, "promise": call})
            failed = {"id": cell_id, "version": version + 1, "error": "worker died", "cause": "failed"}
            await store.request("task.fail", failed)
            assert (await task(store, "desk@1"))["state"] == "pending"
        listed: Any = (await store.request("call.list", {"execution": cell_id})).data["promises"]
        assert [each["id"] for each in listed] == [f"exec:desk@1:input:{n}" for n in range(1, 6)]
        await store.request("promise.settle", settle(cell_id))
        late = {"session": "desk", "epoch": 1, "awaiter": cell_id, "promise": promise("exec:desk@1:input:9")}
        assert await status(store, "call.create", late) == 409


async def test_closing_cancels_the_running_and_the_queued_in_one_and_none_of_them_ever_begins(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await host(store)
        await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
        cells = [await cell(store) for _ in range(4)]
        assert await inbox.next() == cells[0]
        await acquire(store, "desk@1")
        await store.request("task.halt", {"id": cells[2]})
        caller = promise("exec:f", target="poll://any@h")
        await store.request("promise.create", caller)
        child = promise("exec:f.1", target="poll://any@g", durable_session="desk", durable_function=CELL)
        await store.request("promise.create", child)
        changes: list[StoreChange] = []
        store.watch(changes.append)
        await store.request("session.close", {"session": "desk"})
        assert [change.settled for change in changes if change.settled] == [frozenset((*cells, "exec:f.1"))]
        for each in cells:
            row = await store.reads.get_promise(each)
            assert row is not None
            assert (row.state, row.value["message"]) == ("rejected_canceled", "session 'desk' was closed")
        late = {"id": cells[0], "version": 1, "action": {"kind": "promise.settle", "data": settle(cells[0])}}
        assert await status(store, "task.fulfill", late) == 409
        assert await inbox.quiet()
        await store.request("promise.create", promise("exec:f.2", target="poll://any@g", durable_session="desk"))
        again: Any = (await store.request("session.get", {"session": "desk"})).data
        assert (again["closed"], again["next_n"], again["owner"]) == (False, 7, None)


async def test_calls_of_a_similar_name_are_not_listed(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        for name in ("exec:a", "exec:a.1", "exec:a.1:input:1", "exec:a:input:1", "exec:ab", "exec:a-b", "exec:a@1"):
            await store.request("promise.create", promise(name))
        listed: Any = (await store.request("call.list", {"execution": "exec:a"})).data["promises"]
        assert [each["id"] for each in listed] == ["exec:a.1", "exec:a.1:input:1", "exec:a:input:1"]


async def test_output_is_contiguous_in_characters_and_cut_at_any(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        changes: list[StoreChange] = []
        end = store.watch(changes.append)
        chunks = [(0, "stdout", "grüße\ud800"), (6, "stderr", "no"), (8, "stdout", "\0end")]
        assert (await store.request("output.append", {"execution": "a", "chunks": chunks})).data == {"end": 12}
        assert any("a" in change.output for change in changes)
        end()
        for start in (11, 13):
            assert await status(store, "output.append", {"execution": "a", "chunks": [(start, "stdout", "x")]}) == 409
        assert [(row.offset, row.text) for row in await store.reads.output("a", 2)] == [
            (2, "üße?"),
            (6, "no"),
            (8, "\0end"),
        ]
        await store.request("output.truncate", {"execution": "a", "offset": 7})
        assert "".join(row.text for row in await store.reads.output("a")) == "grüße?n"
        assert (await store.request("output.append", {"execution": "a", "chunks": [(7, "stdout", "w")]})).data == {
            "end": 8
        }
        assert await store.reads.output("b") == []


async def test_every_reader_learns_how_far_back_output_was_cut(tmp_path: Path) -> None:
    async def seen(reader: OutputReader) -> list[object]:
        return [
            each
            async for page in reader.look(store.reads)
            for each in (*(() if page.rewound is None else (page.rewound,)), *(row.text for row in page.chunks))
        ]

    async def write(start: int, text: str) -> None:
        await store.request("output.append", {"execution": "a", "chunks": [(start, "stdout", text)]})

    async def cut(offset: int) -> None:
        await store.request("output.truncate", {"execution": "a", "offset": offset})

    async with opened(tmp_path / "s.db") as store:
        every, rarely, absent = OutputReader("a"), OutputReader("a"), OutputReader("a", 100)
        assert await seen(every) == await seen(rarely) == []
        await write(0, "01234")
        assert await seen(every) == await seen(rarely) == ["01234"]
        await cut(5)
        assert await seen(every) == []  # nothing was taken away
        await cut(3)
        await write(3, "345678")
        assert await seen(every) == [3, "345678"]
        await cut(7)
        await write(7, "xy")
        assert await seen(every) == [7, "xy"]
        await cut(4)
        assert await seen(every) == [4]
        assert await seen(rarely) == [3, "3"]  # the lowest of three
        await cut(6)
        await write(4, "z")
        assert await seen(every) == await seen(rarely) == ["z"]
        assert await seen(absent) == []
        assert await seen(OutputReader("a", 1)) == ["12", "3", "z"]
        rewinds = await store.reads._rows("SELECT n, start FROM rewinds ORDER BY n", ())
        assert [tuple(row) for row in rewinds] == [(1, 3), (3, 4)]


async def test_two_unlabelled_checkpoints_and_all_labelled_stay_with_the_chunks_they_use(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
        assert (await store.request("checkpoint.latest", {"session": "desk"})).data == {"checkpoint": None}
        dropped = []
        for i in range(5):
            published = await store.request(
                "checkpoint.publish",
                {
                    "session": "desk",
                    "epoch": 1,
                    "execution": "desk@1",
                    "statement": i,
                    "final": False,
                    "label": "keep" if i == 0 else None,
                    "manifest": b"m%d" % i,
                    "chunks": [("all", b"A"), (f"c{i}", b"%d" % i)],
                    "uses": ["all", f"c{i}", f"file{i}"],
                },
            )
            dropped.append(published.data["dropped"])
        assert dropped == [[], [], [], ["c1", "file1"], ["c2", "file2"]]
        listed: Any = (await store.request("checkpoint.list", {"session": "desk"})).data["checkpoints"]
        assert [(each["statement"], each["label"]) for each in listed] == [(0, "keep"), (3, None), (4, None)]
        latest: Any = (await store.request("checkpoint.latest", {"session": "desk"})).data["checkpoint"]
        assert (latest["manifest"], latest["statement"]) == (b"m4", 4)
        found = await store.request("chunk.get", {"digests": ["all", "c0", "c1", "c4"]})
        assert found.data == {"chunks": {"all": b"A", "c0": b"0", "c4": b"4"}}
