"""A store elsewhere: the face of `durable.store.sqlite.store.Store` over HTTP and an event stream (specs/http.md)."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import msgspec

from durable.core.errors import (
    DurableError,
    EngineClosed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
)
from durable.core.events import BackgroundFailed, ExecutionHalted, Observer, ResultDiscarded, log_event
from durable.core.ids import PREFIX
from durable.core.limits import LEASE_MS, OPEN_UNHEARD_S, REQUEST_UNHEARD_S, SHUTDOWN_S, WAIT_UNHEARD_S
from durable.core.value_codec import ValueCodec
from durable.store.changes import StoreChange
from durable.store.operations.leases import Held
from durable.store.protocol.requests import Answer
from durable.store.protocol.sealed_requests import sealed_data
from durable.store.protocol.waiting_requests import PATIENT
from durable.store.remote.batches import Lane
from durable.store.remote.chunks import RemoteChunks
from durable.store.remote.client import StoreClient
from durable.store.remote.heartbeat import HeartbeatThread
from durable.store.remote.reads import RemoteReads
from durable.store.remote.request_headers import BATCH, CLIENT
from durable.store.remote.sdk_connection import RemoteConnection
from durable.store.remote.transit_key import transit_key
from durable.store.rows import PromiseRow, opened_row
from durable.store.waiters import Waiters

_VARIABLE = "DURABLE_TOKEN"

TURNS = 10
"""How often in a lease the engine looks whether it is heard."""

LEASE_S_MIN = 0.05

STALL_S = 1.0
"""A timer that is late by more was kept waiting by the loop."""

_GREETING = b'{"kind":"engine.list","data":{}}'

AWAIT_AT_ONCE = 1_000
"""Promises in one `settled.await`."""


class _Event(msgspec.Struct, frozen=True):
    """One of the fields is there."""

    change: dict[str, Any] | None = None
    settled: PromiseRow | None = None
    halted: str | None = None
    missing: str | None = None
    status: int = 404
    message: str = ""


_events = msgspec.json.Decoder(_Event)


class RemoteStore:
    """A served store, reached. Made by `open`; bound to the running loop; closed by `close`."""

    reads: RemoteReads
    chunks: RemoteChunks
    file = local = None
    """The store's file is opened by its server."""

    def __init__(self, url: str, token: str, observer: Observer) -> None:
        self.url = url
        self.key = transit_key(token)
        self.codec: ValueCodec | None = None
        self._token = token
        self._observe = observer
        self._name = uuid.uuid4().hex
        self._loop = asyncio.get_running_loop()
        self._client = StoreClient(url, token, observer)
        self._lane = Lane(self._exchange, self._full)
        self._waiters = Waiters()
        self._watchers: list[Callable[[StoreChange], None]] = []
        self._wanted: dict[str, None] = {}
        self._looks: set[asyncio.Task[None]] = set()
        self._alive: frozenset[str] = frozenset()
        self._joined: dict[str, Any] | None = None
        self._heard = self._loop.time()
        self._lease_s = LEASE_MS / 1000
        self._silent = False
        self._closed = False
        self._connections: list[RemoteConnection] = []
        self._leases: HeartbeatThread | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.reads = RemoteReads(self._client, self._living)
        self.chunks = RemoteChunks(self._client, self._loop)

    @classmethod
    async def open(cls, url: str, *, token: str | None = None, observer: Observer = log_event) -> Self:
        """Reach the store that `durable serve` offers at `url`.

        `token` is what its token file holds; DURABLE_TOKEN when None. Raises StoreError with what is wrong.
        """
        found = token or os.environ.get(_VARIABLE)
        if not found:
            raise StoreDenied(f"{url} needs a token: set {_VARIABLE} to what `durable serve` keeps in <store>.token")
        self = cls(url.rstrip("/"), found, observer)
        try:
            await self._greet()
        except BaseException:
            await self.close()
            raise
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._beat())]
        return self

    async def _greet(self) -> None:
        status, body = await self._client.send("POST", "/", _GREETING, once=True, within_s=OPEN_UNHEARD_S)
        try:
            known = "engines" in msgspec.json.decode(body)["data"]
        except (msgspec.MsgspecError, KeyError, TypeError):
            known = False
        if status != 200 or not known:
            raise StoreError(f"{self.url} is not a store served by `durable serve` (status {status})")

    # -- requests -------------------------------------------------------------------------------------------------

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer:
        """Send a request, wait for its commit. Raises StoreRefused (status 400 or more), StoreError, EngineClosed."""
        if kind in PATIENT:
            return await self.post(kind, data)
        if kind != "engine.leave":
            return await self._answered(kind, self.post(kind, data))
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                return await self.post(kind, data)
        except TimeoutError:
            return Answer(200, {})  # it cannot be told; the lease ends without it

    async def _answered(self, kind: str, future: asyncio.Future[Answer]) -> Answer:
        """The answer; StoreUnreachable when the server was not heard for REQUEST_UNHEARD_S since it was asked."""
        since = self._loop.time()
        try:
            while True:
                until = max(since, self._heard) + REQUEST_UNHEARD_S
                if until <= self._loop.time():
                    text = self._client.unanswered(REQUEST_UNHEARD_S)
                    raise StoreUnreachable(
                        f"{text} {kind} may be done when it is back; asking again does no more than once"
                    )
                await asyncio.wait([future], timeout=until - self._loop.time())
                if future.done():
                    return future.result()
                if self._loop.time() > until + STALL_S:
                    since = self._loop.time()  # this loop stood still, so it could not hear either
        finally:
            future.cancel()

    def post(
        self,
        kind: str,
        data: Mapping[str, object],
        *,
        awaited: bool = True,  # noqa: ARG002 - as any store
    ) -> asyncio.Future[Answer]:
        """Enqueue a request now: requests commit in the order of these calls."""
        if kind == "engine.join":
            self._joined = dict(data)
        elif kind == "engine.serve" and self._joined is not None:
            self._joined["functions"] = [*self._joined["functions"], *_texts(data["functions"])]
        elif kind == "engine.leave":
            self._joined = None
        future = self._lane.post(kind, data if self.codec is None else sealed_data(data, self.codec))
        if kind == "engine.join":
            future.add_done_callback(self._told_lease)
        return future

    async def flushed(self) -> None:
        """Return when everything posted so far is committed, or refused."""
        await self._lane.flushed()

    async def _exchange(self, number: int, body: bytes) -> tuple[int, bytes]:
        headers = {CLIENT: self._name, BATCH: str(number), "content-type": "application/json"}
        found = await self._client.send("POST", "/batch", body, headers)
        self._hear()
        return found

    def connect(self, engine_id: str, group: str) -> RemoteConnection:
        """A connection for the SDK, through its own HTTP and event-stream connections. Closed with the store."""
        connection = RemoteConnection(self.url, self._token, engine_id, group, before=self.flushed, on_full=self._full)
        self._connections.append(connection)
        return connection

    # -- what changes ---------------------------------------------------------------------------------------------

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """In this block nothing waits for room on the server's disk."""
        self._lane.patient = False
        try:
            yield
        finally:
            self._lane.patient = True

    def _full(self, error: StoreFull) -> None:
        self.tell_of_trouble(error, time.monotonic())

    def tell_of_trouble(self, error: StoreError, at: float) -> None:
        """Tell those who must not wait for ever, and waited already at that time, in monotonic seconds."""
        self._waiters.outage(lambda: type(error)(str(error)), at)

    async def settled(
        self,
        promise_id: str,
        *,
        halts: bool = False,
        patient: bool = True,
        fresh: bool = False,  # noqa: ARG002
    ) -> PromiseRow:
        """Wait until it is settled by anyone anywhere. StoreRefused 404 if there is none; EngineClosed.

        halts: Halted as soon as it, or what it waits for, is halted. Not `patient`: StoreUnreachable when the server
        has not been heard of for WAIT_UNHEARD_S.
        """
        if self._closed:
            raise EngineClosed(f"the connection to {self.url} is closed")
        with self._waiters.entered(promise_id, halts=halts, patient=patient) as future:
            self._want(promise_id)
            return await future

    def _want(self, promise_id: str) -> None:
        """Ask to be told; those of one turn of the loop are asked for together."""
        if not self._wanted:
            self._loop.call_soon(self._ask)
        self._wanted[promise_id] = None

    def _ask(self) -> None:
        wanted, self._wanted = [*self._wanted], {}
        for start in range(0, len(wanted), AWAIT_AT_ONCE):
            some = wanted[start : start + AWAIT_AT_ONCE]
            asked = {"client": self._name, "ids": some, "halts": [*filter(self._waiters.hears_of_halts, some)]}
            self._lane.post("settled.await", asked).add_done_callback(_retrieved)  # 404: the stream is not there yet

    def watch(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]:
        """Call back on the loop after commits that changed something; the answer ends it."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback) if callback in self._watchers else None

    async def _follow(self) -> None:
        """The stream of changes, for as long as the store is open."""
        async for event in self._client.events(f"/changes/{self._name}", self._connected):
            self._hear()
            try:
                self._told(_events.decode(event))
            except Exception as error:
                self._observe(BackgroundFailed("changes", repr(error)))

    def _connected(self) -> None:
        """A new stream knows nothing of what is awaited, and what changed meanwhile is not known here."""
        self._hear()
        for promise_id in self._waiters.ids:
            self._want(promise_id)
        self._call_watchers(StoreChange(foreign=True))
        if self._joined is not None:
            self._live()

    def _told(self, event: _Event) -> None:
        if event.settled is not None:
            self._waiters.settled(opened_row(event.settled))
        if event.missing is not None:
            self._waiters.refused(event.missing, partial(StoreRefused, "promise.get", event.status, event.message))
        if event.halted is not None and self._waiters.hears_of_halts(event.halted):
            look = self._loop.create_task(self._tell_halt(event.halted))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
        if event.change is not None:
            change = msgspec.convert({"foreign": False, **event.change}, StoreChange)
            for task, note in sorted(change.halted):
                self._observe(ExecutionHalted(task.removeprefix(PREFIX), note))
            self._call_watchers(change)

    async def _tell_halt(self, promise_id: str) -> None:
        """Tell waiters of a halt that the server reported. Who began to wait since is told only if it still holds."""
        try:
            found = await self.reads.halts(awaited=[promise_id])
        except DurableError:
            return  # the store is closed, or the connection begins anew, and with it this
        if not found and self._waiters.hears_of_halts(promise_id):
            self._want(promise_id)
        for halt in found:
            self._waiters.halted(promise_id, halt)

    def _call_watchers(self, change: StoreChange) -> None:
        for watcher in list(self._watchers):
            try:
                watcher(change)
            except Exception as error:
                self._observe(BackgroundFailed("watch", repr(error)))

    # -- leases -------------------------------------------------------------------------------------------------

    def keep_leases(self, engine: str, held: Held) -> None:
        """Keep the leases of what an engine of this process runs, until the store is closed (http.md, L5)."""
        self._leases = HeartbeatThread(self.url, self._token, engine, held, self._lease_s)
        self._leases.start()

    def discarded(self, task_id: str, step: str, reason: str) -> None:
        """The server threw a result away, since the task was another's."""
        self._observe(ResultDiscarded(task_id.removeprefix("exec:"), step, reason))

    # -- being alive ----------------------------------------------------------------------------------------------

    def require(self, feature: str) -> None:
        """Nothing is lacking: the server has every request of ours."""

    def engine_alive(self, engine: str) -> bool:
        """Whether that engine lived when `reads.engines` was asked last."""
        return engine in self._alive

    async def _living(self) -> None:
        answer = await self.request("engine.list", {})
        self._alive = frozenset(each["engine"] for each in answer.data["engines"] if each["alive"])

    async def _beat(self) -> None:
        """Three beats in a lease. Two of them unanswered, and this engine may soon be dead to others (L3)."""
        beat_at = self._loop.time()
        while True:
            asleep = self._loop.time()
            await asyncio.sleep(self._lease_s / TURNS)
            now = self._loop.time()
            self._tell_of_outage()
            if self._joined is None:
                continue
            if now >= beat_at:
                beat_at = now + self._lease_s / 3
                self._live()
            stalled = now - asleep > self._lease_s / 3  # this loop stood still, so it could not hear either
            if now - self._heard > self._lease_s * 2 / 3 and not self._silent and not stalled:
                self._silent = True
                self._call_watchers(StoreChange(foreign=True, lapsed=True))

    def _tell_of_outage(self) -> None:
        """Whoever must not wait for ever hears that the server is gone; the execution goes on when it is back."""
        if self._client.unreachable_s() >= WAIT_UNHEARD_S:
            self._waiters.outage(lambda: StoreUnreachable(self._client.unanswered(WAIT_UNHEARD_S)))

    def _live(self) -> None:
        """Say that this engine lives; join again when the server does not know it."""
        if self._joined is not None:
            self._lane.post("engine.beat", {"engine": self._joined["engine"]}).add_done_callback(self._beaten)

    def _beaten(self, beat: asyncio.Future[Answer]) -> None:
        error = None if beat.cancelled() else beat.exception()
        if isinstance(error, StoreRefused) and error.status == 404 and self._joined is not None:
            self._lane.post("engine.join", self._joined).add_done_callback(self._told_lease)
        elif error is None and not beat.cancelled():
            self._told_lease(beat)

    def _told_lease(self, answer: asyncio.Future[Answer]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            cancelled = answer.result().data.get("cancelled")
            if cancelled:  # while the stream of changes was away, it may be
                self._call_watchers(StoreChange(foreign=False, cancelled=frozenset(cancelled)))
            self._lease_s = max(LEASE_S_MIN, float(answer.result().data.get("lease_ms", LEASE_MS)) / 1000)
            if self._leases is not None:
                self._leases.lease(self._lease_s)

    def _hear(self) -> None:
        self._heard, self._silent = self._loop.time(), False

    async def close(self) -> None:
        """Fail requests and waiters with EngineClosed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._leases is not None:
            self._leases.end()
        tasks = [*self._tasks, *self._looks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connection in self._connections:
            await connection.stop()
        await self._drained()
        await self._client.close()
        await self._lane.close()
        self._waiters.close(lambda: EngineClosed(f"the connection to {self.url} was closed"))

    async def _drained(self) -> None:
        """Commit what is posted before the end, as in a store on a file, where the server can be reached."""
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                await self._lane.flushed()
        except TimeoutError:
            pass


def _texts(value: object) -> list[str]:
    return msgspec.convert(value, list[str])


def _retrieved(future: asyncio.Future[Answer]) -> None:
    error = None if future.cancelled() else future.exception()
    assert error is None or isinstance(error, DurableError)
