"""Bad input over HTTP: the protocol's error, the server alive, other clients served (specs/http.md)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from durable.core import limits
from durable.http import connections, request_body, routes

from .served import TOKEN, Served, client, events, served


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "work.db") as found:
        yield found


async def post(url: str, body: bytes, *, token: str | None = TOKEN, path: str = "/") -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, await response.json()


async def works(site: Served, name: str = "works") -> None:
    """Somebody else is served."""
    body = json.dumps({"kind": "promise.create", "data": {"id": name, "timeoutAt": 2**50}})
    status, found = await asyncio.wait_for(post(site.url, body.encode()), 10)
    assert (status, found["data"]["promise"]["id"]) == (200, name)


async def until(true: Callable[[], bool]) -> None:
    """Wait for what the server learns from the network, which tells nobody here."""
    async with asyncio.timeout(20):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


BAD = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"kind": "promise.get", "data": {"id": "\xff"}}',
    "a lone surrogate": rb'{"kind": "promise.get", "data": {"id": "\ud800"}}',
    "a list": b"[]",
    "a number": b"7",
    "no kind": b'{"data": {}}',
    "a kind that is a number": b'{"kind": 7, "data": {}}',
    "an unknown kind": b'{"kind": "promise.destroy", "data": {"id": "a"}}',
    "an unknown read": b'{"kind": "read._rows", "data": {"sql": "select 1"}}',
    "a kind that is not offered": b'{"kind": "engine.lost", "data": {"engine": "e"}}',
    "a move that the server alone makes": b'{"kind": "engine.move", "data": {"engine": "e"}}',
    "data that is a list": b'{"kind": "promise.get", "data": []}',
    "a missing field": b'{"kind": "promise.get", "data": {}}',
    "a field of another type": b'{"kind": "promise.get", "data": {"id": 7}}',
    "an id that is too long": b'{"kind": "promise.get", "data": {"id": "' + b"x" * 2001 + b'"}}',
    "deep nesting": b'{"kind": "promise.get", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an integer beyond all": b'{"kind": "promise.create", "data": {"id": "a", "timeoutAt": 1' + b"0" * 400 + b"}}",
    "bytes that are not base64": b'{"kind": "checkpoint.publish", "data": {"session": "s", "epoch": 1, "statement": 0,'
    b' "final": true, "manifest": "***"}}',
    "a manifest that nobody signed": b'{"kind": "checkpoint.publish", "data": {"session": "s", "epoch": 1,'
    b' "statement": 0, "final": true, "manifest": "AAAA"}}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_a_request_that_cannot_be_read_is_a_400_in_the_protocols_shape(site: Served, body: bytes) -> None:
    status, found = await post(site.url, body)
    assert (status, found["head"]["status"]) == (400, 400)
    assert isinstance(found["data"], str)
    assert found["data"]
    await works(site)


@pytest.mark.parametrize("body", [b"", b"{}", b"[7]", b'[{"data": {}}]'])
async def test_a_batch_that_cannot_be_read_is_a_400(site: Served, body: bytes) -> None:
    async with client() as session:
        headers = {"durable-client": "c", "durable-batch": "1"}
        async with session.post(f"{site.url}/batch", data=body, headers=headers) as response:
            assert (response.status, "not a batch" in await response.text()) == (400, True)
        async with session.post(f"{site.url}/batch", data=b"[]") as response:
            assert response.status == 400
    await works(site)


async def test_one_bad_request_of_a_batch_leaves_the_others_alone(site: Served) -> None:
    good = {"kind": "promise.create", "data": {"id": "a", "timeoutAt": 2**50}}
    batch = [good, {"kind": "promise.create", "data": {"id": 7}}, {"kind": "nothing"}, {"kind": "read.engines"}, good]
    async with client() as session:
        headers = {"durable-client": "c", "durable-batch": "1"}
        async with session.post(f"{site.url}/batch", json=batch, headers=headers) as response:
            assert [each["status"] for each in await response.json()] == [200, 400, 400, 200, 200]


WRONG = {
    "none": None,
    "empty": "",
    "another": "x" * len(TOKEN),
    "a longer one": TOKEN + "x",
    "a shorter one": TOKEN[:-1],
    "not ASCII": "\u00e9" * 8,
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG.keys())
async def test_without_the_token_nothing_is_answered_but_health(site: Served, token: str | None) -> None:
    body = b'{"kind": "promise.get", "data": {"id": "a"}}'
    status, found = await post(site.url, body, token=token)
    assert (status, found["head"]["status"]) == (401, 401)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in ("/poll/g/p", "/changes/c", f"/chunk/{'0' * 64}"):
            async with session.get(site.url + path) as response:
                assert response.status == 401, path
        for path in ("/health", "/ready"):
            async with session.get(site.url + path) as response:
                assert response.status == 200, path


async def test_unknown_routes_and_methods_are_refused_in_the_protocols_shape(site: Served) -> None:
    async with client() as session:
        for method, path, status in (
            ("GET", "/", 405),
            ("GET", "/nowhere", 404),
            ("DELETE", f"/chunk/{'0' * 64}", 405),
        ):
            async with session.request(method, site.url + path) as response:
                assert response.status == status
                assert (await response.json())["head"]["status"] == status
        for path in (f"/poll/g/{'x' * 2001}", f"/changes/{'x' * 2001}", "/poll/g/%00"):
            async with session.get(site.url + path) as response:
                assert response.status == 400, path


async def test_chunks_are_what_their_digest_says_and_stay_in_their_directory(site: Served) -> None:
    async with client() as session:
        for name in ("..%2F..%2Fwork.db", "0" * 63, "A" * 64):
            async with session.put(f"{site.url}/chunk/{name}", data=b"x") as response:
                assert response.status in (400, 404), name
        async with session.put(f"{site.url}/chunk/{'0' * 64}", data=b"x") as response:
            assert response.status == 400
        async with session.get(f"{site.url}/chunk/{'0' * 64}") as response:
            assert response.status == 404


async def test_enormous_bodies_are_refused_with_the_limit_named(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_BYTES_MAX", 100_000)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10_000

    status, found = await post(site.url, b"x" * 100_001)
    assert (status, "100000 bytes" in found["data"]) == (413, True)
    async with client() as session, session.post(f"{site.url}/", data=drip()) as response:
        assert response.status == 413  # its length was not declared
    assert site.site.body_bytes == 0
    await works(site)


async def test_a_value_over_its_limit_is_the_stores_refusal(site: Served) -> None:
    big = "x" * (limits.VALUE_BYTES_MAX + 1)
    body = json.dumps({"kind": "promise.create", "data": {"id": "a", "timeoutAt": 2**50, "param": {"data": big}}})
    status, found = await post(site.url, body.encode())
    assert (status, "VALUE_BYTES_MAX" in found["data"]) == (400, True)


async def test_many_large_bodies_at_once_are_refused_rather_than_held(
    site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODIES_BYTES_MAX", 100_000)
    reader, writer = await asyncio.open_connection(*address(site))
    writer.write(head(content_length=90_000) + b"x" * 80_000)
    await writer.drain()
    await until(lambda: site.site.body_bytes >= 80_000)
    status, found = await post(site.url, b"x" * 30_000)
    assert (status, "BODIES_BYTES_MAX" in found["data"]) == (503, True)
    writer.close()
    await works(site)
    assert await reader.read() == b""
    assert site.site.body_bytes == 0


async def test_a_flood_is_delayed_and_then_refused_and_ends(site: Served) -> None:
    now = [0.0]
    site.site.clock = lambda: now[0]
    rate = site.site.rate
    taken = [rate.take("127.0.0.1", 0.0) for _ in range(limits.REQUESTS_BURST_MAX)]
    assert set(taken) == {0.0}
    delayed = 0
    while (wait := rate.take("127.0.0.1", 0.0)) is not None:
        assert 0 < wait <= limits.RATE_WAIT_S
        delayed += 1
    assert delayed == limits.REQUESTS_PER_S_MAX * limits.RATE_WAIT_S
    status, found = await post(site.url, b"{}")
    assert (status, "REQUESTS_PER_S_MAX" in found["data"]) == (429, True)
    assert rate.take("10.0.0.1", 0.0) == 0.0  # others are served meanwhile
    now[0] = 2 * limits.RATE_WAIT_S + 5
    await works(site)


# -- clients that take their time --------------------------------------------------------------------------------


def address(site: Served) -> tuple[str, int]:
    host, port = site.url.removeprefix("http://").split(":")
    return host, int(port)


def head(method: str = "POST", path: str = "/", content_length: int | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}"]
    if content_length is not None:
        lines.append(f"content-length: {content_length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def dropped(reader: asyncio.StreamReader) -> bool:
    """The server ends the connection without an answer."""
    with contextlib.suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), 20) == b""
    return True


SLOW = {
    "says nothing": ("FIRST_REQUEST_S", b""),
    "never ends its headers": ("FIRST_REQUEST_S", b"POST / HTTP/1.1\r\nx: "),
    "never ends its body": ("BODY_S", head(content_length=100) + b"{"),
}


@pytest.mark.parametrize(("limit", "sent"), SLOW.values(), ids=SLOW.keys())
async def test_a_slow_client_is_dropped(site: Served, monkeypatch: pytest.MonkeyPatch, limit: str, sent: bytes) -> None:
    monkeypatch.setattr(connections, limit, 0.3)
    reader, writer = await asyncio.open_connection(*address(site))
    writer.write(sent)

    async def drip() -> None:
        while True:  # slowly, so that no pause between two bytes is long
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip()) if sent else None
    assert await dropped(reader)
    if dripping is not None:
        dripping.cancel()
    writer.close()
    await works(site)


async def test_a_client_that_does_not_come_back_is_dropped(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await asyncio.open_connection(*address(site))
    writer.write(head("GET", "/health"))
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(b'{"status":"ok"}'))
    monkeypatch.setattr(connections, "CONNECTION_IDLE_S", 0.3)
    writer.write(b"GET /health HTTP/1.1\r\nx: ")  # half of a second request
    assert await dropped(reader)
    writer.close()


async def test_a_client_that_reads_nothing_is_dropped(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 0.3)
    monkeypatch.setattr(connections, "CLOSING_S", 0.3)
    value = "x" * 2**20
    create = {"kind": "promise.create", "data": {"id": "big", "timeoutAt": 2**50, "param": {"data": value}}}
    assert (await post(site.url, json.dumps(create).encode()))[0] == 200
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(address(site))
    sock.setblocking(False)
    get = b'{"kind": "promise.get", "data": {"id": "big"}}'
    for _ in range(50):
        await asyncio.get_running_loop().sock_sendall(sock, head(content_length=len(get)) + get)
    guard = site.site.guard
    ours = sock.getsockname()
    await until(lambda: all(each.transport.get_extra_info("peername") != ours for each in guard.open))
    sock.close()
    await works(site)


async def test_a_stream_that_is_not_read_ends_and_its_work_is_offered_again(site: Served) -> None:
    async with client() as session:
        response = await session.get(f"{site.url}/poll/g/p")
        messages = site.site._listeners["p"].messages
        for n in range(limits.POLL_QUEUE_MAX + 1):
            messages.put(f'"{n}"')  # one turn of the loop: nothing is sent meanwhile
        assert messages.closed
        assert [event async for event in events(response)] == []
        create = {"id": "t", "timeoutAt": 2**50, "tags": {"resonate:target": "poll://any@g"}}
        await site.store.request("promise.create", create)
        async with session.get(f"{site.url}/poll/g/p") as again:
            assert json.loads(await anext(events(again)))["data"]["task"] == {"id": "t", "version": 0}


async def test_more_connections_than_allowed_evict_idle_ones_and_others_are_served(site: Served) -> None:
    guard = site.site.guard
    guard.limit = 50
    idle = [await asyncio.open_connection(*address(site)) for _ in range(200)]
    await works(site)
    assert len(guard.open) <= 50
    assert await dropped(idle[0][0])
    for _, writer in idle:
        writer.close()


async def test_when_no_connection_is_idle_a_new_one_is_told_so(site: Served) -> None:
    site.site.guard.limit = 2
    async with client() as session:
        polls = [await session.get(f"{site.url}/poll/g/p{n}") for n in range(2)]
        reader, writer = await asyncio.open_connection(*address(site))
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 503 ")
        writer.close()
        for each in polls:
            each.close()
    await until(lambda: not site.site.guard.open)
    await works(site)


async def test_bytes_that_are_no_http_are_refused(site: Served) -> None:
    for junk in (b"\x16\x03\x01\x02\x00\x01" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000):
        reader, writer = await asyncio.open_connection(*address(site))
        writer.write(junk)
        with contextlib.suppress(ConnectionResetError):
            assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 400 ")
        writer.close()
    await works(site)


async def test_a_head_that_comes_at_once_has_its_limit_too(site: Served) -> None:
    """L13: only one that came in pieces was counted."""
    for size, status in ((limits.HTTP_HEAD_BYTES_MAX - 2_000, 200), (40_000, 431)):
        headers = {"Authorization": f"Bearer {TOKEN}", "x-padding": "x" * size}
        async with aiohttp.ClientSession() as session, session.get(site.url + "/ready", headers=headers) as response:
            assert response.status == status
    await works(site)


@pytest.mark.parametrize("group", ["a%0Ab", "a%0D%0Aevent:%20x", "a%00", "a%1b"])
async def test_a_group_has_no_control_characters(site: Served, group: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = URL(f"{site.url}/poll/{group}/me", encoded=True)
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 400
