"""Permissions of sessions that live: on the command line, for a while, reloaded, bypassed; recorded decisions; and
WebSockets, which live as long as their engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

import durable
from capabilities.standard.websocket import OPEN_MAX, WebSocket
from durable.core.clock import now_ms
from durable.core.events import Event, PermissionsBypassed
from durable.sessions.calls import session_policy
from tests.e2e.cli_process import Terminal
from tests.waiting import first_prompt

EVENTS: list[Event] = []


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    EVENTS.clear()
    async with durable.open(tmp_path / "work.db", durability="process", observer=EVENTS.append) as engine:
        yield engine


async def value(session: durable.Session, code: str) -> Any:
    result = await session.execute(code)
    assert result.error is None, result.error
    return result.value


async def failure(session: durable.Session, code: str) -> str:
    result = await session.execute(code)
    assert result.error is not None, result.value
    return f"{result.error.exception_type}: {result.error.exception_message}"


async def test_grants_and_the_audit_on_the_command_line(engine: durable.Engine, tmp_path: Path) -> None:
    session = await engine.session("desk")
    terminal = Terminal(tmp_path)

    async def durable_(*words: str) -> Any:
        return await asyncio.to_thread(terminal.durable, "--store", "work.db", *words)

    assert "NameError" in await failure(session, "now()")
    done = await durable_("session", "grant", "desk", "now", "--seconds", "600", "--by", "ana")
    assert (done.code, done.out) == (0, "")
    assert isinstance(await value(session, "keep = now\nkeep()"), float)
    assert (await durable_("session", "revoke", "desk", "now", "--by", "ben")).code == 0
    assert (await failure(session, "keep()")).startswith("PermissionError")
    (await durable_("session", "grant", "other", "now")).failed(3, "no session 'other'")
    (await durable_("session", "grant", "desk", "level:nothing")).failed(2, "no level")
    await engine.audit()  # what is counted is written
    entries = (await durable_("audit", "desk", "--json")).data
    fields = ["id", "at", "who", "execution", "what", "resource", "verdict", "reason", "policy", "times"]
    assert all(list(entry) == fields for entry in entries)
    assert all(entry["at"].endswith("Z") for entry in entries)
    shown = [(entry["what"], entry["verdict"], entry["execution"], entry["reason"]) for entry in reversed(entries)]
    assert shown == [
        ("now", "granted", "", "by ana for 600 s"), ("now", "allowed", "desk@2", "granted"),
        ("now", "revoked", "", "by ben"), ("now", "denied", "desk@3", "now is blocked by the manifest, or was revoked"),
    ]  # fmt: skip
    page = await engine.audit(limit=2, before=entries[0]["id"])
    assert [entry.id for entry in page] == [entry["id"] for entry in entries[1:3]]
    rows = (await durable_("audit", "desk")).out.splitlines()
    assert rows[0].split("\t") == ["N", "WHEN", "WHO", "VERDICT", "WHAT", "WHY"]
    assert len(rows) == 1 + len(entries)
    assert (await durable_("audit", "desc")).code == 3
    assert "nowe is no standard capability" in (await durable_("session", "grant", "desk", "nowe")).err


async def test_an_elevation_ends_by_itself(engine: durable.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await engine.session("desk", permissions={"grant": ["input"]})
    await session.elevate("trusted", by="ana")
    execution = await session.submit("""
kept = kv.get
kept('a')
name = input('on?')
try:
    found = kept('a')
except PermissionError:
    found = 'refused'
found""")
    prompt = await first_prompt(engine)
    monkeypatch.setattr(session_policy, "now_ms", lambda: now_ms() + 60_000)
    await engine.answer(prompt.id, "yes")
    assert (await session.result(execution.id)).value == "refused"
    assert "NameError" in await failure(session, "kv")
    said = [(entry.what, entry.verdict, entry.reason) for entry in await engine.audit("desk")]
    assert ("level:trusted", "granted", "by ana for 60 s") in said
    assert ("kv.get", "allowed", "the manifest") in said
    assert ("kv.get", "denied", "kv is not granted") in said


async def test_a_reload_counts_at_once_whatever_was_decided_before(engine: durable.Engine) -> None:
    session = await engine.session("desk", permissions={"level": "restricted", "grant": ["env:A"]})
    assert await value(session, "kept = env\n[kept('A'), kept('A')]") == [None, None]
    for _ in range(2):
        await session.reload({"level": "restricted", "grant": ["env:B"]})
        assert "PermissionError" in await failure(session, "kept('A')")
        assert await value(session, "kept('B')") is None
        await session.reload({"level": "restricted", "environment": {"read": ["A"]}})
        assert await value(session, "kept('A')") is None
        assert "PermissionError" in await failure(session, "kept('B')")
    reasons = {entry.reason for entry in await engine.audit() if entry.verdict == "allowed"}
    assert reasons == {"granted", "the manifest"}


async def test_what_comes_before_a_grant_makes_it_a_conflict(engine: durable.Engine) -> None:
    session = await engine.session("desk", permissions={"block": ["kv", "env:A"]})
    for grant, blocked in (("kv", "'kv'"), ("kv:shared", "'kv'"), ("env:A", "'env:A'")):
        with pytest.raises(durable.Conflict, match=f"{blocked} is blocked by the manifest.*session.reload"):
            await session.grant(grant)
    await session.grant("env:B")
    await engine.permissions().revoke("*", "now")
    with pytest.raises(durable.Conflict, match=r"'now' was revoked for all sessions.*'\*'"):
        await session.grant("now")
    await engine.permissions().grant("*", "now")
    await session.grant("now")
    await session.reload({"block": ["now"]})
    await session.grant("kv")
    with pytest.raises(durable.Conflict, match="'now' is blocked"):
        await session.grant("now", seconds=5)
    assert [e.what for e in await engine.audit("desk") if e.verdict == "granted"] == ["kv", "now", "env:B"]


async def test_a_refusal_that_was_recorded_is_the_same_again(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=["kv"])
    execution = await session.submit("""
