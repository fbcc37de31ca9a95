"""A store served with its HTTP API, and a caller that compares every answer with the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema

from durable.http.access.roles import ROLES
from durable.http.access.tokens import TokensFile
from durable.http.api.openapi import openapi_document
from durable.http.api.route_table import ROUTES
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.direct_store import DirectStore

from .opened import open_at
from .served import TOKEN


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(openapi_document(ROUTES)))
    return found


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))  # what is named before what is any
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + r"\Z"), path) for path in paths]


def check_answer(method: str, path: str, status: int, kind: str, body: bytes) -> None:
    """The answer is one that the document says: its status, its type and its schema."""
    place = next((name for pattern, name in _patterns() if pattern.match(path)), None)
    if place is None or method.lower() not in document()["paths"][place]:
        assert status in (404, 405), (path, status)
        return
    answers = document()["paths"][place][method.lower()]["responses"]
    assert str(status) in answers, f"{method} {place}: {status} is not in the document"
    content = answers[str(status)].get("content")
    if content is None:
        assert body == b""
        return
    assert kind.partition(";")[0] in content, (kind, list(content))
    if kind.partition(";")[0] != "text/event-stream":
        schema = {**content[kind.partition(";")[0]]["schema"], "components": document()["components"]}
        jsonschema.validate(json.loads(body), schema, cls=jsonschema.Draft202012Validator)


@dataclass
class ApiServer:
    """A served store with a token of each role, and a session of HTTP."""

    url: str
    store: DirectStore
    site: Site
    http: aiohttp.ClientSession
    tokens: dict[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, body: object = None, *, token: str = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        """The status and document of an answer. Headers: `_` stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("authorization", f"Bearer {token}")
        options: dict[str, Any] = {"headers": named}
        if body is not None:
            options["json"] = body
        async with self.http.request(method, f"{self.url}/api/v1{path}", **options) as response:
            found, kind = await response.read(), response.headers.get("content-type", "")
            check_answer(method, path.partition("?")[0], response.status, kind, found)
            return response.status, json.loads(found) if "json" in kind else None

    async def site_engine(self) -> None:
        """Open the server's engine, as `durable serve --engine` does at its start."""
        from durable.http.api.server_engine import server_engine

        await server_engine(self.site)

    async def get(self, path: str, **options: str) -> Any:
        """The document of a GET that succeeds."""
        status, found = await self.call("GET", path, **options)
        assert status == 200, found
        return found

    async def post(self, path: str, body: object = None, **options: str) -> Any:
        """The document of a POST that succeeds."""
        status, found = await self.call("POST", path, {} if body is None else body, **options)
        assert status in (200, 201, 202), found
        return found

    async def every(self, path: str, limit: int) -> list[Any]:
        """The items of all pages of a list."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = await self.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor}")
            assert len(page["items"]) <= limit
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    async def events(self, path: str, *, last: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """The events of a stream: `event`, `id`, and `data` as a document."""
        headers = {"authorization": f"Bearer {TOKEN}", **({} if last is None else {"last-event-id": last})}
        async with self.http.get(f"{self.url}/api/v1{path}", headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.headers["content-type"] == "text/event-stream"
            buffer = b""
            async for chunk in response.content.iter_any():
                *whole, buffer = (buffer + chunk).split(b"\n\n")
                for block in whole:
                    lines = dict(line.split(": ", 1) for line in block.decode("ascii").splitlines() if ": " in line)
                    if "data" in lines:
                        yield {"event": lines["event"], "id": lines["id"], "data": json.loads(lines["data"])}


@asynccontextmanager
async def api_server(path: Path, *, runs: bool = True, **options: Any) -> AsyncIterator[ApiServer]:
    """Serve a store on a free port until the block ends."""
    file = TokensFile(Path(f"{path}.tokens"))
    tokens: dict[str, str] = {role: file.add(f"holder-{role}", role, ("finance",)) for role in ROLES}
    store = await open_at(path)
    try:
        site = Site(store, TOKEN, tokens_file=file, runs=runs, **options)
        with listen("127.0.0.1", 0) as sock:
            async with serving(site, sock) as url, aiohttp.ClientSession() as http:
                yield ApiServer(url, store, site, http, tokens)
    finally:
        await store.close()
