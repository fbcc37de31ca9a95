"""The dashboard over HTTP: who gets in, who may do what, what actions do, what pages say (specs/dashboard.md).

In a browser: tests/browser.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import aiohttp
import pytest
from pydantic import BaseModel, Field

import durable
from durable.http.access.roles import ROLES, Role
from durable.http.access.tokens import TokensFile
from durable.http.api.server_engine import server_engine
from durable.http.dashboard.dashboard import ROUTES
from durable.http.dashboard.page_request import SECTIONS
from durable.http.dashboard_mount import DashboardMount
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.direct_store import DirectStore
from tests.conftest import TOKEN
from tests.direct_store import opened_store
from tests.waiting import first_prompt, in_state, until

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Decision(BaseModel):
    publish: bool
    copies: int = Field(ge=1)


def word(text: str) -> str:
    return f"{text} {EVIL}"


def breaks() -> None:
    raise ValueError(EVIL)


@durable.function
async def leaf(ctx: durable.Context, n: int) -> int:
    return n + 1


@durable.function
async def asks(ctx: durable.Context, topic: str) -> str:
    text: str = await ctx.run(word, topic)
    await ctx.start(leaf, 1)
    answer: Decision = await ctx.ask(f"**Publish** {EVIL}?", schema=Decision, context=f"# Why\n\n{EVIL}", title=EVIL)
    return f"{text}: {answer.copies}"


@durable.function
async def fails(ctx: durable.Context) -> None:
    await ctx.run(breaks)


@durable.function
async def waits(ctx: durable.Context) -> Any:
    return await ctx.signal("go")


class Pages(NamedTuple):
    """A browser without scripts, logged in."""

    http: aiohttp.ClientSession
    url: str

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.http.get(f"{self.url}{path}", headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, fields: Any, **headers: str) -> tuple[int, str]:
        """The status, and the page or where it leads on to."""
        headers = {"sec-fetch-site": "same-origin", **headers}
        async with self.http.post(f"{self.url}{path}", data=fields, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("location") or await answer.text()


@pytest.fixture(params=["path", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a served store can be."""
    if request.param == "path":
        return str(tmp_path / "work.db")
    found: str = request.getfixturevalue("postgres_server").url()
    return found


@pytest.fixture
async def engine(target: str) -> AsyncIterator[durable.Engine]:
    async with durable.open(target, durability="process") as engine:
        yield engine


@pytest.fixture
async def site(engine: durable.Engine, tmp_path: Path) -> Site:
    return Site(cast(DirectStore, engine.store), TOKEN, tokens_file=TokensFile(tmp_path / "tokens"))


@pytest.fixture
async def pages(site: Site, target: str) -> AsyncIterator[Pages]:
    async with logged_in(site, target) as found:
        yield found


@asynccontextmanager
async def logged_in(site: Site, target: str) -> AsyncIterator[Pages]:
    with listen("127.0.0.1", 0) as sock:
        async with (
            serving(site, sock, DashboardMount(site, target, runs_code=True)) as url,
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
        ):
            found = Pages(http, url)
            assert await found.post("/ui/login", {"token": TOKEN, "next": "/ui/inbox"}) == (303, "/ui/inbox")
            yield found


def readable(page: str) -> str:
    """The text of a page."""
    return unescape(re.sub(r"<[^>]*>", " ", page))


