"""Heartbeats to a store elsewhere, from a thread with its own connection: no blocked loop stops them (http.md, L5).

A process that is stopped, or whose threads stand still, sends none. Then the leases run out, and the fence decides.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

import msgspec

from durable.core.errors import DurableError, EngineClosed
from durable.core.events import Event
from durable.core.limits import HEARTBEAT_MS
from durable.store.operations.leases import Held
from durable.store.remote.client import StoreClient

_BEATS_IN_A_LEASE = 3
_TASKS_MAX = 10_000
"""Tasks of one request: far below what the server takes."""


class HeartbeatThread(threading.Thread):
    """One engine's heartbeats for as long as its store is open. It has its own loop and its own connections."""

    def __init__(self, url: str, token: str, engine: str, held: Held, lease_s: float) -> None:
        super().__init__(name="durable-leases", daemon=True)
        self._url = url
        self._token = token
        self._engine = engine
        self._held = held
        self._interval_s = self._interval(lease_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = threading.Event()
        self._ended = asyncio.Event()

    def lease(self, lease_s: float) -> None:
        """The server said how long its engines live unheard."""
        self._interval_s = self._interval(lease_s)

    def end(self) -> None:
        """Send no more heartbeats; the thread ends by itself."""
        self._ending.set()
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                pass  # it has ended

    def run(self) -> None:
        asyncio.run(self._beat())

    @staticmethod
    def _interval(lease_s: float) -> float:
        return min(HEARTBEAT_MS / 1000, lease_s / _BEATS_IN_A_LEASE)

    async def _beat(self) -> None:
        self._loop = asyncio.get_running_loop()
        client = StoreClient(self._url, self._token, _unheard)
        try:
            while not self._ending.is_set():
                await self._pause()
                for tasks in _by_origin(self._held.versions()):
                    for start in range(0, len(tasks), _TASKS_MAX):
                        await self._send(client, tasks[start : start + _TASKS_MAX])
        finally:
            await client.close()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval_s):
                await self._ended.wait()
        except TimeoutError:
            pass

    async def _send(self, client: StoreClient, tasks: list[dict[str, object]]) -> None:
        """One heartbeat. One that fails is not repeated: the next is soon."""
        body = msgspec.json.encode({"kind": "task.heartbeat", "data": {"pid": self._engine, "tasks": tasks}})
        headers = {"content-type": "application/json"}
        try:
            async with asyncio.timeout(self._interval_s):
                await client.send("POST", "/", body, headers, once=True)
        except (TimeoutError, DurableError, EngineClosed):
            pass


def _by_origin(versions: dict[str, int]) -> list[list[dict[str, object]]]:
    """The tasks of each origin (an id up to its first `:`): a heartbeat with several is refused."""
    found: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    for task, version in versions.items():
        found[task.partition(":")[0]].append({"id": task, "version": version})
    return [*found.values()]


def _unheard(_event: Event) -> None:
    """The store's own connection tells of outages."""