def tried():
    try:
        return kv.get('a', 'had', namespace='shared')
    except PermissionError:
        return 'refused'
before = tried(); name = input('on?')
[before, tried()]""")
    prompt = await first_prompt(engine, "on?")
    await session.grant("kv:shared")
    await engine.host.forget("desk")
    await engine.answer(prompt.id, "yes")
    assert (await session.result(execution.id)).value == ["refused", "had"]


async def test_development_mode_is_told_of_whenever_it_begins(engine: durable.Engine, tmp_path: Path) -> None:
    session = await engine.session("desk", level="sandbox")
    assert "NameError" in await failure(session, "now()")
    assert [event for event in EVENTS if isinstance(event, PermissionsBypassed)] == []
    await session.reload({"trust": "development"})
    assert isinstance(await value(session, "now()"), float)
    await value(session, "now()")
    assert [event.session for event in EVENTS if isinstance(event, PermissionsBypassed)] == ["desk"]
    terminal = Terminal(tmp_path)
    terminal.write("dev.toml", 'trust = "development"')
    command = ("--store", "own.db", "exec", "s", "--permissions", "dev.toml", "notify('on', title='a')")
    done = await asyncio.to_thread(terminal.durable, *command)
    assert done.code == 0, done.err
    assert "session s is in development mode: nothing that its code asks for is checked" in done.err
    assert "s says: a: on" in done.err


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[int, list[str]]]:
    """A server that sends back what it gets, in capitals; its port, and what it got."""
    got: list[str] = []

    async def echo(request: web.Request) -> web.StreamResponse:
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "/echo"})
        if request.path == "/plain":
            return web.Response(text="no")
        found = web.WebSocketResponse()
        await found.prepare(request)
        async for message in found:
            if message.type is WSMsgType.TEXT:
                got.append(message.data)
                match message.data:
                    case "close":
                        await found.close()
                    case "bytes":
                        await found.send_bytes(b"x")
                    case "large":
                        await found.send_str("x" * (2**20 + 1))
                    case "silent":
                        pass
                    case _:
                        await found.send_str(message.data.upper())
        return found

    application = web.Application()
    application.router.add_get("/{path}", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1]), got
    finally:
        await runner.cleanup()


async def test_websockets(tmp_path: Path) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "a.test" and port else ["10.0.0.1"]

    manifest: dict[str, Any] = {"level": "trusted", "grant": ["input"]}
    async with (
        echoing() as (port, got),
        durable.open(tmp_path / "work.db", durability="process", capabilities=[WebSocket(lookup)]) as engine,
    ):
        manifest["network"] = {"outbound": [f"*.test:{port}"], "private": ["127.0.0.1/32"]}
        session = await engine.session("desk", permissions=manifest)
        at = f"ws://a.test:{port}"
        code = f"ws = websocket('{at}/echo')\nwebsocket.send(ws, 'one')\nfirst = websocket.receive(ws)\n"
        execution = await session.submit(code + "name = input('on?')\n[first, name]")
        prompt = await first_prompt(engine)
        await engine.host.forget("desk")
        await engine.answer(prompt.id, "yes")
        assert (await session.result(execution.id)).value == ["ONE", "yes"]
        assert got == ["one"]  # what was recorded was not sent again
        # The connection ended with what the engine had of the session.
        assert (await failure(session, "websocket.send(ws, 'two')")).startswith("ConnectionError")
        assert await value(session, code + "first") == "ONE"
        assert "TimeoutError" in await failure(
            session, "websocket.send(ws, 'silent'); websocket.receive(ws, timeout=0.05)"
        )
        assert "ValueError" in await failure(session, f"{code}websocket.send(ws, 'bytes'); websocket.receive(ws)")
        assert await value(session, f"{code}websocket.send(ws, 'large'); websocket.receive(ws)") is None
        assert await value(session, f"{code}websocket.send(ws, 'close'); websocket.receive(ws)") is None
        assert (await failure(session, "websocket.receive(ws)")).startswith("ConnectionError")
        assert await value(session, "websocket.close(ws)") is None
        for where in (
            f"ws://b.test:{port}/echo",
            f"ws://a.evil:{port}/echo",
            f"{at}/away",
            f"http://a.test:{port}/echo",
        ):
            assert (await failure(session, f"websocket('{where}')")).startswith("PermissionError"), where
        assert (await failure(session, f"websocket('{at}/plain')")).startswith("ConnectionError")
        many = f"n = 0\nwhile True:\n    websocket('{at}/echo')\n    n += 1"
        assert f"{OPEN_MAX} connections are open" in await failure(session, many)
        other = await engine.session("other", permissions=manifest)
        assert (await failure(other, "websocket.send('exec:desk@1:websocket:1', 'x')")).startswith("ConnectionError")
        denied = [entry for entry in await engine.audit() if entry.verdict == "denied"]
        assert sum(entry.times for entry in denied) == 4