async def test_a_question_is_answered_in_the_inbox_and_its_execution_seen_to_its_end(
    engine: durable.Engine, pages: Pages
) -> None:
    execution = await engine.start(asks, "news", id="report-1", tags={"kind": "weekly"})
    prompt = await first_prompt(engine)
    status, page = await pages.get("/ui/inbox")
    assert status == 200
    assert "<strong>Publish</strong>" in page
    assert "<h1>Why</h1>" in page
    assert EVIL not in page
    status, detail = await pages.get("/ui/executions/report-1")
    assert "It waits for an answer" in readable(detail)
    assert "report-1@@2" in detail
    answer = f"/ui/inbox/{quote(prompt.id, safe='')}/answer"
    status, page = await pages.post(answer, {"do": "answer", "field.publish": "true", "field.copies": "0"})
    assert status == 422
    assert "It is at least 1." in page
    status, page = await pages.post(answer, {"do": "answer", "field.copies": "x"}, **{"hx-request": "true"})
    assert status == 422
    assert "Write a whole number, such as 3." in page
    assert "This is needed." in page
    assert 'aria-invalid="true"' in page
    fields = {"do": "answer", "field.publish": "true", "field.copies": "3", "by": "ana"}
    assert await pages.post(answer, fields) == (303, "/ui/inbox")
    assert "Your answer is recorded." in (await pages.get("/ui/inbox"))[1]
    assert (await execution.result(30)).endswith(": 3")
    assert [given.by for given in await engine.answers(prompt.id)] == ["ana"]
    assert [given.via for given in await engine.answers(prompt.id)] == ["dashboard"]
    status, page = await pages.post(answer, fields, **{"hx-request": "true"})
    assert status == 409
    assert "already answered" in page
    status, page = await pages.get("/ui/inbox/settled")
    assert status == 200
    assert "<strong>Publish</strong>" in page
    assert '"copies": 3' in readable(page)
    assert "by ana (dashboard)" in readable(page)
    assert EVIL not in page
    assert "No question was settled" in (await pages.get("/ui/inbox/settled?state=declined"))[1]
    assert "report-1" in (await pages.get("/ui/inbox/settled?q=PUBLISH&state=answered"))[1]
    assert "report-1" not in (await pages.get("/ui/inbox/settled?q=elsewhere"))[1]
    status, page = await pages.get("/ui/executions/report-1")
    assert "completed" in page
    assert EVIL not in page
    status, page = await pages.get("/ui/executions/report-1/events?kind=asked")
    assert page.count("<tr data-item") == 1
    assert (await pages.get("/ui/executions/report-1/record"))[0] == 200
    status, text = await pages.get("/ui/executions/report-1/record?as=file")
    assert text.startswith('{"record"') or '"record"' in text[:20]
    status, step = await pages.get("/ui/executions/report-1/steps/report-1.1")
    assert "news" in step
    assert EVIL not in step


async def test_the_list_filters_by_its_address_and_folds_children(engine: durable.Engine, pages: Pages) -> None:
    parent = await engine.start(asks, "news", id="parent", tags={"kind": "weekly"})
    await first_prompt(engine)
    await in_state(engine, parent, "waiting")
    failed = await engine.start(fails, id="bad")
    await in_state(engine, failed, "failed")
    for query, ids in {
        "": {"bad", "parent", "parent@@2"},
        "?state=failed": {"bad"},
        "?function=leaf": {"parent@@2"},
        "?tag=kind%3Dweekly": {"parent"},
        "?state=lost": set(),
        "?since=1h&state=waiting": {"parent"},
    }.items():
        status, page = await pages.get(f"/ui/executions{query}")
        assert status == 200
        assert set(re.findall(r'id="row-([^"]+)"', page)) == ids, query
        assert EVIL not in page
    page = (await pages.get("/ui/executions"))[1]
    assert page.index('id="row-parent"') < page.index('id="row-parent@@2" class="child"')
    status, page = await pages.get("/ui/executions?state=done")
    assert (status, "no state" in page) == (400, True)
    assert (await pages.get("/ui/executions/nothing"))[0] == 404


