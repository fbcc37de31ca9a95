"""Questions told of by webhook and answered over HTTP: a real receiver, real processes, kill -9 between."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

import durable
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.sqlite.store import Store
from tests.conftest import TOKEN, end_server, start_server
from tests.e2e.cli_process import Terminal
from tests.e2e.hooks import Receiver, post, receiving
from tests.e2e.telling import SECRET
from tests.waiting import first_prompt, until
from tests.warm_python import PYTHON


@pytest.fixture
def engine_process(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Starts an engine on `work.db` with a webhook; none outlives the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(hook: str, answers_at: str) -> subprocess.Popen[str]:
        command = [PYTHON, "-m", "tests.e2e.telling", str(tmp_path / "work.db"), hook, answers_at]
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


@durable.function
async def stays(ctx: durable.Context) -> Any:
    return await ctx.ask("Kept?", to=["ana"])


async def test_what_code_notifies_of_is_sent_until_it_is_taken(tmp_path: Path) -> None:
    async with receiving(status=500) as receiver:
        hook = durable.Webhook(receiver.url, SECRET, retry_s=0.02)
        async with durable.open(tmp_path / "work.db", durability="process", webhooks=[hook]) as engine:
            session = await engine.session("desk", grants=["notify"])
            assert (await session.execute("notify('done', title='job')")).error is None
            id, said = await receiver.next()
            receiver.status = 204
            assert await asyncio.wait_for(receiver.taken.get(), 30) == id
            assert (said["type"], said["links"]) == ("notify", [])
            about = {key: said["notify"][key] for key in ("id", "session", "execution", "message", "title")}
            call = {"id": "exec:desk@1:notify:1", "session": "desk", "execution": "desk@1"}
            assert about == {**call, "message": "done", "title": "job"}
            receiver.forget()
            again, _ = await _notified(session, receiver, "notify('other')")
            assert again != id
            unrecorded = [(await _notified(session, receiver, "notify('x')", journal=False))[0] for _ in range(2)]
            assert len({id, again, *unrecorded}) == 4


async def _notified(session: durable.Session, receiver: Receiver, code: str, **options: Any) -> tuple[str, Any]:
    assert (await session.execute(code, **options)).error is None
    return await receiver.next()


async def test_a_server_tells_and_answers_without_any_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    store = tmp_path / "work.db"
    async with durable.open(store, durability="process") as engine:
        await engine.start(stays, id="kept")
        await first_prompt(engine)
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    async with receiving() as receiver:
        options = ["--webhook", receiver.url, "--webhook-secret-file", str(secret)]
        server, _ = start_server(store, *options)
        try:
            _, said = await receiver.next()
            (link,) = said["links"]
            assert await post(link["url"], {"value": "yes"}) == (200, {"settled": True})
        finally:
            killed(server)
        monkeypatch.setenv("DURABLE_WEBHOOK_SECRET", SECRET)
        server, _ = start_server(store, "--webhook", receiver.url, "--answers-at", "https://answers.test/x/")
        try:
            async with durable.open(store, durability="process") as engine:
                assert await (await engine.get("kept")).result(timeout=30) == "yes"
                await engine.start(stays, id="again")
                _, said = await receiver.next()
                assert said["links"][0]["url"].startswith(
                    "https://answers.test/x/prompts/exec%3Aagain%3Ainput%3A1/answer?"
                )
        finally:
            killed(server)


def test_a_webhook_of_a_server_needs_a_secret_and_not_on_the_command_line(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.durable("serve", "--webhook", "http://a.test").failed(2, "DURABLE_WEBHOOK_SECRET")
    secret = str(terminal.write("secret", "whsec_*"))
    terminal.durable("serve", "--webhook-secret-file", secret, "--webhook", "http://a.test").failed(2, "is base64")
    assert not (tmp_path / ".durable").exists()
