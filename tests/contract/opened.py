"""An open store and short words for what tests ask of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreRefused
from durable.store.direct_store import DirectStore
from durable.store.postgres.store import PostgresStore
from durable.store.protocol.requests import Answer
from durable.store.sqlite.store import Store
from tests.postgres_server import PostgresServer

T0 = 1_900_000_000_000
FUNCTION = "app.py::job@1"
LEASE_MS = 2_000
"""How long engines on a database may be silent here."""


class Clock:
    """A wall clock that tests turn by hand."""

    def __init__(self, now: int = T0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Places:
    """The schemas of a database that stand for the files of a test."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._urls: dict[Path, str] = {}

    def url(self, path: Path) -> str:
        return self._urls.setdefault(path, self._server.url())


PLACES: list[Places] = []
"""Where stores are while a test runs on a database (conftest.py)."""


def place_of(path: Path) -> str:
    """The name by which another process opens the store at a path: that, or the URL of its stand-in."""
    return PLACES[-1].url(path) if PLACES else str(path)


async def open_at(path: Path | str, **options: Any) -> DirectStore:
    """The store at a path, or its stand-in; or the one at a URL."""
    place = str(path) if isinstance(path, str) else place_of(path)
    if not place.startswith("postgresql:"):
        return await Store.open(place, **{"durability": "process", **options})
    options.pop("durability", None)
    return await PostgresStore.open(place, **{"lease_ms": LEASE_MS, **options})


@asynccontextmanager
async def opened(path: Path | str, **options: Any) -> AsyncIterator[Any]:
    store = await open_at(path, **options)
    try:
        yield store
    finally:
        await store.close()


async def status(store: DirectStore, kind: str, data: Mapping[str, object]) -> int:
    """The status of a request, refused or not."""
    try:
        return (await store.request(kind, data)).status
    except StoreRefused as refused:
        return refused.status


def promise(
    promise_id: str, *, target: str | None = None, timeout_at: int = TIME_MAX_MS, **tags: str
) -> dict[str, Any]:
    """The data of a promise.create. Keywords are tags, `_` standing for `:`."""
    named = {name.replace("_", ":", 1): value for name, value in tags.items()}
    if target is not None:
        named["resonate:target"] = target
    return {"id": promise_id, "timeoutAt": timeout_at, "param": {"data": "MQ=="}, "tags": named}


def root(name: str, *, function: str = FUNCTION, **options: Any) -> dict[str, Any]:
    """An execution of a function, targeted at group g."""
    options.setdefault("target", "poll://any@g")
    return promise(f"exec:{name}", durable_function=function, resonate_origin="exec", **options)


def settle(promise_id: str, state: str = "resolved", data: str = "Mg==") -> dict[str, Any]:
    return {"id": promise_id, "state": state, "value": {"data": data}}


async def acquire(store: DirectStore, name: str, version: int = 0, *, pid: str = "e1", ttl: int = 60_000) -> Answer:
    return await store.request("task.acquire", {"id": f"exec:{name}", "version": version, "pid": pid, "ttl": ttl})


async def task(store: DirectStore, name: str) -> dict[str, Any]:
    found: Any = (await store.request("task.get", {"id": f"exec:{name}"})).data["task"]
    return dict(found)


async def state(store: DirectStore, promise_id: str) -> str:
    found: Any = (await store.request("promise.get", {"id": promise_id})).data["promise"]
    return str(found["state"])


class Inbox:
    """An engine in group g: joined, connected, its messages in a queue."""

    def __init__(self, store: DirectStore, engine: str, functions: list[str], sessions: bool) -> None:
        self.store = store
        self.engine = engine
        self.connection = store.connect(engine, "g")
        self._functions = functions
        self._sessions = sessions
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.connection.recv(lambda text: self.messages.put_nowait(json.loads(text)))

    async def join(self) -> Inbox:
        data = {"engine": self.engine, "group": "g", "pid": os.getpid()}
        options = {"functions": self._functions, "serves_sessions": self._sessions}
        await self.store.request("engine.join", {**data, **options})
        await self.connection.start()
        return self

    async def next(self) -> str:
        """The next task or promise that was pushed, by id."""
        message = await asyncio.wait_for(self.messages.get(), 10)
        part = message["data"]["task"] if message["kind"] == "execute" else message["data"]["promise"]
        return str(part["id"])

    async def quiet(self) -> bool:
        """Whether nothing came although everything posted so far was committed and delivered."""
        await self.store.request("engine.list", {})
        await asyncio.sleep(0)
        return self.messages.empty()


async def engine(
    store: DirectStore, name: str = "e1", functions: list[str] | None = None, *, sessions: bool = True
) -> Inbox:
    return await Inbox(store, name, [FUNCTION] if functions is None else functions, sessions).join()