async def test_what_is_chosen_is_shown_before_it_is_done(engine: durable.Engine, pages: Pages) -> None:
    halted, bad = await engine.start(waits, id="halted"), await engine.start(fails, id="bad")
    await in_state(engine, halted, "waiting")
    await in_state(engine, bad, "failed")
    await engine.interrupt("halted")
    chosen = [("id", "halted"), ("id", "bad"), ("id", "none")]
    for action, able in {"resume": {"halted"}, "retry": {"bad"}, "cancel": {"halted"}}.items():
        status, page = await pages.post("/ui/executions", [("action", action), *chosen])
        assert status == 200
        assert set(re.findall(r'name="id" value="([^"]+)"', page)) == able
    assert await halted.state() == "interrupted"
    await pages.post("/ui/executions", [("action", "resume"), ("sure", "1"), ("id", "halted")])
    await in_state(engine, halted, "waiting", "running")
    await pages.post("/ui/executions", [("action", "retry"), ("sure", "1"), ("id", "bad")])
    again = await engine.get("bad-retry-1")
    await in_state(engine, again, "failed")
    await pages.post("/ui/executions", [("action", "cancel"), ("sure", "1"), *chosen])
    assert await in_state(engine, halted, "cancelled") == "cancelled"
    for fields in ([("action", "cancel")], [("action", "explode"), ("id", "bad")]):
        assert (await pages.post("/ui/executions", fields))[0] == 400


async def test_one_execution_is_signalled_forked_interrupted_and_resumed(
    engine: durable.Engine, pages: Pages, site: Site
) -> None:
    one = await engine.start(waits, id="one")
    await in_state(engine, one, "waiting")
    assert site.engine is None, "looking opens none"
    assert (await pages.post("/ui/executions/one/interrupt", {}))[0] == 303
    assert site.engine is not None, "pages and API have one engine"
    await in_state(engine, one, "interrupted")
    assert "resuming goes on from here" in (await pages.get("/ui/executions/one"))[1]
    assert (await pages.post("/ui/executions/one/resume", {}))[0] == 303
    await in_state(engine, one, "waiting", "running")
    assert (await pages.post("/ui/executions/one/signal", {"signal": "go", "value": '{"n": 1}'}))[0] == 303
    assert await one.result(30) == {"n": 1}
    status, to = await pages.post("/ui/executions/one/fork", {"step": "1", "new": "two"})
    assert (status, to) == (303, "/ui/executions/two")
    two = await engine.get("two")
    assert (await pages.post("/ui/executions/two/cancel", {"reason": "enough"}))[0] == 303
    await in_state(engine, two, "cancelled")
    assert (await pages.post("/ui/executions/one/fork", {"step": "x"}))[0] == 400
    assert (await pages.post("/ui/executions/two/rewind", {"step": "1", "new": "three"}))[0] == 303
    assert "/ui/executions/three" in (await pages.get("/ui/executions/two"))[1]
    assert "/ui/executions/two" in (await pages.get("/ui/executions/three"))[1]
    assert (await pages.post("/ui/executions/one/retry", {}))[0] == 409
    assert (await pages.post("/ui/executions/one/explode", {}))[0] == 404


async def test_a_session_is_a_notebook(engine: durable.Engine, pages: Pages) -> None:
    assert await pages.post("/ui/sessions", {"name": "desk"}) == (303, "/ui/sessions/desk")
    assert await pages.post("/ui/sessions", {"name": "a b"}) != (303, "/ui/sessions/desk")
    session = await engine.session("desk")
    await pages.post("/ui/sessions/desk/run", {"code": f"x = 41\r\nprint({EVIL!r})\nx + 1"})
    assert (await session.result("desk@1")).value == 42
    await session.checkpoint("mark")
    await pages.post("/ui/sessions/desk/run", {"code": "x = 2\nimport socket\nopen_one = socket.socket()\n1/0"})

    async def ended() -> bool:
        row = await engine.store.reads.get_execution("desk@2")
        return row is not None and row.state == "failed"

    await until(engine, ended)
    status, page = await pages.get("/ui/sessions/desk")
    assert status == 200
    assert EVIL not in page
    assert "ZeroDivisionError" in page
    assert "print(" in readable(page)
    assert "mark" in page
    marked = next(each.id for each in await session.checkpoints() if each.label == "mark")
    newest = (await session.checkpoints())[-1].id
    status, page = await pages.get("/ui/sessions/desk/variables")
    assert "cannot be saved" in page
    status, page = await pages.get(f"/ui/sessions/desk/diff?before={marked}&after={newest}")
    assert "41" in page
    status, page = await pages.post("/ui/sessions/desk/restore", {"checkpoint": str(marked)})
    assert status == 409, "another engine has the session"
    status, to = await pages.post("/ui/sessions/desk/fork", {"checkpoint": str(marked), "new": "desk-2"})
    assert (status, to) == (303, "/ui/sessions/desk-2")
    assert (await pages.post("/ui/sessions/desk-2/run", {"code": "x"}))[0] == 303
    assert (await (await engine.session("desk-2")).result("desk-2@1")).value == 41


