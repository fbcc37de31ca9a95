"""A store served over HTTP in this process, and the two ways to it that are compared with the oracle."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from durable.core.limits import POLL_S
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.remote.store import RemoteStore
from durable.store.sqlite.store import Store

from .compare import Opening, SetClock, Subject
from .oracle import Answer
from .run import StoreSubject
from .wire import Json

TOKEN = "token-of-the-tests"


@dataclass(slots=True)
class Served:
    """A served store: its URL, and what is behind it."""

    url: str
    store: Store
    site: Site


@asynccontextmanager
async def served(
    path: Path, *, lease_s: float = 30.0, stream_s: float = POLL_S, **options: Any
) -> AsyncIterator[Served]:
    """Serve a store on a free port until the block ends."""
    store = await Store.open(path, **{"durability": "process", **options})
    try:
        site = Site(store, TOKEN, lease_s=lease_s)
        site.stream_s = stream_s
        with listen("127.0.0.1", 0) as sock:
            async with serving(site, sock) as url:
                yield Served(url, store, site)
    finally:
        await store.close()


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that shows the token."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield session


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The data of server-sent events, one at a time."""
    buffer = b""
    async for chunk in response.content.iter_any():
        buffer += chunk
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            if event.startswith(b"data: "):
                yield event[len(b"data: ") :].decode("ascii")


def sendable(data: Any) -> Any:
    """A request without the unknown fields of its values: no JSON can carry a lone surrogate, not even where the
    store would not look at it."""
    if isinstance(data, list):
        return [sendable(item) for item in data]
    if not isinstance(data, dict):
        return data
    return {
        name: {known: value[known] for known in ("headers", "data") if known in value}
        if name in ("param", "value", "promiseParam") and isinstance(value, dict)
        else sendable(value)
        for name, value in data.items()
    }


class RemoteSubject(StoreSubject):
    """Our own client."""

    async def request(self, kind: str, data: Json) -> Answer:
        return await super().request(kind, sendable(data))


class HttpSubject:
    """The protocol as a foreign client speaks it: one envelope in each `POST /`, polls for messages."""

    def __init__(self, url: str, session: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self._url = url
        self._session = session
        self._stack = stack
        self._numbers = itertools.count()

    async def request(self, kind: str, data: Json) -> Answer:
        corr_id = str(next(self._numbers))
        envelope = {"kind": kind, "head": {"corrId": corr_id, "version": "2026-04-01"}, "data": sendable(data)}
        named = (kind, corr_id)
        try:
            body = json.dumps(envelope, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # A lone surrogate is no JSON: the whole text is refused, and nobody knows what it asked.
            body, named = json.dumps(envelope).encode(), ("", "")
        async with self._session.post(f"{self._url}/", data=body) as response:
            found = await response.json()
        assert (found["kind"], found["head"]["corrId"]) == named
        assert response.status == found["head"]["status"]
        assert isinstance(found["data"], str if response.status >= 400 else dict)
        return response.status, found["data"]

    async def connect(self, receive: Callable[[str, str], None]) -> None:
        for engine in ("p1", "p2"):
            response = await self._stack.enter_async_context(self._session.get(f"{self._url}/poll/g/{engine}"))
            task = asyncio.create_task(_pump(response, f"poll://uni@g/{engine}", receive))
            self._stack.callback(task.cancel)


async def _pump(response: aiohttp.ClientResponse, address: str, receive: Callable[[str, str], None]) -> None:
    async for message in events(response):
        receive(address, message)


def http_opening(directory: Path) -> Opening:
    """Opens new served stores; the subject is a foreign client."""
    numbers = itertools.count()

    @asynccontextmanager
    async def opening(clock: SetClock) -> AsyncIterator[Subject]:
        async with (
            served(directory / f"{next(numbers)}.db", clock=clock, debug=True) as found,
            client() as session,
            AsyncExitStack() as stack,
        ):
            yield HttpSubject(found.url, session, stack)

    return opening


def remote_opening(directory: Path, stream_s: float = POLL_S) -> Opening:
    """Opens new served stores; the subject is our own client, its connections the SDK's."""
    numbers = itertools.count()

    @asynccontextmanager
    async def opening(clock: SetClock) -> AsyncIterator[Subject]:
        path = directory / f"{next(numbers)}.db"
        async with served(path, stream_s=stream_s, clock=clock, debug=True) as found:
            store = await RemoteStore.open(found.url, token=TOKEN)
            try:
                yield RemoteSubject(store)
            finally:
                await store.close()

    return opening
