"""Attempts of code at more than it may: denied or limited, in the audit, and the engine goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import durable
from capabilities.standard.fetch import Fetch
from durable.core.events import Event, PermissionsBypassed, WorkerEnded
from tests.waiting import first_prompt, until

FORGE = (
    "from bridge.worker.calls.capability_functions import granted_function\n"
    "channel = granted_function('input')._calls._channel\n"
)


async def value(session: durable.Session, code: str, **options: Any) -> Any:
    result = await session.execute(code, **options)
    assert result.error is None, result.error
    return result.value


async def failure(session: durable.Session, code: str, **options: Any) -> str:
    result = await session.execute(code, **options)
    assert result.error is not None, result.value
    return f"{result.error.exception_type}: {result.error.exception_message}"


async def verdicts(engine: durable.Engine, what: str) -> set[str]:
    return {entry.verdict for entry in await engine.audit() if entry.what == what}


@asynccontextmanager
async def serving(**paths: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """A server on this machine; its port."""
    application = web.Application()
    for path, handler in paths.items():
        application.router.add_route("*", f"/{path}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_fetch_reaches_only_what_was_granted_at_every_hop(tmp_path: Path) -> None:
    looked: list[str] = []
    answers: dict[str, list[list[str]]] = {
        "api.good.test": [["127.0.0.1"]] * 9,
        "sly.good.test": [["127.0.0.1"], ["169.254.169.254"]],  # what DNS says changes
        "inner.good.test": [["10.0.0.7"]] * 9,
    }

    async def lookup(host: str, port: int) -> list[str]:
        looked.append(host)
        return answers[host].pop(0) if host in answers else [host]

    seen: list[tuple[str, str | None]] = []

    async def ok(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers.get("Idempotency-Key")))
        return web.json_response({"ok": True})

    async def big(request: web.Request) -> web.Response:
        return web.Response(text="x" * 5_000)

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async with serving(ok=ok, big=big, away=away) as port:
        manifest = {
            "grant": ["fetch"],
            "level": "trusted",
            "network": {"outbound": [f"*.good.test:{port}"], "private": ["127.0.0.1/32"], "bytes_max": 1_000},
        }
        async with durable.open(tmp_path / "work.db", durability="process", capabilities=[Fetch(lookup)]) as engine:
            session = await engine.session("desk", permissions=manifest)
            good = f"http://api.good.test:{port}"
            assert await value(session, f"fetch('{good}/ok')['text']") == '{"ok": true}'
            assert await value(session, f"fetch('{good}/ok', method='POST', json=[1])['status']") == 200
            assert seen == [("GET", None), ("POST", "exec:desk@2:fetch:1")]
            denied = [
                f"http://evilgood.test:{port}/ok", f"http://good.test:{port}/ok", "http://api.good.test:1/ok",
                f"http://127.0.0.1:{port}/ok", f"http://2130706433:{port}/ok", f"http://[::1]:{port}/ok",
                f"http://inner.good.test:{port}/ok", "file:///etc/passwd", "ftp://api.good.test/x",
                f"http://api.good.test:{port}@evil.test/", f"{good}/away?to=http://169.254.169.254/latest",
                f"{good}/away?to=file:///etc/passwd", f"{good}/away?to=http://api.other.test:{port}/ok",
            ]  # fmt: skip
            code = f"""
found = []
for url in {denied!r}:
    try:
        found.append([url, fetch(url)['status']])
    except PermissionError:
        pass