async def test_pages_say_what_there_is_and_nothing_else_is_there(engine: durable.Engine, pages: Pages) -> None:
    for path, _ in SECTIONS:
        async with pages.http.get(f"{pages.url}/ui/{path}") as answer:
            assert answer.status == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            page = await answer.text()
        assert not re.search(r"<(script|style)\b(?![^>]* src=)[^>]*>", page), "nothing inline"
        assert not re.search(r"\s(on\w+|style)=", page)
        assert set(re.findall(r'(?:src|href)="(https?:)?//', page)) == set()
        for url in re.findall(r'(?:src|href)="(/ui/assets/[^"]+)"', page):
            assert (await pages.get(url))[0] == 200
    assert "alive" in (await pages.get("/ui/workers"))[1]
    assert re.search("All is well|fsync is off", (await pages.get("/ui/store/doctor"))[1])
    assert (await pages.get("/ui/store/figures"))[0] == 200
    assert (await pages.get("/ui/nothing"))[0] == 404
    assert await pages.get("/") == (303, "")


async def test_a_queue_is_paused_and_resumed(engine: durable.Engine, pages: Pages) -> None:
    await engine.queues.set("mail", concurrency=2)
    page = (await pages.get("/ui/queues"))[1]
    assert "2 at a time" in page
    assert (await pages.get("/ui/queues/mail"))[0] == 200
    for action, state in (("pause", "paused"), ("resume", "open"), ("drain", "draining")):
        assert (await pages.post(f"/ui/queues/mail/{action}", {}))[0] == 303
        assert (await engine.queues.get("mail")).state == state
    assert (await pages.get("/ui/queues/none"))[0] == 404
    assert (await pages.post("/ui/queues/mail/explode", {}))[0] == 404


async def test_executions_are_moved_to_the_deployment_of_the_server(target: str, tmp_path: Path) -> None:
    hostile = {"engine": "far", "group": EVIL, "pid": 1, "deployment": "x/1", "functions": [f"{EVIL}::f@1"]}
    hostile["retention"] = {f"{EVIL}::f@1": {"completed": 60_000, "failed": None}}
    async with durable.open(target, durability="process", deployment="old") as old:
        for n in range(2):
            await in_state(old, await old.start(waits, id=f"w{n}"), "waiting")
    async with opened_store(target) as store:
        site = Site(store, TOKEN, runs=True, engine_options={"deployment": "team/new"})
        async with logged_in(site, target) as pages:
            assert (await pages.post("/ui/deployments/old/move", {"to": "team/new"}))[0] == 400, "it has not joined"
            await server_engine(site)
            await store.request("engine.join", hostile)
            page = (await pages.get("/ui/deployments"))[1]
            assert re.findall(r'id="row-([^"]+)"', page) == ["x/1", "team/new", "old"]
            assert "no engine of it is alive" in page
            for path in ("/ui/deployments/x%2F1", "/ui/workers", "/ui/store"):
                status, page = await pages.get(path)
                assert (status, EVIL in page, EVIL in readable(page)) == (200, False, True), path
            assert "for ever" in page
            assert "come here" in (await pages.get("/ui/deployments/team%2Fnew"))[1]
            assert (await pages.get("/ui/deployments/none"))[0] == 404
            status, page = await pages.post("/ui/deployments/old/move", {"to": "x/1"})
            assert (status, "has not the code" in page) == (409, True)
            status, page = await pages.post("/ui/deployments/old/move", {"to": "team/new"})
            assert (status, set(re.findall(r'name="id" value="([^"]+)"', page))) == (200, {"w0", "w1"})
            chosen = [("to", "team/new"), ("sure", "1"), ("id", "w1"), ("id", "w9")]
            status, page = await pages.post("/ui/deployments/old/move", chosen)
            assert (status, "This was done" in page, "not of old any more" in page) == (200, True, True)
            assert (await pages.post("/ui/deployments/old/delete", {}))[0] == 409
            await pages.post("/ui/deployments/old/move", [("to", "team/new"), ("sure", "1"), ("id", "w0")])
            assert (await pages.post("/ui/deployments/x%2F1/use", {}))[0] == 303
            assert await pages.post("/ui/deployments/old/delete", {}) == (303, "/ui/deployments")
            assert (await pages.post("/ui/deployments/team%2Fnew/explode", {}))[0] == 404
            assert 'id="row-old"' not in (await pages.get("/ui/deployments"))[1]


