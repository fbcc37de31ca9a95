"""Questions told of by webhook and answered over HTTP: a real receiver, real processes, kill -9 between."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

import durable
from durable.server.serving import listen, serving
from durable.server.site import Site
from durable.store.store import Store
from tests.conftest import TOKEN, end_server, start_server
from tests.e2e.telling import SECRET
from tests.waiting import until


class Receiver:
    """Takes notices whose signature fits, and answers with `status`."""

    def __init__(self, status: int) -> None:
        self.url = ""
        self.status = status
        self._came: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        id, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        mac = hmac.new(SECRET.encode(), f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
        assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
        self._came.put_nowait((id, json.loads(body)))
        return web.Response(status=self.status)

    async def next(self) -> tuple[str, dict[str, Any]]:
        async with asyncio.timeout(30):
            return await self._came.get()

    def forget(self) -> None:
        """Of what came until now."""
        while not self._came.empty():
            self._came.get_nowait()


@asynccontextmanager
async def receiving(status: int = 204) -> AsyncIterator[Receiver]:
    receiver = Receiver(status)
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def post(url: str, body: Any, token: str | None = None) -> tuple[int, Any]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as http, http.post(url, data=data, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.fixture
def engine_process(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Starts an engine on `work.db` with a webhook; none outlives the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(hook: str, answers_at: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.e2e.telling", str(tmp_path / "work.db"), hook, answers_at]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for process in begun:
        killed(process)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def test_told_and_answered_though_everything_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine_process: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    store = tmp_path / "work.db"
    dead = socket.create_server(("127.0.0.1", 0))  # a receiver that never answers
    async with receiving(status=500) as receiver:
        first = engine_process(receiver.url, "http://127.0.0.1:1/")
        id, said = await receiver.next()
        killed(first)  # what it sent was not taken
        receiver.forget()
        second = engine_process(receiver.url, "http://127.0.0.1:1/")
        assert (await receiver.next())[0] == id
        receiver.status = 204
        again, said = await receiver.next()  # a retry
        killed(second)
    assert again == id
    assert (said["type"], said["n"], said["prompt"]["question"]) == ("prompt.asked", 0, "How many?")
    ana, ops = said["links"]
    assert (ana["who"], ops["who"]) == ("ana", "team:ops")
    path = f"/prompts/{quote(said['prompt']['id'], safe='')}/answer"
    assert ana["url"] == f"http://127.0.0.1:1{path}?link={ana['token']}"

    server, url = start_server(store)
    try:
        at = url + path
        linked = f"{at}?link={ana['token']}"
        assert (await post(at, {"value": 3}))[0] == 401
        assert (await post(at, {"value": 3}, "x" * 32))[0] == 401
        assert (await post(at.replace("%3A1/", "%3A2/"), {"value": 3}, ana["token"]))[0] == 401
        assert (await post(linked, {"value": 3, "by": "eve"}))[0] == 403
        assert (await post(at, {"value": 3, "by": "eve"}, TOKEN))[0] == 403
        assert (await post(at, {"value": 3}, ops["token"]))[0] == 400  # who of the team?
        assert (await post(linked, b"{'value'"))[0] == 400
        assert (await post(linked, {"value": 3, "extra": 1}))[0] == 400
        assert (await post(at.replace("%3A1/", "%3A2/"), {"value": 3}, TOKEN))[0] == 404
        status, refused = await post(linked, {"value": "three"})
        assert (status, refused["error"]["code"]) == (422, "INVALID_ANSWER")
        assert refused["error"]["errors"][0]["msg"] == "'three' is not of type 'integer'"
        assert await post(linked, {"value": 3, "why": "enough"}) == (200, {"settled": True})
        status, lost = await post(at, {"value": 4, "by": "tom", "teams": ["ops"]}, TOKEN)
        assert (status, lost["error"]["code"]) == (409, "CONFLICT")
        assert "by ana" in lost["error"]["message"]
    finally:
        killed(server)

    with dead:
        host, port = dead.getsockname()
        third = engine_process(f"http://{host}:{port}/", url)
        output, _ = await asyncio.to_thread(third.communicate, timeout=30)
    assert output == "3\n"
    async with durable.open(store, durability="process", serve=False) as engine:
        (given,) = await engine.answers(said["prompt"]["id"])
        assert (given.by, given.value, given.why, given.via) == ("ana", 3, "enough", "link")


@durable.function
async def escalates(ctx: durable.Context) -> Any:
    return await ctx.ask("Now?", to=["ana"], remind=0.15, escalate=0.2, escalate_to=["eve"])


@durable.function
async def ends_soon(ctx: durable.Context) -> Any:
    return await ctx.ask("Soon?", timeout=1.5, default="late")


async def test_reminders_escalation_and_deadlines(tmp_path: Path) -> None:
    told: list[tuple[str, str, int]] = []
    all_told = asyncio.Event()

    def tell(prompt: durable.OpenPrompt) -> None:
        told.append((prompt.question, prompt.notice, prompt.nth))
        if {notice for _, notice, _ in told} == {"asked", "reminder", "escalated"}:
            all_told.set()

    async with receiving() as receiver:
        hook = durable.Webhook(receiver.url, SECRET)
        async with durable.open(tmp_path / "work.db", durability="process", webhooks=[hook]) as engine:
            engine.on_prompt(tell)
            execution = await engine.start(escalates)
            notices: dict[str, dict[str, Any]] = {}
            while not {"prompt.asked", "prompt.escalated", "prompt.reminder"} <= {n["type"] for n in notices.values()}:
                id, said = await receiver.next()
                assert id not in notices  # each once, where all were taken
                notices[id] = said
            await asyncio.wait_for(all_told.wait(), 30)
            by_type = {said["type"]: said for said in notices.values()}
            assert [link["who"] for link in by_type["prompt.asked"]["links"]] == ["ana"]
            eve = by_type["prompt.escalated"]["links"][1]
            assert eve["who"] == "eve"
            assert "url" not in eve
            assert by_type["prompt.reminder"]["n"] >= 1
            with listen("127.0.0.1", 0) as sock:
                async with serving(Site(cast(Store, engine.store), TOKEN), sock) as url:
                    at = f"{url}/prompts/{by_type['prompt.asked']['prompt']['id']}/answer"
                    assert await post(at, {"value": "yes"}, eve["token"]) == (200, {"settled": True})
                    assert await execution.result(timeout=30) == "yes"
                    await _too_late(engine, receiver, url)
    assert told[0] == ("Now?", "asked", 0)
    assert all(nth >= 1 for _, notice, nth in told if notice == "reminder")
    assert len(told) == len(set(told))


async def _too_late(engine: durable.Engine, receiver: Receiver, url: str) -> None:
    execution = await engine.start(ends_soon)
    said: dict[str, Any] = {}
    while not said or said["prompt"]["question"] != "Soon?":  # a reminder of the other may be under way
        _, said = await receiver.next()
    assert said["prompt"]["created_at"] < said["prompt"]["timeout_at"] < said["prompt"]["created_at"] + 10_000
    assert await execution.result(timeout=30) == "late"

    async def ended() -> bool:
        return await engine.prompts() == []

    await until(engine, ended)
    at = f"{url}/prompts/{said['prompt']['id']}/answer"
    for token in (said["links"][0]["token"], TOKEN):
        status, refused = await post(at, {"value": "yes", "by": "tom"}, token)
        assert (status, refused["error"]["code"]) == (410, "ANSWER_LATE")


@durable.function
async def asks(ctx: durable.Context, question: str) -> Any:
    return await ctx.ask(question)


async def test_of_a_settled_question_nothing_more_is_sent(tmp_path: Path) -> None:
    async with receiving(status=500) as receiver:
        hook = durable.Webhook(receiver.url, SECRET, retry_s=0.02)
        async with durable.open(tmp_path / "work.db", durability="process", webhooks=[hook]) as engine:
            execution = await engine.start(asks, "One?")
            _, said = await receiver.next()
            await engine.answer(said["prompt"]["id"], "yes")
            assert await execution.result(timeout=30) == "yes"
            await engine.start(asks, "Two?")
            while said["prompt"]["question"] != "Two?":
                _, said = await receiver.next()
            for _ in range(4):  # as many retries of the first would have come meanwhile
                _, said = await receiver.next()
                assert said["prompt"]["question"] == "Two?"


@durable.function
async def ships_it(ctx: durable.Context) -> Any:
    decision = await ctx.approve("Ship it?", quorum=2, to=["ana", "ben", "team:ops"])
    return [each.by for each in decision.answers]


async def test_links_of_an_engine_on_a_url_and_several_approvers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    server, url = start_server(tmp_path / "work.db")
    try:
        async with (
            receiving() as receiver,
            durable.open(url, webhooks=[durable.Webhook(receiver.url, SECRET)]) as engine,
        ):
            execution = await engine.start(ships_it)
            _, said = await receiver.next()
            at = f"{url}/prompts/{said['prompt']['id']}/answer"
            ana, ben = (link["token"] for link in said["links"])  # none for the team: who holds it could be two
            assert await post(at, {"value": True}, ana) == (200, {"settled": False})
            assert (await post(at, {"value": True}, ana))[0] == 409
            assert await post(at, {"value": True}, ben) == (200, {"settled": True})
            assert await execution.result(timeout=30) == ["ana", "ben"]
    finally:
        assert end_server(server) == 0
