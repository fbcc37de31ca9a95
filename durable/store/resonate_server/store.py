"""A Resonate server as the store of an engine (specs/resonate-server.md)."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from durable.core.errors import (
    DurableError,
    EngineClosed,
    StoreError,
    StoreFull,
    StoreLacks,
    StoreRefused,
    StoreUnreachable,
)
from durable.core.events import BackgroundFailed, ExecutionHalted, Observer, ResultDiscarded
from durable.core.ids import PREFIX
from durable.core.limits import LEASE_MS, LISTEN_AGAIN_S, OUTSIDE_TASKS_MAX, REQUEST_UNHEARD_S, WAIT_UNHEARD_S
from durable.core.value_codec import ValueCodec
from durable.store.changes import StoreChange
from durable.store.operations.halted_waits import Halt
from durable.store.operations.leases import Held
from durable.store.operations.request_table import KINDS
from durable.store.protocol.requests import Answer
from durable.store.protocol.sealed_requests import sealed_data
from durable.store.protocol.waiting_requests import PATIENT
from durable.store.remote.client import StoreClient
from durable.store.remote.heartbeat import HeartbeatThread
from durable.store.remote.sdk_connection import RemoteConnection
from durable.store.remote.transit_key import transit_key
from durable.store.resonate_server.no_chunks import NoChunks
from durable.store.resonate_server.own_requests import OwnRequests
from durable.store.resonate_server.protocol_client import ask
from durable.store.resonate_server.reads import ServerReads
from durable.store.rows import PromiseRow, promise_row
from durable.store.waiters import Waiters

LOOK_S = 1.0
"""Between two looks of whoever watches: the server tells of settled promises alone, not of questions."""

_GROUP = "durable-listeners"


class _Promise(msgspec.Struct, frozen=True):
    promise: dict[str, Any]


class _Unblock(msgspec.Struct, frozen=True):
    data: _Promise


_unblocks = msgspec.json.Decoder(_Unblock)


class ResonateServerStore:
    """A Resonate server, reached. Bound to the running loop; closed by `close`."""

    file = local = None
    """The server keeps promises alone."""

    def __init__(self, url: str, token: str, client: StoreClient, observer: Observer) -> None:
        self.url = url
        self.key = transit_key(token) if token else os.urandom(32)
        self._token = token
        self.codec: ValueCodec | None = None
        self._client = client
        self._observe = observer
        self._loop = asyncio.get_running_loop()
        self._name = uuid.uuid4().hex
        self._waiters = Waiters()
        self._watchers: list[Callable[[StoreChange], None]] = []
        self._notes: dict[str, str] = {}
        self._posted: set[asyncio.Task[Answer]] = set()
        self._connections: list[RemoteConnection] = []
        self._leases: HeartbeatThread | None = None
        self.chunks = NoChunks(url)
        self._closed = False
        self.reads = ServerReads(url, self._plain, self._notes)
        self._own = OwnRequests(url, self._plain, self.reads.get, self._note_halt)
        self._looks: set[asyncio.Task[None]] = set()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look_again())]

    # -- requests -------------------------------------------------------------------------------------------------

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer:
        """The answer to a request. StoreLacks for what the protocol has not, StoreRefused, StoreError, EngineClosed."""
        known = KINDS.get(kind)
        data = data if self.codec is None else sealed_data(data, self.codec)
        if kind in self._own or known is None or not known.protocol:
            return await self._own.request(kind, data)
        return await self._plain(kind, data)

    async def _plain(self, kind: str, data: Mapping[str, object]) -> Answer:
        if self._closed and kind != "task.release":
            raise EngineClosed(f"the connection to {self.url} is closed")
        within_s = None if kind in PATIENT else REQUEST_UNHEARD_S
        answer = await ask(self._client, kind, data, within_s=within_s)
        if kind in ("promise.create", "task.create"):
            self.reads.know(answer.data["promise"]["id"])
        return answer

    def post(
        self,
        kind: str,
        data: Mapping[str, object],
        *,
        awaited: bool = True,  # noqa: ARG002 - as any store
    ) -> asyncio.Future[Answer]:
        """Send a request now."""
        task = self._loop.create_task(self.request(kind, data))
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)
        task.add_done_callback(_retrieved)
        return task

    def connect(self, engine_id: str, group: str) -> RemoteConnection:
        """A connection for the SDK. Closed with the store."""
        connection = RemoteConnection(self.url, self._token, engine_id, group, before=_nothing, on_full=self._full)
        self._connections.append(connection)
        return connection

    # -- what changes ---------------------------------------------------------------------------------------------

    def _full(self, error: StoreFull) -> None:
        self.tell_of_trouble(error, time.monotonic())

    def hurried(self) -> AbstractContextManager[None]:
        """Nothing waits for room here."""
        return nullcontext()

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

        halts: Halted as soon as its task is halted. Not `patient`: StoreUnreachable when the server has not been heard
        of for WAIT_UNHEARD_S.
        """
        if self._closed:
            raise EngineClosed(f"the connection to {self.url} is closed")
        self.reads.know(promise_id)
        with self._waiters.entered(promise_id, halts=halts, patient=patient) as future:
            self._begin_look(promise_id)
            return await future

    def _begin_look(self, promise_id: str) -> None:
        if not self._closed:
            look = self._loop.create_task(self._listen(promise_id))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _listen(self, promise_id: str) -> None:
        """Ask to be told of a promise; the answer says whether it is settled already."""
        address = f"poll://uni@{_GROUP}/{self._name}"
        try:
            try:
                listener = {"awaited": promise_id, "address": address}
                promise = (await self._plain("promise.register_listener", listener)).data["promise"]
            except StoreRefused as refused:
                if refused.status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
                    raise
                # no promise of others, or no address that this server knows: it is looked at again and again
                promise = (await self._plain("promise.get", {"id": promise_id})).data["promise"]
            if promise["state"] != "pending":
                self._waiters.settled(promise_row(promise))
            elif self._waiters.hears_of_halts(promise_id):
                for halt in await self.reads.halts(awaited=[promise_id]):
                    self._waiters.halted(halt.awaited, halt)
        except StoreRefused as refused:
            again = partial(StoreRefused, "promise.get", refused.status, refused.message)
            self._waiters.refused(promise_id, again)
        except DurableError:
            pass  # the next look asks again

    async def _follow(self) -> None:
        """The messages of the server to this process, for as long as the store is open."""
        async for event in self._client.events(f"/poll/{_GROUP}/{self._name}", self._connected):
            try:
                promise = promise_row(_unblocks.decode(event).data.promise)
            except Exception as error:  # a message of another kind, or an answer that cannot be read
                self._observe(BackgroundFailed("messages", repr(error)))
                continue
            self._waiters.settled(promise)
            self._tell(StoreChange(foreign=True, settled=frozenset({promise.id})))

    def _connected(self) -> None:
        """Look again: nobody told of promises that were settled while there was no stream."""
        for promise_id in self._waiters.ids:
            self._begin_look(promise_id)

    async def _look_again(self) -> None:
        looked = self._loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            if self._client.unreachable_s() >= WAIT_UNHEARD_S:
                self._waiters.outage(lambda: StoreUnreachable(self._client.unanswered(WAIT_UNHEARD_S)))
            self._tell(StoreChange(foreign=True))
            if self._loop.time() - looked >= LISTEN_AGAIN_S:
                looked = self._loop.time()
                self._connected()

    def watch(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]:
        """Call back on the loop when something may have changed; the answer ends it."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback) if callback in self._watchers else None

    def _tell(self, change: StoreChange) -> None:
        for watcher in [*self._watchers]:
            try:
                watcher(change)
            except Exception as error:
                self._observe(BackgroundFailed("watch", repr(error)))

    def _note_halt(self, task_id: str, note: str) -> None:
        """A task was halted from here: the protocol keeps no note, so this process does."""
        self._notes[task_id] = note
        while len(self._notes) > OUTSIDE_TASKS_MAX:
            del self._notes[next(iter(self._notes))]
        self._observe(ExecutionHalted(task_id.removeprefix(PREFIX), note))
        self._waiters.halted(task_id, Halt(task_id, task_id, note))
        self._tell(StoreChange(foreign=False, stopped=frozenset({task_id}), halted=frozenset({(task_id, note)})))

    # -- leases, engines ------------------------------------------------------------------------------------------

    def keep_leases(self, engine: str, held: Held) -> None:
        """Keep the leases of what an engine of this process runs, until the store is closed."""
        self._own.held = held
        self._leases = HeartbeatThread(self.url, self._token, engine, held, LEASE_MS / 1000)
        self._leases.start()

    def discarded(self, task_id: str, step: str, reason: str) -> None:
        """The server threw a result away, since the task was another's."""
        self._observe(ResultDiscarded(task_id.removeprefix(PREFIX), step, reason))

    def engine_alive(self, engine: str) -> bool:  # noqa: ARG002 - the port's
        """Never known: the server has tasks and leases, no engines."""
        return False

    def require(self, feature: str) -> None:
        """StoreLacks for what only our own stores have."""
        raise StoreLacks(self.url, feature)

    async def close(self) -> None:
        """Fail requests and waiters with EngineClosed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._leases is not None:
            self._leases.end()
        await self._own.close()
        under_way = [*self._tasks, *self._looks, *self._posted]
        for task in under_way:
            task.cancel()
        await asyncio.wait(under_way)
        for connection in self._connections:
            await connection.stop()
        await self._client.close()
        self._waiters.close(lambda: EngineClosed(f"the connection to {self.url} was closed"))


async def _nothing() -> None:
    """Requests of the SDK wait for none of ours."""


def _retrieved(task: asyncio.Task[Answer]) -> None:
    error = None if task.cancelled() else task.exception()
    assert error is None or isinstance(error, DurableError)