def heavy(chars: int, fails: bool) -> str:
    if fails:
        raise ValueError("y" * chars)
    return "x" * chars


@durable.function
async def carries(ctx: durable.Context) -> None:
    await ctx.run(heavy, 10, False)
    await ctx.run(heavy, 300_000, False)
    await ctx.run(heavy, 2_000_000, False)
    with suppress(Exception):
        await ctx.run(heavy, 300_000, True)


async def test_what_is_too_long_for_a_line_is_on_a_page_of_its_own(engine: durable.Engine, pages: Pages) -> None:
    await in_state(engine, await engine.start(carries, id="big"), "completed")
    status, page = await pages.get("/ui/executions/big")
    assert status == 200
    assert "xxxxxxxxxx" in page
    assert len(re.findall(r"A value of more than [\d,]+ characters", page)) >= 2
    assert re.search(r"(An error of more than [\d,]+ characters|yyyyyyy)", page)
    assert len(page) < 30_000
    assert "x" * 10_000 in (await pages.get("/ui/executions/big/steps/big.2"))[1]
    assert (await pages.get("/ui/executions/big/events"))[1].count("<tr data-item") == 10


async def test_numbers_of_an_address_are_bounded(engine: durable.Engine, pages: Pages) -> None:
    await in_state(engine, await engine.start(leaf, 1, id="one"), "completed")
    for number in ("9" * 30, "9" * 5_000, "\u0663"):
        shown = quote(number)
        for path in (f"one/displays/{shown}/text%2Fhtml", f"one/output?offset={shown}&rewinds={shown}"):
            assert (await pages.get(f"/ui/executions/{path}"))[0] in (200, 400, 404), path
        for path in (f"executions/one?page={shown}", f"executions/one?from=1&to={shown}", f"audit?before={shown}"):
            assert (await pages.get(f"/ui/{path}"))[0] == 200, path
        assert (await pages.post("/ui/executions/one/fork", {"step": number}))[0] == 400


async def test_a_part_that_did_not_change_is_not_sent_again(engine: durable.Engine, pages: Pages) -> None:
    async with pages.http.get(f"{pages.url}/ui/executions", headers={"x-part": "live"}) as answer:
        stamp, text = answer.headers["etag"], await answer.text()
    assert "<html" not in text
    part = {"x-part": "live", "if-none-match": stamp}
    async with pages.http.get(f"{pages.url}/ui/executions", headers=part) as answer:
        assert answer.status == 304
    await in_state(engine, await engine.start(leaf, 1), "completed")
    async with pages.http.get(f"{pages.url}/ui/executions", headers=part) as answer:
        assert answer.status == 200


async def test_the_stream_says_that_something_changed(engine: durable.Engine, pages: Pages) -> None:
    async with pages.http.get(f"{pages.url}/ui/changes") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert await answer.content.readline() == b"retry: 1000\n"
        await engine.start(leaf, 1)
        while (line := await answer.content.readline()) != b"data: changed\n":
            assert line in (b"\n",)


