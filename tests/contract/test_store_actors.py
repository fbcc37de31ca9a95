"""Actors of the store: mail in order, state with the turn's end, stops, dead letters (specs/actors.md, Store)."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreRefused
from durable.store.direct_store import DirectStore
from durable.store.upkeep.gc import sweep_actors

from .opened import T0, Clock, engine, opened, settle, status

KIND = "actor~Cart@1"


def mail(key: str = "ana", **more: Any) -> dict[str, Any]:
    tags = {"resonate:target": "poll://any@g", "durable:function": KIND}
    promise = {"timeoutAt": TIME_MAX_MS, "param": {"data": "bWVzc2FnZQ=="}, "tags": tags}
    return {"actor": f"actor~Cart~{key}", "kind": "Cart", "key": key, "promise": promise, **more}


def turn(message: str, version: int = 1, state: str = "resolved", **more: Any) -> dict[str, Any]:
    action = {"kind": "promise.settle", "data": settle(message, state)}
    actor = message.removeprefix("exec:").partition("@")[0]
    task = {"id": message, "version": version, "action": action}
    return {"actor": actor, "kind": "Cart", "key": actor.rpartition("~")[2], "task": task, **more}


async def ask(store: DirectStore, kind: str, /, **data: Any) -> Any:
    return (await store.request(kind, data)).data


async def sent(store: DirectStore, **more: Any) -> Any:
    return await ask(store, "actor.send", **mail(**more))


async def take(store: DirectStore, message: str, version: int = 0) -> None:
    await ask(store, "task.acquire", id=message, version=version, pid="e1", ttl=60_000)


async def test_mail_is_taken_one_at_a_time_in_order_and_at_once_where_an_engine_asks(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store, "e1", [KIND])
        first = await sent(store, engine="e1", ttl=60_000)
        assert (first["id"], first["task"]["state"]) == ("exec:actor~Cart~ana@1", "acquired")
        second = await sent(store, engine="e1", ttl=60_000)
        assert (second["id"], second["task"]) == ("exec:actor~Cart~ana@2", None)
        assert await inbox.quiet()
        saved = await ask(store, "actor.fulfill", **turn(first["id"]))
        assert saved["promise"]["state"] == "resolved"
        assert await inbox.next() == second["id"]
        assert (await ask(store, "actor.get", actor="actor~Cart~ana"))["waiting"] == 1


async def test_state_is_saved_with_the_end_of_a_turn_or_not_at_all(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        message = (await sent(store, engine="e1", ttl=60_000))["id"]
        with pytest.raises(StoreRefused, match="version 1"):
            await ask(store, "actor.fulfill", **turn(message, 2, state="rejected"))
        end = turn(message)
        await ask(
            store, "actor.fulfill", **{**end, "state": '{"n":1}', "version": 3, "restarts": [1.5], "restarted": 2}
        )
        row = await ask(store, "actor.get", actor="actor~Cart~ana")
        assert (row["state"], row["version"], row["saved"], row["restarts"], row["restarted"]) == (
            '{"n":1}',
            3,
            1,
            [1.5],
            2,
        )
        again = (await sent(store, engine="e1", ttl=60_000))["id"]
        await ask(store, "execution.cancel", id=again, reason="enough")
        assert await status(store, "actor.fulfill", {**turn(again), "state": '{"n":2}'}) == 409
        assert (await ask(store, "actor.get", actor="actor~Cart~ana"))["state"] == '{"n":1}'


async def test_a_message_of_an_id_is_sent_once_and_a_full_mailbox_takes_none(tmp_path: Path) -> None:
    """A45: at least once, as often as its sender tries; taken once."""
    async with opened(tmp_path / "s.db") as store:
        first = await sent(store, id="once", capacity=1)
        assert (first["id"], (await sent(store, id="once", capacity=1))["existed"]) == (
            "exec:actor~Cart~ana@once",
            True,
        )
        full = await sent(store, capacity=1)
        assert (full["promise"], full["refused"]) == (None, "full")
        assert (await sent(store, capacity=2))["n"] == 2
        assert await status(store, "actor.send", {**mail(), "promise": {"timeoutAt": TIME_MAX_MS}}) == 400


async def test_a_stop_buries_what_waits_and_spares_a_turn_that_has_begun(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store, "e1", [KIND])
        first, second, third = [(await sent(store))["id"] for _ in range(3)]
        assert await inbox.next() == first
        await take(store, first)
        assert (await ask(store, "actor.stop", actor="actor~Cart~ana", note="closing"))["letters"] == 2
        await ask(store, "actor.fulfill", **{**turn(first), "state": '{"n":1}'})
        refused = await sent(store)
        assert (refused["promise"], refused["refused"], refused["note"]) == (None, "stopped", "closing")
        letters = (await ask(store, "actor.letters", actor="actor~Cart~ana"))["letters"]
        assert [(each["promise"], each["message"]) for each in letters] == [
            ("", "bWVzc2FnZQ=="),
            (second, "bWVzc2FnZQ=="),
            (third, "bWVzc2FnZQ=="),
        ]
        page = await ask(store, "actor.letters", before=letters[0]["id"], limit=1)
        assert [each["promise"] for each in page["letters"]] == [second]
        row = await store.reads.get_promise(second)
        assert row is not None
        assert (row.state, "ActorStopped" in str(row.value)) == ("rejected", True)
        assert await inbox.quiet()
        await ask(store, "actor.restart", actor="actor~Cart~ana")
        fourth = (await sent(store))["id"]
        assert await inbox.next() == fourth
        await take(store, fourth)
        assert await status(store, "actor.restart", {"actor": "actor~Cart~ana", "reset": True}) == 409
        assert (await ask(store, "actor.stop", actor="actor~Cart~ana", force=True))["letters"] == 1
        reset = await ask(store, "actor.restart", actor="actor~Cart~ana", reset=True)
        assert (reset["state"], reset["status"]) == (None, "running")
        assert await status(store, "actor.stop", {"actor": "actor~Cart~bo"}) == 404


async def test_a_turn_that_gives_up_buries_its_message_and_the_rest(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        first, second = [(await sent(store))["id"] for _ in range(2)]
        await take(store, first)
        over = {"dead": "tired", "status": "failed", "note": "tired"}
        await ask(store, "actor.fulfill", **{**turn(first, state="rejected"), "state": None, **over})
        letters = (await ask(store, "actor.letters"))["letters"]
        assert [(each["promise"], each["reason"]) for each in letters] == [
            (second, "the actor failed: tired"),
            (first, "tired"),
        ]
        assert (await ask(store, "actor.get", actor="actor~Cart~ana"))["status"] == "failed"


async def test_children_are_listed_in_start_order_and_all_by_name(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        for key in ("c", "a", "b"):
            await sent(store, key=key, parent="actor~Crew~day")
        await sent(store, key="top")
        children = (await ask(store, "actor.list", parent="actor~Crew~day"))["actors"]
        assert [(each["key"], each["place"]) for each in children] == [("c", 1), ("a", 2), ("b", 3)]
        first = (await ask(store, "actor.list", parent="actor~Crew~day", limit=2))["actors"]
        last = {"after": first[-1]["name"], "place": first[-1]["place"]}
        rest = (await ask(store, "actor.list", parent="actor~Crew~day", limit=2, **last))["actors"]
        assert [each["key"] for each in first + rest] == ["c", "a", "b"]
        page = (await ask(store, "actor.list", limit=2, after="actor~Cart~a"))["actors"]
        assert [each["key"] for each in page] == ["b", "c"]
        assert (await ask(store, "actor.list", status="failed"))["actors"] == []
        assert len((await ask(store, "actor.list", kind="Cart"))["actors"]) == 4
        assert await store.reads.sessions() == []


async def test_subscriptions_are_replaced_and_ended(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        whom = {"actor": "actor~Cart~ana", "kind": "Cart", "key": "ana"}
        for pattern, method in (("a.*", "one"), ("b.#", "two"), ("a.*", "three")):
            assert (await ask(store, "actor.subscribe", pattern=pattern, method=method, **whom))["changed"] is True
        found = (await ask(store, "actor.subscriptions"))["subscriptions"]
        assert [(each["pattern"], each["method"]) for each in found] == [("a.*", "three"), ("b.#", "two")]
        after = await ask(store, "actor.subscriptions", pattern="a.*", actor=whom["actor"])
        assert [each["pattern"] for each in after["subscriptions"]] == ["b.#"]
        for expected in (True, False):
            ended = await ask(store, "actor.subscribe", pattern="a.*", method=None, **whom)
            assert ended["changed"] is expected


@dataclass
class Model:
    """One actor as the store has it, in the fewest words: open mail in order, the one at work, its row."""

    open: list[tuple[str, int]] = field(default_factory=list)
    status: str = "running"
    state: str | None = None
    saved: int = 0
    letters: int = 0
    next: int = 1

    def dead(self, *, all_of_it: bool) -> int:
        kept = [] if all_of_it else [each for each in self.open if each[1] > 0]
        count = len(self.open) - len(kept)
        self.open, self.letters = kept, self.letters + count
        return count


@pytest.mark.parametrize("seed", range(4))
async def test_random_requests_leave_what_the_model_says(tmp_path: Path, seed: int) -> None:
    chance, models = random.Random(seed), {key: Model() for key in "ab"}
    async with opened(tmp_path / "s.db") as store:
        for n in range(60):
            key = chance.choice("ab")
            model, actor = models[key], f"actor~Cart~{key}"
            what = chance.choice(("send", "send", "send", "take", "end", "end", "give up", "stop", "restart"))
            head = model.open[0] if model.open else None
            if what == "send":
                answer = await sent(store, key=key, capacity=4)
                if model.status != "running":
                    model.letters += 1
                    assert answer["refused"] == model.status
                elif len(model.open) == 4:
                    assert answer["refused"] == "full"
                else:
                    assert answer["n"] == model.next
                    model.open.append((answer["id"], 0))
                    model.next += 1
            elif what == "take" and head is not None and head[1] == 0:
                await take(store, head[0])
                model.open[0] = (head[0], 1)
            elif what in ("end", "give up") and head is not None and head[1] == 1:
                model.open.pop(0)
                if what == "end":
                    model.state, model.saved = f'{{"n":{n}}}', model.saved + 1
                    await ask(store, "actor.fulfill", **{**turn(head[0]), "state": model.state})
                else:
                    model.status = "failed"
                    over = {"state": None, "dead": "x", "status": "failed", "note": "x"}
                    await ask(store, "actor.fulfill", **{**turn(head[0], state="rejected"), **over})
                    model.letters += 1
                    model.dead(all_of_it=True)
            elif what == "stop" and model.next > 1:
                force = chance.random() < 0.3
                answer = await ask(store, "actor.stop", actor=actor, force=force)
                model.status = "stopped"
                assert answer["letters"] == model.dead(all_of_it=force)
            elif what == "restart" and model.next > 1:
                await ask(store, "actor.restart", actor=actor)
                model.status = "running"
            if model.next > 1:
                row = await ask(store, "actor.get", actor=actor)
                assert (row["status"], row["state"], row["saved"], row["waiting"]) == (
                    model.status,
                    model.state,
                    model.saved,
                    len(model.open),
                ), (seed, n, what)
                letters = (await ask(store, "actor.letters", actor=actor))["letters"]
                assert len(letters) == model.letters, (seed, n, what)


async def test_a_journal_is_kept_with_the_turn_and_forgotten_with_a_save(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await engine(store, "e1", [KIND])

        async def turned(**more: Any) -> None:
            message = (await sent(store))["promise"]["id"]
            await take(store, message)
            await ask(store, "actor.fulfill", **turn(message, state="resolved", **more))

        for n in range(12):
            await turned(journal=f'"{n}"')
        first = await ask(store, "actor.journal", actor="actor~Cart~ana", limit=10)
        last = await ask(store, "actor.journal", actor="actor~Cart~ana", after=first["entries"][-1][0])
        assert [text for _, text in (*first["entries"], *last["entries"])] == [f'"{n}"' for n in range(12)]
        await turned(forget=True)
        assert (await ask(store, "actor.journal", actor="actor~Cart~ana"))["entries"] == []
        await turned(journal='"after"')
        assert len((await ask(store, "actor.journal", actor="actor~Cart~ana"))["entries"]) == 1
        await ask(store, "actor.restart", actor="actor~Cart~ana", reset=True)
        assert (await ask(store, "actor.journal", actor="actor~Cart~ana"))["entries"] == []


async def test_old_actors_that_are_stopped_and_old_letters_go(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await engine(store, "e1", [KIND])
        for key in ("gone", "busy", "runs", "lately"):
            await sent(store, key=key)
        await take(store, "exec:actor~Cart~busy@1")
        for key in ("gone", "busy"):
            await ask(store, "actor.stop", actor=f"actor~Cart~{key}")
        clock.now += 10_000
        await ask(store, "actor.stop", actor="actor~Cart~lately")
        old = T0 + 5_000
        wanted = {"actors": 1, "letters": 1}
        for dry_run in (True, False):
            found = [asdict(done) async for done in sweep_actors(store, before=old, dry_run=dry_run)][-1]
            assert {name: found[name] for name in wanted} == wanted
        left = (await ask(store, "actor.list"))["actors"]
        assert [each["key"] for each in left] == ["busy", "lately", "runs"]
        assert [each["actor"] for each in (await ask(store, "actor.letters"))["letters"]] == ["actor~Cart~lately"]
