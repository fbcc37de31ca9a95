"""The HTTP API: what each route does, on a file and on a database; answers fit the document (specs/http-api.md)."""

from __future__ import annotations

import asyncio
import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import durable
from durable.executions.bulk_work import BulkChoice
from durable.executions.page_cursor import write_cursor
from durable.http.access.roles import ROLES
from durable.http.api.route_table import ROUTES
from durable.http.api.routes import bulk_routes
from tests.waiting import in_state

from .api_server import ApiServer, api_server
from .opened import place_of, root


@durable.function(name="api-adds")
async def adds(ctx: durable.Context, first: int, second: int = 1) -> int:
    return await ctx.run(_sum, first, second)


async def _sum(first: int, second: int) -> int:
    return first + second


@durable.function(name="api-fails")
async def fails(ctx: durable.Context) -> None:
    raise ValueError("no such luck")


@durable.function(name="api-asks")
async def asks(ctx: durable.Context) -> int:
    return await ctx.ask("How many?", schema=int)


@durable.function(name="api-asks-many")
async def asks_many(ctx: durable.Context) -> None:
    due = ctx.ask("Due?", schema=int, timeout=timedelta(milliseconds=1), default=0)
    await asyncio.gather(due, *(ctx.ask(f"Question {n}?", schema=int) for n in range(5)), return_exceptions=True)
    await ctx.ask("Still there?")


@durable.function(name="api-writes")
async def writes(ctx: durable.Context) -> None:
    await ctx.stream("words").write("one", {"two": 2})
    await ctx.publish(progress=1, other=["x"])
    await ctx.signal("go")
    await ctx.stream("words").write("three")
    await ctx.publish(progress=2)


@durable.function(name="api-signalled")
async def signalled(ctx: durable.Context) -> Any:
    return await ctx.signal("go", schema=int)


@durable.function(name="api-promised")
async def promised(ctx: durable.Context) -> Any:
    return await ctx.promise(schema=int)


@durable.actor(name="ApiCart")
class Cart:
    items: list[str] = []  # noqa: RUF012 - the state of an actor

    async def add(self, ctx: durable.ActorContext, item: str) -> int:
        self.items = [*self.items, item]
        return len(self.items)

    async def breaks(self, ctx: durable.ActorContext) -> None:
        raise ValueError("broken")