async def test_nobody_gets_in_without_a_token_or_from_another_site(
    engine: durable.Engine, site: Site, pages: Pages, tmp_path: Path
) -> None:
    await engine.start(waits, id="one")
    async with aiohttp.ClientSession() as http:
        outside = Pages(http, pages.url)
        for route in ROUTES:
            path = "/ui/" + re.sub(r"\{[^}]*\}", "x", route.path)
            async with http.request(route.method, f"{pages.url}{path}", allow_redirects=False) as answer:
                assert (answer.status, answer.headers["location"][:9]) == (303, "/ui/login"), path
        status, page = await outside.post("/ui/login", {"token": "wrong-token-of-nobody"})
        assert (status, "no token" in page) == (401, True)
        assert (await outside.get("/ui/changes"))[0] == 204
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://else.example"},
    ):
        assert (await pages.post("/ui/executions/one/cancel", {}, **headers))[0] == 403
    assert (await pages.get("/ui/inbox", host="else.example"))[0] == 421
    file = TokensFile(tmp_path / "tokens")
    token = file.add("bo", "read")
    site.tokens.refresh()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        bo = Pages(http, pages.url)
        assert (await bo.post("/ui/login", {"token": token}))[0] == 303
        assert (await bo.get("/ui/inbox"))[0] == 200
        file.remove("bo")
        site.tokens.refresh()
        assert (await bo.get("/ui/inbox"))[0] == 303
    assert (await pages.post("/ui/logout", {}))[0] == 303
    assert (await pages.get("/ui/inbox"))[0] == 303


NEEDS: dict[str, Role] = {
    "POST inbox/{id}/answer": "answer",
    "GET audit": "admin",
    "GET store/doctor": "operate",
}
"""The roles of routes; other POSTs need operate, other GETs read."""


async def test_each_route_by_each_role(engine: durable.Engine, site: Site, pages: Pages, tmp_path: Path) -> None:
    file = TokensFile(tmp_path / "tokens")
    tokens = {role: file.add(f"holder-{role}", role) for role in ROLES}
    site.tokens.refresh()
    for role in ROLES:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            visitor = Pages(http, pages.url)
            await visitor.post("/ui/login", {"token": tokens[role]})
            for route in ROUTES:
                path = "/ui/" + re.sub(r"\{[^}]*\}", "nothing", route.path)
                ask = visitor.get(path) if route.method == "GET" else visitor.post(path, {"x": "y"})
                status, _ = await ask
                needed = NEEDS.get(f"{route.method} {route.path}", "read" if route.method == "GET" else "operate")
                may = ROLES.index(role) >= ROLES.index(needed)
                assert (status != 403) is may, (role, route.path, status)
                assert status < 500, (role, route.path, status)
    audited = {entry.what for entry in await engine.audit("token:holder-read")}
    assert "POST /ui/executions" in audited


async def test_who_answers_is_the_token_unless_it_is_an_admin(
    engine: durable.Engine, site: Site, pages: Pages, tmp_path: Path
) -> None:
    await engine.start(asks, "x", id="a")
    prompt = await first_prompt(engine)
    file = TokensFile(tmp_path / "tokens")
    token = file.add("bo", "answer")
    site.tokens.refresh()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        bo = Pages(http, pages.url)
        await bo.post("/ui/login", {"token": token})
        assert 'name="by"' not in (await bo.get("/ui/inbox"))[1]
        answer = f"/ui/inbox/{quote(prompt.id, safe='')}/answer"
        fields = {"do": "answer", "field.publish": "true", "field.copies": "3"}
        assert (await bo.post(answer, {**fields, "by": "ana"}))[0] == 422
        assert (await bo.post(answer, fields))[0] == 303
    assert [given.by for given in await engine.answers(prompt.id)] == ["bo"]
