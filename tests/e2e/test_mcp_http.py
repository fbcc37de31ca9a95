"""`durable mcp` over HTTP as a process of its own: who may, what survives SIGKILL, what a hostile client gets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

import durable
from durable.http.serve import listen
from durable.mcp import http_transport
from durable.mcp.clients import ClientTokens, read_clients
from durable.mcp.server import mcp_server
from durable.mcp.tool_host import McpOptions
from tests.e2e.cli_process import COMMAND
from tests.e2e.mcp_process import TOKEN, connected, serving_mcp, start_mcp, text_of

JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
}

MODERN = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "run_code"}


@asynccontextmanager
async def served_here(store: Path, clients: dict[str, str] | None = None) -> AsyncIterator[str]:
    """A server in this process, over HTTP."""
    with listen("127.0.0.1", 0) as sock:
        async with (
            durable.open(store) as engine,
            mcp_server(engine, McpOptions(profile="open")) as server,
            http_transport.serving_mcp(server, sock, ClientTokens(TOKEN, clients)) as url,
        ):
            yield url


async def appeared(file: Path) -> None:
    """Wait for a file that another process makes."""
    async with asyncio.timeout(30):
        while not file.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_server_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL in the middle of `run_code`: the same call attaches, variables and the open question are there."""
    store = tmp_path / "work.db"
    server, url = start_mcp(store, "--profile", "open")
    code = "import time\nfor n in range(100):\n    open('go', 'w').close() if n == 5 else time.sleep(0.01)\n'end'"
    try:
        async with connected(url) as client:
            await client.call_tool("run_code", {"code": f"import os\nos.chdir({str(tmp_path)!r})\nx = [1, 2]"})
            await client.call_tool("run_code", {"code": "name = input('Who?')\nname", "session": "b", "wait_s": 0.5})
        params = {"name": "run_code", "arguments": {"code": code, "id": "long", "wait_s": 50}, "_meta": ENVELOPE}
        async with httpx2.AsyncClient(
            timeout=60, headers={"authorization": f"Bearer {TOKEN}", **JSON, **MODERN}
        ) as http:
            running = asyncio.create_task(http.post(url, json={**CALL, "params": params}))
            await appeared(tmp_path / "go")
            server.send_signal(signal.SIGKILL)
            server.wait()
            with pytest.raises(httpx2.TransportError):
                await running
    finally:
        server.kill()
        assert server.stdout is not None
        server.stdout.close()
    with serving_mcp(store, "--profile", "open") as url:
        async with connected(url) as client:
            again = await client.call_tool("run_code", {"code": code, "id": "long", "wait_s": 50})
            kept = await client.call_tool("run_code", {"code": "x"})
            asked = await client.call_tool("wait", {"execution": "b@1", "wait_s": 20})
            prompt = await client.call_tool("answer", {"prompt": "exec:b@1:input:1", "value": "Ana"})
            done = await client.call_tool("wait", {"execution": "b@1", "wait_s": 20})
    assert again.structured_content is not None
    assert (again.structured_content["execution"], again.structured_content["value"]) == ("main@long", "end")
    assert kept.structured_content is not None
    assert kept.structured_content["value"] == [1, 2]
    assert "Who?" in text_of(asked)
    assert not prompt.is_error
    assert done.structured_content is not None
    assert done.structured_content["value"] == "Ana"


async def test_a_client_that_is_killed_finds_everything_again(tmp_path: Path) -> None:
    """Over stdio the server ends with its client, and the next one goes on."""
    command = [*COMMAND, "--store", str(tmp_path / "work.db"), "mcp", "--profile", "open"]
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    with Path(tmp_path / "said").open("w") as said:
        async with Client(stdio_client(parameters, errlog=said), mode="legacy") as client:
            await client.call_tool("run_code", {"code": "x = 5"})
            found = await client.call_tool("run_code", {"code": "input('Who?')", "session": "b"})
            slow = "import asyncio\nawait asyncio.sleep(1)\nx + 1"
            await client.call_tool("run_code", {"code": slow, "wait_s": 0.05})
        async with Client(stdio_client(parameters, errlog=said)) as client:
            done = await client.call_tool("wait", {"execution": "main@2"})
            waiting = await client.call_tool("inbox", {})
    assert "Who?" in text_of(found)
    assert done.structured_content is not None
    assert done.structured_content["value"] == 6
    assert "exec:b@1:input:1: Who?" in text_of(waiting)