found"""
            assert await value(session, code) == []
            sly = f"http://sly.good.test:{port}"
            assert await value(session, f"fetch('{sly}/ok')['status']") == 200
            assert (await failure(session, f"fetch('{sly}/ok')")).startswith("PermissionError")
            assert looked.count("sly.good.test") == 2  # once a request: nobody asks again between check and use
            assert "ResourceExceeded" in (await failure(session, f"fetch('{good}/big')"))
            assert "TypeError" in await failure(session, f"fetch('{good}/ok', headers={{'Host': 'evil'}})")
            assert await verdicts(engine, "fetch") == {"allowed", "denied"}


async def test_after_a_revocation_nothing_more_is_allowed_and_what_is_recorded_stays(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process") as engine, durable.open(path, serve=False) as elsewhere:
        session = await engine.session("desk", grants=["now", "uuid", "kv"])
        execution = await session.submit(
            "t = [now(), input('on?')][0]\ntry:\n    u = now()\nexcept PermissionError:\n    u = 0\n[t, u]"
        )
        prompt = await first_prompt(engine, "on?")
        there = await elsewhere.session("desk")
        await there.revoke("now", by="ana")
        await engine.host.forget("desk")  # a replay: its recorded call keeps the decision that it was recorded with
        await engine.answer(prompt.id, "yes")
        t, u = (await session.result(execution.id)).value
        assert isinstance(t, float)
        assert u == 0
        assert "NameError" in await failure(session, "now()")
        await there.grant("now", seconds=60)
        assert isinstance(await value(session, "f = now\nnow()"), float)
        await there.revoke("now")
        assert (await failure(session, "f()")).startswith("PermissionError")
        assert (await failure(session, "f()", journal=False)).startswith("PermissionError")
        await there.revoke("kv")
        with pytest.raises(durable.Conflict, match="'kv' was revoked"):
            await session.grant("kv:shared")
        await there.grant("kv")
        await session.elevate("trusted", seconds=60)
        assert "run_function" in await value(session, "run_function.__name__")
        await session.reload({"level": "restricted", "block": ["kv"]})
        assert (await failure(session, "kv.get('a')")).startswith(("NameError", "PermissionError"))
        changes = [(entry.what, entry.verdict) for entry in await engine.audit("desk") if not entry.execution]
        assert ("now", "revoked") in changes
        assert ("level:trusted", "granted") in changes
        assert ("manifest", "reloaded") in changes


async def test_forged_calls_count_for_nobody(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        session = await engine.session("desk", grants=["now"])
        other = await engine.session("other", grants=["now"])
        await value(other, "now()")
        url = {"args": ["http://a.test/"], "kwargs": {}}
        get = {"args": ["a"], "kwargs": {}, "method": "get"}
        forged = [
            {"execution_id": "other@1", "capability": "now", "call": 10**6},
            {"execution_id": "desk@1", "capability": "fetch", "call": 10**6 + 1, "arguments": url},
            {"execution_id": "desk@1", "capability": "kv", "call": 10**6 + 2, "arguments": get},
            {"execution_id": "desk@1", "capability": "now", "call": 5},  # a number below those that were
        ]
        code = (
            FORGE
            + f"""
for each in {forged!r}:
    channel.send({{"type": "call", "arguments": {{"args": [], "kwargs": {{}}}}, "ordered": False, **each}})
granted_function('input')._calls._number = 2 * 10**6
granted_function('input')._calls.current.counters.update(now=10**9, input=7)
now() > 0"""
        )
        assert await value(session, code) is True
        assert await value(session, "[now() > 0, now() > 0]") == [True, True]
        calls = [row.id for row in await engine.store.reads.children("desk@1")]
        assert [one for one in calls if ":now:" in one] == ["exec:desk@1:now:1"]
        assert {row.id for row in await engine.store.reads.children("other@1")} == {"exec:other@1:now:1"}
        refused = {entry.what for entry in await engine.audit("desk") if entry.verdict == "denied"}
        assert refused == {"now", "fetch", "kv.get"}


async def test_a_flood_of_calls_is_limited_and_others_go_on(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        manifest = {"grant": ["now"], "quotas": {"calls_per_s": 200}}
        session = await engine.session("desk", permissions=manifest)
        calm = await engine.session("calm", grants=["now"])
        await value(calm, "1")
        code = (
            FORGE
            + """
import threading
def flood():
    for n in range(10**6):
        channel.send({"type": "call", "execution_id": "desk@1", "call": 10**7 + n, "capability": "now",
                      "arguments": {"args": [], "kwargs": {}}, "ordered": False})