async def ended(server: ApiServer, execution: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            found = await server.get(f"/executions/{quote(execution)}/result?wait=20")
            if found["ended"]:
                return found


async def asked(server: ApiServer, execution: str) -> str:
    found = await server.get(f"/executions/{execution}/result?wait=30")
    assert not found["ended"]
    return str(found["waits_for"][0])


async def listed(server: ApiServer, path: str, count: int) -> list[Any]:
    """The items of a list, as soon as it has so many."""
    for _ in range(3_000):
        if len(items := (await server.get(path))["items"]) == count:
            break
        await asyncio.sleep(0.02)
    assert len(items) == count
    return list(items)


async def test_an_execution_from_start_to_end(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        body = {"function": "api-adds", "args": [40], "kwargs": {"second": 2}, "tags": {"customer": "c7"}}
        status, made = await server.call("POST", "/executions", body, idempotency_key="sum-1")
        assert (status, made["id"], made["arguments"]) == (201, "sum-1", {"args": [40, 2], "kwargs": {}})
        assert (await ended(server, "sum-1"))["value"] == 42
        status, again = await server.call("POST", "/executions", {**body, "id": "sum-1"})
        assert (status, again["state"], again["result"]) == (200, "completed", 42)
        status, problem = await server.call("POST", "/executions", {**body, "args": [41], "id": "sum-1"})
        assert (status, problem["code"]) == (409, "CONFLICT")
        status, problem = await server.call("POST", "/executions", {**body, "id": "a"}, idempotency_key="b")
        assert (status, problem["code"]) == (400, "BAD_ARGUMENTS")
        status, problem = await server.call("POST", "/executions", {**body, "args": ["many"]})
        assert (status, problem["code"]) == (400, "BAD_ARGUMENTS")
        status, problem = await server.call("POST", "/executions", {"function": "nobody-has-it"})
        assert (status, problem["code"]) == (404, "NOT_FOUND")
        [step] = (await server.get("/executions/sum-1/steps"))["items"]
        assert (step["kind"], step["state"], step["value"], step["parent"]) == ("step", "completed", 42, "sum-1")
        assert [each["id"] for each in (await server.get("/executions?tag=customer%3Dc7"))["items"]] == ["sum-1"]
        assert (await server.call("PATCH", "/executions/sum-1/tags", {"tags": {"customer": None, "b": "x"}}))[1] == {
            "tags": {"b": "x"}
        }
        assert (await server.get("/executions?tag=customer%3Dc7"))["items"] == []
        for filters, count in (("state=completed", 1), ("state=failed", 0), ("function=api-adds", 1), ("session=s", 0)):
            assert len((await server.get(f"/executions?{filters}"))["items"]) == count, filters
        assert (await server.get("/executions?until=2020-01-01T00:00:00Z"))["items"] == []
        functions = await server.get("/functions")
        assert "api-adds@1" in [each["id"] for each in functions["items"]]


async def test_what_fails_is_told_and_retried(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-fails", "id": "f"})
        found = await ended(server, "f")
        assert (found["state"], found["error"]["exception_type"]) == ("failed", "ValueError")
        assert "no such luck" in found["error"]["message"]
        assert "raise ValueError" in (await server.get("/executions/f"))["traceback"]
        assert (await server.post("/executions/f/retry", {"dry_run": True}))["kept"] == 0
        made = await server.post("/executions/f/retry", {}, idempotency_key="f-2")
        assert made["id"] == "f-2"
        assert (await ended(server, "f-2"))["state"] == "failed"
        assert (await server.call("POST", "/executions/f/retry", {"id": "f-2"}))[0] == 409
        await server.post("/executions", {"function": "api-adds", "args": [1], "id": "sum"})
        await ended(server, "sum")
        assert (await server.call("POST", "/executions/sum/retry", {}))[0] == 409
        assert (await server.post("/executions/sum/fork", {"step": 1, "id": "sum-2"}))["source"] == "sum"
        assert (await ended(server, "sum-2"))["value"] == 2


async def test_questions_and_who_answers_them(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-asks", "id": "q"})
        prompt = await asked(server, "q")
        place = f"/prompts/{quote(prompt)}"
        listed = await server.get("/prompts")
        assert [each["id"] for each in listed["items"]] == [prompt]
        assert (await server.get("/prompts?execution=q"))["items"] == listed["items"]
        assert (await server.get("/prompts?execution=other"))["items"] == []
        assert (await server.get(place))["state"] == "open"
        answerer = server.tokens["answer"]
        status, problem = await server.call("POST", f"{place}/answer", {"value": "many"}, token=answerer)
        assert (status, problem["code"]) == (422, "INVALID_ANSWER")
        assert problem["errors"]
        status, problem = await server.call("POST", f"{place}/answer", {"value": 7, "by": "bob"}, token=answerer)
        assert status == 400
        assert await server.post(f"{place}/answer", {"value": 7}, token=answerer) == {"settled": True}
        assert (await ended(server, "q"))["value"] == 7
        found = await server.get(place)
        assert (found["state"], found["value"], found["by"]) == ("answered", 7, "holder-answer")
        [given] = (await server.get(f"{place}/answers"))["items"]
        assert (given["by"], given["value"], given["via"]) == ("holder-answer", 7, "http")
        status, problem = await server.call("POST", f"{place}/answer", {"value": 8})
        assert (status, problem["code"]) == (409, "CONFLICT")
        assert "holder-answer" in problem["detail"]
        assert (await server.call("GET", "/prompts/exec:q:input:9"))[0] == 404


async def test_questions_that_are_settled_are_listed_by_how(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-asks-many", "id": "q"})
        prompts = await listed(server, "/prompts?execution=q", 5)
        by = {each["question"]: f"/prompts/{quote(each['id'])}/answer" for each in prompts}
        await server.post(by["Question 0?"], {"value": 7, "by": "ana"})
        await server.post(by["Question 1?"], {"decline": True, "why": "no time", "by": "bob"})
        past_us = {"id": prompts[3]["id"], "state": "rejected", "value": {}}
        await server.store.request("promise.settle", past_us)
        await server.post(by["Question 2?"], {"value": 8})
        await server.post(by["Question 4?"], {"value": 9})
        assert [each["question"] for each in await listed(server, "/prompts", 1)] == ["Still there?"]
        await server.post("/executions/q/cancel")
        found = await server.every("/prompts?state=settled", 2)
        ends = ["cancelled", "answered", "answered", "rejected", "declined", "answered"]
        assert [each["state"] for each in found if each["state"] != "expired"] == ends, "the last one first"
        assert [each["question"] for each in found if each["state"] == "expired"] == ["Due?"]
        times = [each["settled_at"] for each in found]
        assert times == sorted(times, reverse=True)
        assert await server.every("/prompts?state=settled&execution=q", 2) == found
        for state in {*ends, "expired"}:
            wanted = [each for each in found if each["state"] == state]
            assert await server.every(f"/prompts?state={state}", 1) == wanted, state
            assert await server.every(f"/prompts?state={state}&execution=q", 1) == wanted
        assert await server.every("/prompts?state=settled&execution=other", 1) == []
        [declined] = await server.every("/prompts?state=declined", 9)
        assert (declined["by"], declined["why"], declined["value"]) == ("bob", "no time", None)
        assert [each["value"] for each in await server.every("/prompts?state=answered", 1)] == [9, 8, 7]
        assert await server.every("/prompts", 9) == []
        cursor = (await server.get("/prompts?state=settled&limit=1"))["next"]
        assert (await server.call("GET", f"/prompts?state=answered&cursor={cursor}"))[0] == 400
        assert (await server.call("GET", "/prompts?state=asked"))[0] == 400
        async with durable.Client(server.url, server.tokens["read"]) as client:
            assert [each.state async for each in client.prompts(state="settled")] == [each["state"] for each in found]


async def test_streams_and_published_values(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server, durable.Client(server.url, server.tokens["read"]) as client:
        await server.site_engine()
        await server.post("/executions", {"function": "api-writes", "id": "w"})
        place = "/executions/w/streams/words"
        first = await server.get(f"{place}?wait=30&limit=1")
        assert ([each["value"] for each in first["items"]], first["next_offset"], first["ended"]) == (["one"], 1, False)
        reading = asyncio.ensure_future(anext(aiter(client.stream("w", "words", 2))))
        waiting = asyncio.ensure_future(server.get(f"{place}?offset=2&wait=30"))
        value = await server.get("/executions/w/published/progress?wait=30")
        assert (value["key"], value["value"]) == ("progress", 1)
        assert await client.published("w", "progress") == 1
        assert (await server.call("GET", "/executions/w/published/none?wait=0.05"))[0] == 404
        assert (await server.call("GET", "/executions/w/published/none"))[0] == 404
        await server.post("/executions/w/signals/go", {})
        assert [each["value"] for each in (await waiting)["items"]] == ["three"]
        assert (await reading).value == "three"
        await ended(server, "w")
        assert (await server.get("/executions/w/streams"))["items"] == [{"name": "words", "next_offset": 3}]
        every = await server.get(place)
        assert [(each["offset"], each["value"]) for each in every["items"]] == [
            (0, "one"),
            (1, {"two": 2}),
            (2, "three"),
        ]
        assert (every["next_offset"], every["ended"]) == (3, True)
        assert not (await server.get(f"{place}?limit=2"))["ended"], "one item is left"
        assert await server.get(f"{place}?offset=3&wait=30") == {"items": [], "next_offset": 3, "ended": True}
        found = [event async for event in server.events(f"{place}/events", last="0")]
        assert [(each["event"], each["id"]) for each in found] == [("item", "1"), ("item", "2"), ("end", "2")]
        assert found[2]["data"]["state"] == "completed"
        assert [each.value async for each in client.stream("w", "words")] == ["one", {"two": 2}, "three"]
        assert (await server.call("GET", f"{place}/events", last_event_id="x"))[0] == 400
        published = (await server.get("/executions/w/published"))["items"]
        assert [(each["key"], each["value"]) for each in published] == [("other", ["x"]), ("progress", 2)]
        assert (await server.get("/executions/w/streams/none"))["items"] == []
        for path in ("streams", "streams/words", "streams/words/events", "published", "published/progress"):
            assert (await server.call("GET", f"/executions/gone/{path}"))[0] == 404, path


async def test_many_executions_are_changed_after_a_look_at_what_would_become_of_them(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        tags = {"batch": "7"}
        for n in range(5):
            await server.post("/executions", {"function": "api-asks", "id": f"q{n}", "tags": tags})
            await asked(server, f"q{n}")
        await server.post("/executions", {"function": "api-fails", "id": "f", "tags": tags})
        await ended(server, "f")
        choice = {"tags": tags, "function": "api-asks", "dry_run": True}
        would = await server.post("/bulk/cancel", choice)
        assert [(each["id"], each["able"]) for each in would["items"]] == [(f"q{n}", True) for n in (4, 3, 2, 1, 0)]
        assert (would["dry_run"], would["next"]) == (True, None)
        assert len((await server.get("/executions?state=waiting"))["items"]) == 5, "nothing is done yet"
        first = await server.post("/bulk/cancel", {**choice, "dry_run": False, "limit": 2, "reason": "enough"})
        assert [each["id"] for each in first["items"]] == ["q4", "q3"]
        following = {**choice, "limit": 2, "cursor": first["next"]}
        assert [each["id"] for each in (await server.post("/bulk/cancel", following))["items"]] == ["q2", "q1"]
        assert (await server.call("POST", "/bulk/resume", following))[0] == 400, "the cursor is of another list"
        assert "enough" in (await ended(server, "q4"))["error"]["message"]
        assert (await ended(server, "q3"))["state"] == "cancelled"
        named = await server.post("/bulk/cancel", {"ids": ["q0", "exec:q4", "gone", "q0"]})
        assert [(each["id"], each["able"]) for each in named["items"]] == [("q0", True), ("q4", False), ("gone", False)]
        assert [each["state"] for each in named["items"]][2] is None
        [retried] = (await server.post("/bulk/retry", {"state": "failed", "tags": tags}))["items"]
        assert (retried["id"], retried["made"]) == ("f", "f-retry-1")
        assert (await ended(server, "f-retry-1"))["state"] == "failed"
        [not_able] = (await server.post("/bulk/retry", {"ids": ["q1"]}))["items"]
        assert not not_able["able"]
        assert "waiting" in not_able["note"]
        await server.post("/executions/q1/interrupt")
        assert [each["id"] for each in (await server.post("/bulk/resume", {"state": "interrupted"}))["items"]] == ["q1"]
        tagged = await server.post(
            "/bulk/tag", {"text": "API-ASKS", "tags": tags, "set": {"batch": None, "seen": "yes"}}
        )
        assert sorted(each["id"] for each in tagged["items"]) == [f"q{n}" for n in range(5)]
        assert len((await server.get("/executions?tag=seen%3Dyes"))["items"]) == 5
        several = "/executions?tag=seen%3Dyes&tag=batch%3D7"
        assert [each["id"] for each in await server.every(several, 1)] == []
        await server.call("PATCH", "/executions/q4/tags", {"tags": {"batch": "7"}})
        await server.call("PATCH", "/executions/q2/tags", {"tags": {"batch": "7"}})
        assert [each["id"] for each in await server.every(several, 1)] == ["q4", "q2"], "all have to hold"
        for name in ("q4", "q2"):
            await server.call("PATCH", f"/executions/{name}/tags", {"tags": {"batch": None}})
        for wrong_query in ("tag=a&tag=b%3D1", "tag=%3Db", "state=failed&state=failed"):
            assert (await server.call("GET", f"/executions?{wrong_query}"))[0] == 400
        assert [each["id"] for each in (await server.get("/executions?tag=batch%3D7"))["items"]] == ["f-retry-1", "f"]
        wrong: list[Any] = [
            {}, {"limit": 3}, {"text": " "}, {"ids": ["a"], "state": "failed"}, {"state": "dead"},
            {"ids": ["a"], "cursor": "x"}, {"session": "actor~A~b"}, {"state": "failed", "since": "yesterday"},
            {"ids": ["x"] * 1_001},
        ]  # fmt: skip
        for body in wrong:
            assert (await server.call("POST", "/bulk/cancel", body))[0] == 400, body
        assert (await server.call("POST", "/bulk/tag", {"ids": ["q0"], "set": {}}))[0] == 400
        [refused] = (await server.post("/bulk/tag", {"ids": ["q0"], "set": {"x" * 999: "y"}}))["items"]
        assert not refused["able"]
        audit = (await server.get("/audit?who=token:owner&limit=100"))["items"]
        assert {"q4", "q3", "q0"} <= {each["resource"] for each in audit if each["what"] == "cancel_execution"}
        async with durable.Client(server.url, server.tokens["operate"]) as client:
            outcome = await client.bulk("cancel", state="waiting", dry_run=True)
            assert [each.id for each in outcome.items] == ["q2", "q1"] or [each.id for each in outcome.items] == ["q2"]


async def test_what_a_bulk_request_has_no_time_for_comes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        for name in ("q2", "q3"):
            await server.post("/executions", {"function": "api-asks", "id": name})
            await asked(server, name)
        monkeypatch.setattr(bulk_routes, "BULK_S_MAX", 0.0)
        some = {"ids": ["q3", "exec:q2", "gone"], "dry_run": True}
        looked_at, cursor = list[str](), None
        while cursor is not None or not looked_at:
            answer = await server.post("/bulk/cancel", {**some, "cursor": cursor})
            looked_at += [each["id"] for each in answer["items"]]
            cursor = answer["next"]
        assert looked_at == ["q3", "q2", "gone"], "what there was no time for comes with the next request"


async def test_executions_are_forked_taken_elsewhere_checked_and_deleted(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        tags = {"batch": "7"}
        await server.post("/executions", {"function": "api-asks", "id": "q1", "tags": tags})
        await asked(server, "q1")
        await server.post("/executions", {"function": "api-fails", "id": "f", "tags": tags})
        await ended(server, "f")
        [forked] = (await server.post("/bulk/fork", {"ids": ["f"], "step": 1}))["items"]
        assert (forked["made"], (await ended(server, forked["made"]))["state"]) == ("f-fork-1", "failed")
        would = await server.post("/bulk/rewind", {"ids": ["f", "q1"], "step": 9, "dry_run": True})
        assert [each["able"] for each in would["items"]] == [False, False]
        assert (await server.get("/execution-counts?tag=batch%3D7"))["counts"] == {"failed": 2, "waiting": 1}
        found = await server.get("/executions?text=f-fork")
        assert [each["id"] for each in found["items"]] == ["f-fork-1"]
        document = await server.get("/executions/f-fork-1/export")
        assert (await server.call("POST", "/imports", {"document": document}))[0] == 409
        assert (await server.call("DELETE", "/executions/f-fork-1"))[0] == 204
        assert (await server.call("DELETE", "/executions/f-fork-1"))[0] == 404
        assert (await server.call("DELETE", "/executions/q1"))[0] == 409
        assert (await server.call("POST", "/imports", {"document": {**document, "id": "q1"}}))[0] == 400
        status, made = await server.call("POST", "/imports", {"document": document})
        assert (status, made["id"], made["state"], made["forked_from"]) == (201, "f-fork-1", "failed", "f")
        check = await server.get("/executions/q1/replay")
        assert (check["verdict"], check["ok"], check["function"].rpartition("::")[2]) == ("replays", True, "api-asks@1")
        other = {"function": "api-adds@1"}
        found = (await server.call("POST", "/executions/q1/upgrade", {**other, "dry_run": True}))[1]
        assert (found["verdict"], found["ok"]) == ("differs", False)
        assert (await server.call("POST", "/executions/q1/upgrade", {"function": "nothing@1"}))[0] == 409
        gone = await server.post("/bulk/delete", {"ids": ["f-fork-1", "q1"]})
        assert [each["able"] for each in gone["items"]] == [True, False]
        pages, cursor = list[list[str]](), None
        while cursor is not None or not pages:
            answer = await server.post("/bulk/delete", {"tags": tags, "limit": 1, "cursor": cursor})
            pages.append([each["id"] for each in answer["items"]])
            cursor = answer["next"]
        assert pages == [["f"], ["q1"], []], "also behind one that was deleted"


async def test_a_fork_is_rewound_by_a_client(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-fails", "id": "f"})
        await ended(server, "f")
        async with durable.Client(server.url, server.tokens["operate"]) as client:
            made = await client.fork("f", 1, new_id="f-again")
            assert (made.id, made.kept) == ("f-again", 0)
            made = await client.rewind("f-again", 1, new_id="f-rewound")
            assert (made.id, made.source) == ("f-rewound", "f-again")
            assert (await server.get("/executions/f-again"))["rewound_as"] == "f-rewound"
            assert (await server.get("/executions/f-rewound"))["forked_from"] == "f-again"
            body = {"step": 1, "dry_run": True}
            assert (await server.call("POST", "/executions/f-again/rewind", body))[0] == 409


async def test_a_fork_with_other_arguments(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-adds", "args": [1], "id": "sum"})
        await ended(server, "sum")
        body = {"step": 1, "id": "sum-2", "changed": {"second": 5}}
        assert (await server.post("/executions/sum/fork", body))["kept"] == 0
        assert (await ended(server, "sum-2"))["value"] == 6
        status, problem = await server.call("POST", "/executions/sum/fork", {"step": 1, "changed": {"third": 5}})
        assert (status, problem["code"]) == (400, "BAD_ARGUMENTS")
        assert "first, second" in problem["detail"]


async def test_the_answer_to_a_secret_is_shown_to_nobody(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.post("/sessions", {"name": "desk"})
        code = "import getpass\nlen(getpass.getpass('Password: '))"
        cell = await server.post("/sessions/desk/executions", {"code": code})
        prompt = await asked(server, cell["id"])
        await server.post(f"/prompts/{quote(prompt)}/answer", {"value": "open sesame", "by": "ana"})
        assert (await ended(server, cell["id"]))["value"]["value"] == 11
        found = await server.get(f"/prompts/{quote(prompt)}")
        assert (found["secret"], found["state"], found["value"], found["by"]) == (True, "answered", None, "ana")
        assert "sesame" not in str(await server.get(f"/prompts/{quote(prompt)}/answers"))
        [settled] = (await server.get("/prompts?state=answered"))["items"]
        assert settled == found


async def test_signals_promises_and_stopping(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/executions", {"function": "api-signalled", "id": "s"})
        signal = "/executions/s/signals/go"
        assert await server.post(signal, {"value": 3}, idempotency_key="k") == {"sent": True}
        assert await server.post(signal, {"value": 3, "key": "k"}) == {"sent": False}
        assert (await ended(server, "s"))["value"] == 3
        assert (await server.call("POST", signal, {"value": 3}))[0] == 409
        await server.post("/executions", {"function": "api-promised", "id": "p"})
        for _ in range(600):
            if steps := (await server.get("/executions/p/steps"))["items"]:
                break
            await asyncio.sleep(0.02)
        promise = quote(f"exec:{steps[0]['id']}")
        assert (await server.call("POST", f"/promises/{promise}/settle", {"value": "x"}))[0] == 422
        assert (await server.call("POST", f"/promises/{promise}/settle", {"value": 1, "error": "x"}))[0] == 400
        assert await server.post(f"/promises/{promise}/settle", {"value": 5}) == {"settled": True}
        assert (await ended(server, "p"))["value"] == 5
        assert (await server.get(f"/promises/{promise}"))["state"] == "resolved"
        assert (await server.call("GET", "/promises/nothing"))[0] == 404
        await server.post("/executions", {"function": "api-asks", "id": "w"})
        await asked(server, "w")
        assert await server.post("/executions/w/interrupt") == {"id": "w", "changed": True, "state": "interrupted"}
        found = await server.get("/executions/w/result?wait=20")
        assert "durable resume w" in found["halted"]
        assert (await server.call("POST", "/executions/w/resume"))[1]["changed"]
        cancelled = await server.post("/executions/w/cancel", {"reason": "enough"})
        assert cancelled == {"id": "w", "changed": True, "state": "cancelled"}
        assert "enough" in (await ended(server, "w"))["error"]["message"]
        assert not (await server.post("/executions/w/cancel"))["changed"]


async def test_a_session_its_cells_and_checkpoints(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        status, made = await server.call("POST", "/sessions", {"name": "desk", "limits": {"output": 100000}})
        assert (status, made["state"], made["limits"]) == (201, "idle", {"output": 100000})
        assert (await server.call("POST", "/sessions", {"name": "desk"}))[0] == 200
        assert (await server.call("POST", "/sessions", {"name": "desk", "profile": "isolated"}))[0] == 409
        cells = "/sessions/desk/executions"
        body = {"code": "print('hello'); x = 41\nx + 1", "inputs": {"y": [1]}}
        status, cell = await server.call("POST", cells, body, idempotency_key="first")
        assert (status, cell["id"], cell["arguments"]["code"]) == (201, "desk@first", body["code"])
        found = await ended(server, "desk@first")
        assert (found["value"]["value"], found["value"]["repr"]) == (42, "42")
        assert (await server.call("POST", cells, {**body, "id": "first"}))[0] == 200
        assert (await server.call("POST", cells, {"code": "2", "id": "first"}))[0] == 409
        assert (await server.call("POST", cells, {"code": "2", "id": "7"}))[0] == 400
        page = await server.get("/executions/desk@first/output")
        assert ("".join(piece["text"] for piece in page["pieces"]), page["ended"]) == ("hello\n", True)
        variables = await server.get("/sessions/desk/variables")
        assert {each["name"]: each["repr"] for each in variables["variables"]} == {"x": "41", "y": "[1]"}
        assert (await server.call("PATCH", "/sessions/desk/variables", {"values": {"x": 2}}))[1] == {
            "changed": {"x": 2}
        }
        assert (await server.call("PATCH", "/sessions/desk/variables", {"values": {"_": 2}}))[0] == 400
        made = await server.post("/sessions/desk/checkpoints", {"label": "before"})
        await ended(server, (await server.post(cells, {"code": "x = 3"}))["id"])
        listed = await server.every("/sessions/desk/checkpoints", 1)
        assert "before" in [each["label"] for each in listed]
        contents = await server.get("/sessions/desk/checkpoints/before")
        assert (contents["names"], contents["checkpoint"]["id"]) == (["x", "y"], made["checkpoint"])
        changes = await server.get(f"/sessions/desk/diff?before=before&after={listed[-1]['id']}")
        assert changes["items"] == [{"kind": "changed", "name": "x", "before": "2", "after": "3"}]
        restored = await server.post("/sessions/desk/checkpoints/before/restore")
        assert set(restored["restored"]) == {"x", "y"}
        assert (await ended(server, (await server.post(cells, {"code": "x"}))["id"]))["value"]["value"] == 2
        status, forked = await server.call("POST", "/sessions/desk/fork", {"name": "copy", "checkpoint": "before"})
        assert (status, forked["name"]) == (201, "copy")
        assert (await server.call("POST", "/sessions/desk/fork", {"name": "copy"}))[0] == 409
        assert (await server.call("GET", "/sessions/desk/checkpoints/nothing"))[0] == 404
        named = await server.call("PATCH", "/sessions/desk/checkpoints/before", {"label": "then"})
        assert named[1]["label"] == "then"
        assert "desk" in [each["session"] for each in (await server.get("/workers"))["items"]]
        grant = {"grant": "fetch:api.example.com", "seconds": 60}
        assert (await server.post("/sessions/desk/grant", grant))["state"] == "granted"
        assert (await server.post("/sessions/desk/revoke", {"grant": "fetch"}))["state"] == "revoked"
        assert [each["name"] for each in await server.every("/sessions", 1)] == ["copy", "desk"]
        assert (await server.call("POST", "/sessions/desk/restart"))[0] == 200
        assert (await ended(server, (await server.post(cells, {"code": "x"}))["id"]))["value"]["value"] == 2
        assert (await server.call("DELETE", "/sessions/desk"))[0] == 204
        assert (await server.call("GET", "/sessions/desk"))[0] == 404


async def test_a_server_without_an_engine_records_and_says_what_it_cannot(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        await server.post("/sessions", {"name": "desk"})
        cell = await server.post("/sessions/desk/executions", {"code": "1"})
        assert (cell["state"], cell["stuck"]) == ("pending", True)
        whole = {"function": "some.module::job@3", "args": [1]}
        made = await server.post("/executions", whole, idempotency_key="later")
        assert (made["state"], made["function"]) == ("pending", "some.module::job@3")
        assert (await server.call("POST", "/executions", whole, idempotency_key="later"))[0] == 200
        assert not (await server.get("/executions/later/result?wait=0.05"))["ended"]
        status, problem = await server.call("POST", "/sessions/desk/checkpoints", {})
        assert status == 409
        assert "--engine" in problem["detail"]
        assert (await server.get("/sessions/desk/variables"))["checkpoint"] is None


async def test_an_engine_elsewhere_runs_what_the_server_records(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        from .opened import place_of

        async with durable.open(place_of(tmp_path / "s.db")):
            await server.post("/executions", {"function": "api-adds", "args": [1], "id": "x"})
            assert (await ended(server, "x"))["value"] == 2


async def test_schedules_and_actors(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        body = {"id": "nightly", "cron": "@daily", "function": "api-adds", "args": [1]}
        assert (await server.call("POST", "/schedules", body))[0] == 201
        assert (await server.call("POST", "/schedules", body))[0] == 200
        assert (await server.call("POST", "/schedules", {**body, "cron": "@hourly"}))[0] == 409
        assert (await server.call("POST", "/schedules", {**body, "id": "x", "cron": "every day"}))[0] == 400
        await server.post("/schedules", {**body, "id": "weekly", "cron": "@weekly"})
        assert [each["id"] for each in await server.every("/schedules", 1)] == ["nightly", "weekly"]
        assert (await server.get("/schedules/nightly"))["name"] == "api-adds"
        assert (await server.call("DELETE", "/schedules/nightly"))[0] == 204
        assert (await server.call("DELETE", "/schedules/nightly"))[0] == 404
        often = {"cron": "@every 1h30m", "function": "api-adds", "args": [1], "overlap": "skip", "jitter": 60}
        policies: dict[str, Any] = {"timeout": 600, "paused": True, "missed": "all"}
        assert (await server.call("PUT", "/schedules/often", {**often, **policies}))[0] == 201
        status, often_view = await server.call("PUT", "/schedules/often", {**often, "timeout": 600})
        assert (status, often_view["paused"], often_view["next_run_at"], often_view["missed"]) == (
            200,
            True,
            None,
            "once",
        )
        assert (often_view["overlap"], often_view["jitter"], often_view["timeout"]) == ("skip", 60, 600)
        [listed, _] = (await server.get("/schedules"))["items"]
        assert listed == often_view, "a list has the policies, too"
        assert (await server.post("/schedules/often/resume"))["next_run_at"].endswith("0:00.000Z")
        assert (await server.post("/schedules/often/pause"))["paused"]
        assert len((await server.get("/schedules/often/next?count=3"))["items"]) == 3
        execution = (await server.post("/schedules/often/trigger"))["execution"]
        assert (await ended(server, execution))["value"] == 2
        span = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-01T04:00:00+01:00"}
        begun = (await server.post("/schedules/often/backfill", {**span, "overlap": "allow"}))["executions"]
        assert begun == [f"often-{1772323200000 + n * 5_400_000}" for n in range(2)]
        assert (await server.post("/schedules/often/backfill", span))["executions"] == []
        for times in ({"since": span["until"], "until": span["since"]}, {**span, "since": "2026-03-01T00:00"}):
            assert (await server.call("POST", "/schedules/often/backfill", times))[0] == 400
        for wrong in ({"overlap": "x"}, {"jitter": -1}, {"timezone": "UTC"}, {"timeout": 0}, {"cron": "@every 1x"}):
            assert (await server.call("PUT", "/schedules/often", {**often, **wrong}))[0] == 400, wrong
        for path in ("pause", "resume", "trigger"):
            assert (await server.call("POST", f"/schedules/gone/{path}"))[0] == 404
        messages = "/actors/ApiCart/ana/messages"
        sent = await server.post(messages, {"method": "add", "args": ["book"]}, idempotency_key="m1")
        again = await server.post(messages, {"method": "add", "args": ["book"], "id": "m1"})
        assert again == sent
        assert (await ended(server, sent["id"]))["value"] == 1
        assert (await server.call("POST", messages, {"method": "add", "args": ["pen"], "id": "m1"}))[0] == 409
        found = await server.get("/actors/ApiCart/ana")
        assert (found["status"], found["state"]) == ("running", {"items": ["book"]})
        assert [each["key"] for each in (await server.get("/actors?kind=ApiCart"))["items"]] == ["ana"]
        assert (await server.post("/actors/ApiCart/ana/stop", {"note": "inventory"}))["status"] == "stopped"
        assert (await server.call("POST", messages, {"method": "add", "args": ["pen"]}))[0] == 409
        letters = await server.get("/dead-letters?kind=ApiCart&key=ana")
        assert [each["method"] for each in letters["items"]] == ["add"]
        assert (await server.post("/actors/ApiCart/ana/restart"))["status"] == "running"
        assert (await server.call("GET", "/actors/ApiCart/bob"))[0] == 404


async def test_queues(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        body = {"function": "api-adds", "args": [1], "queue": "mail", "key": "ana"}
        assert (await server.call("POST", "/executions", body))[0] == 404
        status, made = await server.call("PATCH", "/queues/mail", {"concurrency": 1, "rate": [100, 60]})
        assert (status, made["concurrency"], made["rate"]) == (200, 1, [100, 60])
        assert (await server.call("PATCH", "/queues/mail", {"rate": None}))[1]["concurrency"] == 1
        assert (await server.post("/queues/mail/pause"))["state"] == "paused"
        for n in range(2):
            assert (await server.call("POST", "/executions", {**body, "id": f"q{n}", "dedupe": f"d{n}"}))[0] == 201
        assert (await server.post("/executions", {**body, "id": "q9", "dedupe": "d1"}))["id"] == "q1"
        for wrong in ({"debounce": 1}, {"debounce": 0, "dedupe": "d"}, {"queue": None, "key": "", "debounce": 1}):
            assert (await server.call("POST", "/executions", {**body, **wrong}))[0] == 400, wrong
        [queue] = (await server.get("/queues"))["items"]
        assert (queue["name"], queue["waiting"], queue["running"]) == ("mail", 2, 0)
        assert (await server.get("/queues/mail/keys"))["items"] == [{"key": "ana", "waiting": 2, "running": 0}]
        assert (await server.post("/queues/mail/resume"))["state"] == "open"
        assert [(await ended(server, f"q{n}"))["value"] for n in range(2)] == [2, 2]
        assert (await server.post("/queues/mail/drain"))["state"] == "draining"
        assert (await server.call("POST", "/executions", body))[0] == 409
        assert (await server.call("POST", "/executions", {**body, "queue": None}))[0] == 400
        assert (await server.call("GET", "/queues/nothing"))[0] == 404


async def test_deployments_are_listed_chosen_and_given_executions(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    options: dict[str, Any] = {"deployment": "team/2", "retention": {"completed": timedelta(days=30), "failed": None}}
    async with durable.open(place_of(path), deployment="old") as old:
        for name in ("one", "two", "three"):
            await in_state(old, await old.start(signalled, id=name), "waiting")
    async with api_server(path, engine_options=options) as server:
        assert (await server.call("GET", "/deployments/none"))[0] == 404
        await server.site_engine()
        new, before = (await server.get("/deployments"))["items"]
        assert [(each["name"], len(each["engines"]), each["stranded"]) for each in (new, before)] == [
            ("team/2", 1, False),
            ("old", 0, True),
        ]
        assert (before["open"], before["new_work"]) == ({"waiting": 3}, [])
        assert "api-signalled@1" in new["new_work"]
        assert (await server.get("/engines"))["items"][-1]["deployment"] == "team/2"
        assert (await server.post("/deployments/old/use"))["new_work"] == before["functions"]
        assert (await server.post("/deployments/team%2F2/use"))["name"] == "team/2"
        move = "/deployments/team%2F2/move"
        tried = await server.post(move, {"from": "old", "dry_run": True})
        assert {(each["id"], each["ok"]) for each in tried["items"]} == {("one", True), ("two", True), ("three", True)}
        first = await server.post(move, {"from": "old", "limit": 2})
        rest = await server.post(move, {"from": "old", "limit": 2, "cursor": first["next"]})
        assert [each["id"] for each in (*first["items"], *rest["items"])] == ["three", "two", "one"]
        assert rest["next"] is None
        await server.post("/executions/one/signals/go", {"value": 3})
        assert (await ended(server, "one"))["value"] == 3
        [gone, none] = (await server.post(move, {"ids": ["one", "nothing"]}))["items"]
        assert (gone["ok"], gone["reason"], none["verdict"]) == (False, "it has ended", "unknown")
        for body in ({}, {"ids": ["one"], "from": "old"}, {"from": "team/2"}, {"from": "a b"}):
            assert (await server.call("POST", move, body))[0] == 400, body
        assert (await server.call("POST", "/deployments/old/move", {"ids": ["two"]}))[0] == 409, "its code is not here"
        assert (await server.call("DELETE", "/deployments/team%2F2"))[0] == 409
        assert (await server.call("DELETE", "/deployments/old"))[0] == 204
        assert [each["name"] for each in (await server.get("/deployments"))["items"]] == ["team/2"]
        rules = (await server.get("/retention"))["items"]
        assert {"function": "*", "state": "completed", "seconds": 30 * 86_400.0} in rules
        assert {"function": "*", "state": "failed", "seconds": None} in rules


async def test_a_cursor_that_somebody_made_is_refused(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", engine_options={"deployment": "new"}) as server:
        await server.site_engine()
        body: dict[str, Any] = {"ids": ["a", "b"], "dry_run": True}
        cursor = write_cursor("elsewhere", BulkChoice(("a", "b")).list_of("resume"))
        status, found = await server.call("POST", "/bulk/resume", {**body, "cursor": cursor})
        assert (status, "cursor" in found["detail"]) == (400, True)
        for place in (["waiting", "elsewhere"], ["completed", "a"], ["", "a"]):
            cursor = write_cursor(place, ("move", "new", [], "old"))
            moved = {"from": "old", "dry_run": True, "cursor": cursor}
            status, found = await server.call("POST", "/deployments/new/move", moved)
            assert status == (200 if place[0] == "waiting" else 400), found
        cursor = write_cursor(["", "elsewhere"], ("move", "new", ["a", "b"], None))
        assert (await server.call("POST", "/deployments/new/move", {**body, "cursor": cursor}))[0] == 400


async def test_lists_go_on_where_the_page_before_ended(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        made = [f"e{n}" for n in range(7)]
        for name in made:
            await server.store.request("promise.create", root(name))
        assert [each["id"] for each in await server.every("/executions", 2)] == made[::-1]
        assert [each["id"] for each in await server.every("/executions?state=pending", 3)] == made[::-1]
        assert [each["id"] for each in await server.every("/promises", 3)] == [f"exec:{name}" for name in made]
        page = await server.get("/executions?limit=2")
        cursor = page["next"]
        await server.store.request("promise.create", root("e9"))
        following = await server.get(f"/executions?limit=2&cursor={cursor}")
        assert [each["id"] for each in following["items"]] == ["e4", "e3"], "what is made meanwhile moves nothing"
        for wrong in (f"limit=2&state=pending&cursor={cursor}", f"cursor={cursor}x", "cursor=%00", "cursor=WyJhIl0"):
            status, problem = await server.call("GET", f"/executions?{wrong}")
            assert (status, problem["code"]) == (400, "BAD_ARGUMENTS"), wrong
        assert (await server.call("GET", f"/promises?cursor={cursor}"))[0] == 400


WRONG = {
    "/executions?limit=0": 400,
    "/executions?limit=1001": 400,
    "/executions?limit=x": 400,
    "/executions?state=dead": 400,
    "/executions?unknown=1": 400,
    "/executions?limit=1&limit=2": 400,
    "/executions?since=yesterday": 400,
    "/executions?since=2026-01-01T00:00:00": 400,
    "/executions?tag=x": 400,
    "/executions/no%20such": 400,
    "/executions/a%00b": 400,
    "/executions/gone": 404,
    "/executions/gone/steps": 404,
    "/executions/gone/result?wait=51": 400,
    "/prompts/gone": 404,
    "/sessions/gone": 404,
    "/sessions/gone/checkpoints": 404,
    "/sessions/actor~A~b": 404,
    "/actors/A/b": 404,
    "/actors/%2A/b": 400,
    "/schedules/gone": 404,
    "/nothing": 404,
}


@pytest.mark.file_only("reads bad input, before any store")
async def test_bad_requests_are_problems(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        for path, wanted in WRONG.items():
            status, problem = await server.call("GET", path)
            assert status == wanted, (path, problem)
            assert problem["status"] == status
            assert problem["type"].startswith("urn:durable-exec:error:")
        _, problem = await server.call("GET", "/executions?state=done")
        assert "'done'" in problem["detail"]
        assert "which is one of cancelled, completed, failed, interrupted" in problem["detail"]
        bodies: list[Any] = [{}, {"function": ""}, {"function": "f", "more": 1}, {"function": "f", "id": "a b"}, [], 1]
        for body in bodies:
            assert (await server.call("POST", "/executions", body))[0] == 400, body
        headers = {"authorization": f"Bearer {server.tokens['admin']}"}
        url = f"{server.url}/api/v1/executions"
        for data, kind, wanted in (
            (b"{", "application/json", 400),
            (b"\xff", "application/json", 400),
            (b'{"function": "\\ud800"}', "application/json", 400),
            (b"[" * 100_000, "application/json", 400),
            (b"{}", "text/plain", 415),
            (b"function=f", "application/x-www-form-urlencoded", 415),
        ):
            async with server.http.post(url, data=data, headers={**headers, "content-type": kind}) as response:
                assert response.status == wanted, data[:20]
                assert response.content_type == "application/problem+json"
        coded = {**headers, "content-type": "application/json", "content-encoding": "gzip"}
        async with server.http.post(url, data=gzip.compress(b"{}"), headers=coded) as response:
            assert response.status == 415
            assert "content-encoding" in (await response.json())["detail"]
        async with server.http.put(url, headers=headers) as response:
            assert (response.status, response.headers["allow"]) == (405, "GET, POST, HEAD")
        async with server.http.head(url, headers=headers) as response:
            assert (response.status, await response.read()) == (200, b"")


def _concrete(path: str) -> str:
    return path.replace("{id}", "some").replace("{name}", "some").replace("{", "").replace("}", "")


@pytest.mark.file_only("roles are of tokens, not of stores")
async def test_every_route_by_every_role(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db", runs=False) as server:
        server.site.stream_s = 0.01
        for route in ROUTES:
            path = _concrete(route.path)
            for role in ROLES:
                body: Any = None if route.body is None else {}
                status, found = await server.call(route.method, path, body, token=server.tokens[role])
                may = route.role is None or ROLES.index(role) >= ROLES.index(route.role)
                assert (status == 403) is not may, (route.path, role, status, found)
                if not may:
                    assert route.role in found["detail"]
            if route.role is None:
                assert (await server.call(route.method, path, authorization="none"))[0] == 200
                continue
            for wrong in ("Bearer wrong-token-of-nobody", "none", f"Basic {server.tokens['admin']}"):
                status, found = await server.call(route.method, path, authorization=wrong)
                assert (status, found["code"]) == (401, "DENIED"), route.path
        status, found = await server.call("POST", "/executions/x/cancel", {}, token=server.tokens["read"])
        audit = await server.get("/audit?who=token:holder-read&limit=1")
        [entry] = audit["items"]
        assert (entry["what"], entry["resource"], entry["verdict"]) == ("cancel_execution", "x", "denied")
        assert (await server.get("/audit", token=server.tokens["operate"]))["items"] == []


async def test_the_same_request_many_times_at_once_makes_one_thing(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server:
        await server.site_engine()
        await server.post("/sessions", {"name": "desk"})
        start = {"function": "api-adds", "args": [1]}
        cell = {"code": "n = 1"}
        signalled_once = {"value": 3}
        with_signal = {"function": "api-signalled", "id": "with", "signal": {"name": "go", "value": 3, "key": "k"}}
        for _ in range(2):
            await server.post("/executions", with_signal)
        await ended(server, "with")
        await server.post("/executions", {"function": "api-signalled", "id": "s"})
        message = {"method": "add", "args": ["book"]}
        schedule = {"id": "nightly", "cron": "@daily", "function": "api-adds", "args": [1]}
        for path, body, key in (
            ("/executions", start, "once"),
            ("/sessions/desk/executions", cell, "once"),
            ("/executions/s/signals/go", signalled_once, "once"),
            ("/actors/ApiCart/ana/messages", message, "once"),
            ("/schedules", schedule, "nightly"),
            ("/sessions", {"name": "other"}, "other"),
        ):
            calls = [server.call("POST", path, body, idempotency_key=key) for _ in range(8)]
            answers = await asyncio.gather(*calls)
            assert {status for status, _ in answers} <= {200, 201, 202}, (path, answers)
        listed = [each["id"] for each in (await server.get("/executions?function=api-adds"))["items"]]
        assert listed == ["once"]
        assert [each["id"] for each in (await server.get("/executions?session=desk"))["items"]] == ["desk@once"]
        assert (await ended(server, "s"))["value"] == 3
        async with server.http.head(
            f"{server.url}/api/v1/events", headers={"authorization": f"Bearer {server.tokens['read']}"}
        ) as response:
            assert (response.status, response.headers["allow"]) == (405, "GET")


@pytest.mark.file_only("reads headers, before any store")
async def test_other_names_and_other_sites_are_refused(tmp_path: Path) -> None:
    from durable.http.access.host_check import HostCheck

    check = HostCheck(["durable.example.org"], ["https://app.example.org"])
    async with api_server(tmp_path / "s.db", runs=False, host_check=check) as server:
        for host, wanted in (("evil.example", 421), ("durable.example.org", 200), ("127.0.0.1:1", 200)):
            assert (await server.call("GET", "/token", host=host))[0] == wanted, host
        for origin, wanted in (
            ("https://evil.example", 403),
            ("null", 403),
            ("https://app.example.org", 200),
            (server.url, 200),
        ):
            status, found = await server.call("GET", "/token", origin=origin)
            assert status == wanted, (origin, found)
        preflight = {"origin": "https://app.example.org", "access-control-request-method": "POST"}
        async with server.http.options(f"{server.url}/api/v1/executions", headers=preflight) as response:
            assert response.headers["access-control-allow-origin"] == "https://app.example.org"
        preflight["origin"] = "https://evil.example"
        async with server.http.options(f"{server.url}/api/v1/executions", headers=preflight) as response:
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.file_only("the document is of the routes")
async def test_the_document_is_served_to_everybody_and_whole(tmp_path: Path) -> None:
    async with (
        api_server(tmp_path / "s.db", runs=False) as server,
        server.http.get(f"{server.url}/api/v1/openapi.json") as response,
    ):
        found = await response.json()
    assert found["openapi"] == "3.1.0"
    operations = [each["operationId"] for path in found["paths"].values() for each in path.values()]
    assert len(set(operations)) == len(operations) == len(ROUTES)
    assert all(each["summary"] for path in found["paths"].values() for each in path.values())
    assert found["servers"] == [{"url": "/api/v1"}]