async def test_clients_have_sessions_of_their_own(tmp_path: Path) -> None:
    clients = tmp_path / "clients"
    clients.write_text("# who\nana token-of-ana-0123456789\nbo token-of-bo-01234567890\n")
    clients.chmod(0o600)
    async with (
        served_here(tmp_path / "work.db", read_clients(clients, clients)) as url,
        connected(url, token="token-of-ana-0123456789") as ana,
        connected(url, token="token-of-bo-01234567890", mode="legacy") as bo,
        connected(url) as operator,
    ):
        hers = await ana.call_tool("run_code", {"code": "x = 'hers'\ninput('Who?')"})
        assert hers.structured_content is not None
        assert (hers.structured_content["execution"], hers.structured_content["session"]) == ("ana-main@1", "main")
        his = await bo.call_tool("run_code", {"code": "x"})
        assert "NameError" in text_of(his)
        for tool, arguments in (
            ("wait", {"execution": "ana-main@1"}),
            ("output", {"execution": "ana-main@1"}),
            ("cancel", {"execution": "ana-main@1"}),
            ("interrupt", {"execution": "ana-main@1"}),
            ("answer", {"prompt": "exec:ana-main@1:input:1", "value": "x"}),
            ("session_variables", {"session": "ana-main"}),
        ):
            found = await bo.call_tool(tool, arguments)
            assert text_of(found).startswith("NOT_FOUND: "), tool
        assert text_of(await bo.call_tool("inbox", {})) == "[no questions wait]"
        assert "ana-main" not in str((await bo.list_resources()).resources)
        assert "ana-main" in str((await operator.list_resources()).resources)


async def test_what_a_hostile_client_sends_is_refused(tmp_path: Path) -> None:
    async with served_here(tmp_path / "work.db") as url:
        async with httpx2.AsyncClient(timeout=30) as http:

            async def post(body: bytes | dict[str, Any], **headers: str) -> httpx2.Response:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                named = {
                    "authorization": f"Bearer {TOKEN}",
                    **JSON,
                    **{k.replace("_", "-"): v for k, v in headers.items()},
                }
                return await http.post(url, content=content, headers=named)

            assert (await http.post(url, json=CALL)).status_code == 401
            assert (await post(CALL, authorization="Bearer wrong-token-0123456789")).status_code == 401
            assert (await post(CALL, authorization=f"Basic {TOKEN}")).status_code == 401
            assert (await post(CALL, origin="https://evil.example")).status_code == 403
            assert (await post(CALL, host="evil.example")).status_code in (403, 421)
            assert (await post(b"x" * 10_000_000)).status_code == 413
            for body in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"jsonrpc": "2.0", "id": 1, "method": 7}'):
                assert 400 <= (await post(body)).status_code < 500, body[:20]
            params = {"name": "run_code", "arguments": {"code": "1"}, "_meta": ENVELOPE}
            for state in ("forged", "v1.AAAA", "", 7, {"execution": "x"}):
                found = await post({**CALL, "params": {**params, "requestState": state}}, **MODERN)
                said = found.json()
                assert "error" in said or said["result"]["isError"] is False, state
                if "error" in said:
                    assert said["error"]["code"] == types.INVALID_PARAMS
            asking = {**params, "arguments": {"code": "input('Who?')"}}
            first = (await post({**CALL, "params": asking}, **MODERN)).json()["result"]
            assert first["resultType"] == "input_required"
            other = {**params, "arguments": {"code": "'mine'"}, "requestState": first["requestState"]}
            stolen = (await post({**CALL, "params": other}, **MODERN)).json()
            assert stolen["error"]["code"] == types.INVALID_PARAMS, "the state belongs to another call"
            (key,) = first["inputRequests"]
            responses = {
                key: {"action": "accept", "content": {"answer": "Ana"}},
                "exec:other@1:input:1": {"action": "cancel"},
            }
            again = {**asking, "requestState": first["requestState"], "inputResponses": responses}
            done = (await post({**CALL, "params": again}, **MODERN)).json()["result"]
            assert done["structuredContent"]["value"] == "Ana"
            twice = (await post({**CALL, "params": again}, **MODERN)).json()["result"]
            assert twice["structuredContent"]["execution"] == done["structuredContent"]["execution"], (
                "asked once, run once"
            )
        async with connected(url) as client:
            assert (await client.call_tool("run_code", {"code": "'alive'"})).structured_content is not None