flooding = threading.Thread(target=flood, daemon=True)
flooding.start()
flooding.join(1.0)
'flooded'"""
        )
        execution = await session.submit(code)

        async def limited() -> bool:
            return "limited" in {entry.verdict for entry in await engine.audit("desk")}

        await until(engine, limited)
        assert isinstance(await value(calm, "[now() for _ in range(20)][-1]"), float)
        await asyncio.wait_for(engine.cancel(execution.id), 10)
        made = [row for row in await engine.store.reads.children(execution.id) if ":now:" in row.id]
        assert len(made) < 3_000
        assert "limited" in await verdicts(engine, "now")
        assert isinstance(await value(calm, "now()"), float)
        large = "kv.set('a', 'x' * (15 * 2**20))"
        await calm.grant("kv")
        assert "TypeError" in await failure(calm, large)
        assert isinstance(await value(calm, "now()"), float)


async def test_a_person_is_asked_once_for_what_nothing_allows(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        session = await engine.session(
            "desk", permissions={"trust": "unknown", "grant": ["input"], "block": ["process"]}
        )
        execution = await session.submit("a = uuid()\nq = input('name?')\nb = uuid()\n[a != b, q]")
        prompt = await first_prompt(engine)
        assert "May the code of session 'desk' call uuid" in prompt.question
        assert prompt.id == f"exec:{execution.id}:input:1000001"
        await engine.host.forget("desk")
        await engine.answer(prompt.id, "allow in this session", by="ana")
        named = await first_prompt(engine, "name?")
        assert named.id == f"exec:{execution.id}:input:1"
        await engine.host.forget("desk")
        await engine.answer(named.id, "bo")
        assert (await session.result(execution.id)).value == [True, "bo"]
        assert await engine.prompts() == []
        refusing = await session.submit("try:\n    r = kv.get('a')\nexcept PermissionError as e:\n    r = str(e)\nr")
        await engine.answer((await first_prompt(engine)).id, "deny", by="bo")
        assert "bo said no" in (await session.result(refusing.id)).value
        assert "NameError" in await failure(session, "process('ls')")


async def test_development_mode_checks_nothing_and_says_so(tmp_path: Path) -> None:
    events: list[Event] = []
    async with durable.open(tmp_path / "work.db", durability="process", observer=events.append) as engine:
        session = await engine.session("desk", permissions={"trust": "development"})
        assert (await value(session, "process('printf', ['hi'])"))["stdout"] == "hi"
        assert [event.session for event in events if isinstance(event, PermissionsBypassed)] == ["desk"]
        assert [entry.reason for entry in await engine.audit()] == ["development mode: nothing is checked"]


async def test_a_call_too_large_to_be_recorded_is_refused_and_one_too_large_to_be_read_ends_its_worker(
    tmp_path: Path,
) -> None:
    def forged(n: int, mb: int) -> str:
        return (
            FORGE
            + f"""
channel.send({{"type": "call", "execution_id": "desk@{n}", "call": 10**7, "capability": "kv", "ordered": False,
              "arguments": {{"method": "set", "args": ["a", "x" * ({mb} * 2**20)], "kwargs": {{}}}}}})
granted_function('input')._calls._number = 2 * 10**7
'sent'"""
        )

    events: list[Event] = []
    async with durable.open(tmp_path / "work.db", durability="process", observer=events.append) as engine:
        session = await engine.session("desk", grants=["kv"])
        assert await value(session, forged(1, 20)) == "sent"
        assert await value(session, "kv.get('a')") is None
        assert await verdicts(engine, "kv") == {"denied"}
        lost = await session.execute(forged(3, 70))
        assert lost.error is not None
        ended = [event.reason for event in events if isinstance(event, WorkerEnded)]
        assert any("a message of more than" in reason for reason in ended), ended
        assert await value(session, "kv.get('a')") is None
        assert not [row for row in await engine.store.reads.children("desk@3") if ":kv:" in row.id]
