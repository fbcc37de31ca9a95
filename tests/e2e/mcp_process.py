"""`durable mcp` as a real process, over HTTP, and the official client of the protocol."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.warm_python import PYTHON

TOKEN = "token-of-the-mcp-tests"
ERAS = ("legacy", "auto")
"""The protocol with sessions, and the one without."""


def start_mcp(store: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A server on a free port, and its URL."""
    command = [PYTHON, "-m", "durable.cli", "--store", str(store), "mcp", *options, "--http", "--port", "0"]
    with Path(f"{store}.said").open("ab") as said:
        server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "DURABLE_MCP_TOKEN": TOKEN},
        )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    assert url.startswith("http://"), Path(f"{store}.said").read_text()
    return server, url


@contextmanager
def serving_mcp(store: Path, *options: str) -> Iterator[str]:
    """A server until the block ends."""
    server, url = start_mcp(store, *options)
    try:
        yield url
    finally:
        server.terminate()
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()


@asynccontextmanager
async def connected(url: str, *, token: str = TOKEN, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
    """A client with a bearer token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=70) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


def text_of(result: Any) -> str:
    """What a model reads of a result."""
    return "\n".join(each.text for each in result.content if each.type == "text")
