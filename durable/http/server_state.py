"""The state of one server beside its routes: the store, who may ask, who is connected, and what is due each second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from checkpoint.blobs.directory import Blobs
from durable.core.events import BackgroundFailed, Observer, log_event
from durable.core.limits import LEASE_MS, POLL_AGAIN_S, POLL_S, RATE_WAIT_S, REQUESTS_BURST_MAX, REQUESTS_PER_S_MAX
from durable.http.access.host_check import HostCheck
from durable.http.access.rate_limit import Rate
from durable.http.access.request_audit import RequestAudit
from durable.http.access.tokens import Tokens, TokensFile
from durable.http.change_feed import Feed
from durable.http.connections import ConnectionGuard, connections_max
from durable.http.manifest_resealing import Seals
from durable.http.metrics import ServerMetrics
from durable.http.prompt_api import Answers
from durable.http.remote_leases import RemoteLeases
from durable.http.signal_api import SignalApi
from durable.http.sse import Messages
from durable.http.store_api import Desk
from durable.http.stream_api import StreamApi
from durable.sessions.checkpoints.retention import blobs_of
from durable.store.direct_store import DirectStore
from durable.store.remote.transit_key import transit_key

TURN_S = 1.0
"""How often leases and connections are looked at."""


class Listener:
    """One address and its messages, over as many streams as its client needs."""

    def __init__(self, store: DirectStore, group: str, pid: str) -> None:
        self.group = group
        self.messages = Messages()
        self.connection = store.connect(pid, group)
        self.connection.recv(self.messages.put)
        self._ending: asyncio.Task[None] | None = None

    def keep(self, end: Callable[[], Coroutine[None, None, None]]) -> None:
        """A stream ended by its age: wait for the next one a while, then end."""

        async def later() -> None:
            await asyncio.sleep(POLL_AGAIN_S)
            self._ending = None
            await end()

        self._ending = asyncio.create_task(later())

    def between_streams(self) -> bool:
        """Whether it waits for its next stream, which this call begins."""
        if self._ending is None or self.messages.closed:
            return False
        self._ending.cancel()
        self._ending = None
        return True

    async def end(self) -> None:
        """Take no more messages."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        self.messages.close()
        await self.connection.stop()


class Site:
    """One served store.

    token: the server's own, with which engines work on the store. tokens_file: those of people and programs, with their
    roles. runs: executions and sessions run in this process, too; engine_options: those of `durable.open` for that.
    examine: what `durable doctor` does; runs in a thread. lease_s: how long an engine elsewhere may be silent. clock:
    monotonic, in seconds. StoreError for a file of tokens that cannot be read.
    """

    def __init__(
        self,
        store: DirectStore,
        token: str,
        *,
        tokens_file: TokensFile | None = None,
        host_check: HostCheck | None = None,
        runs: bool = False,
        engine_options: Mapping[str, Any] | None = None,
        examine: Callable[[], Sequence[object]] | None = None,
        observer: Observer = log_event,
        lease_s: float = LEASE_MS / 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.leases = RemoteLeases(lease_s)
        self.desk = Desk(store, Seals(store.key, transit_key(token)), self.leases, clock)
        self.answers = Answers(store, token)
        self.signals = SignalApi(store)
        self.streams = StreamApi(store)
        self.rate = Rate(REQUESTS_PER_S_MAX, REQUESTS_BURST_MAX, RATE_WAIT_S)
        self.guard = ConnectionGuard(connections_max())
        self.blobs: Blobs = blobs_of(store)
        self.clock = clock
        self.body_bytes = 0
        """Of bodies that are being read or answered."""
        self.ending = False
        self.ended = asyncio.Event()
        """Set when streams are to end."""
        self.runs = runs
        self.engine: asyncio.Future[Any] | None = None
        """The server's own engine, where the API has needed it."""
        self.engine_options = dict(engine_options or {})
        self.examine = examine
        self.events: Any = None
        """The log of events, where somebody has asked for it."""
        self.stream_s = POLL_S
        """How long an event stream lasts."""
        self.tokens = Tokens(token, tokens_file)
        self.tokens.refresh()
        self.audit = RequestAudit(store)
        self.host_check = host_check or HostCheck()
        self.metrics = ServerMetrics(store, observer)
        self.observe: Observer = self.metrics
        self._listeners: dict[str, Listener] = {}
        self._pages: set[Callable[[], None]] = set()

    @asynccontextmanager
    async def poll(self, group: str, pid: str) -> AsyncIterator[Messages]:
        """The messages for one address. A newer stream of the same process takes the place of an older one; one that
        follows a stream that ended by its age goes on with its messages."""
        listener = self._listeners.pop(pid, None)
        if listener is not None and (listener.group != group or not listener.between_streams()):
            await listener.end()
            listener = None
        if listener is None:
            listener = Listener(self.store, group, pid)
            await listener.connection.start()
        self._listeners[pid] = listener
        self.leases.opened(pid)
        try:
            yield listener.messages
        finally:
            self.leases.closed(pid, self.clock())
            if listener.messages.closed or self._listeners.get(pid) is not listener:
                await self._end(pid, listener)
            else:
                listener.keep(lambda: self._end(pid, listener))

    async def _end(self, pid: str, listener: Listener) -> None:
        if self._listeners.get(pid) is listener:
            del self._listeners[pid]
        await listener.end()

    @contextmanager
    def changes(self, client: str) -> Iterator[Feed]:
        """The store's changes for one client; a newer stream takes the place of an older one."""
        older = self.desk.feeds.get(client)
        if older is not None:
            older.close()
        feed = self.desk.feeds[client] = Feed(self.store)
        try:
            yield feed
        finally:
            feed.close()
            if self.desk.feeds.get(client) is feed:
                del self.desk.feeds[client]

    def streaming(self, end: Callable[[], None]) -> Callable[[], None]:
        """Call `end` when streams are to end; returns what takes that back, for a stream that has ended by itself."""
        self._pages.add(end)
        return lambda: self._pages.discard(end)

    async def keep(self) -> None:
        """Each second: engines whose lease is over are dead, connections that took too long are dropped, tokens that
        changed are read."""
        while True:
            try:
                self.guard.sweep(asyncio.get_running_loop().time())
                if (error := self.tokens.refreshed()) is not None:
                    self.observe(BackgroundFailed("reading the tokens, of which none is good now", str(error)))
                for engine in self.leases.engines():
                    if not self.store.holds(engine):
                        self.leases.leave(engine)  # it came to another server, or has to join again
                for engine in self.leases.expired(self.clock()):
                    await self.store.request("engine.lost", {"engine": engine})
            except Exception as failure:  # it must go on: nobody else drops the dead and the slow
                self.observe(BackgroundFailed("the server's upkeep", repr(failure)))
            await asyncio.sleep(TURN_S)

    def end_streams(self) -> None:
        """Every client is told that its stream is over; none begins any more."""
        self.ending = True
        for end in list(self._pages):
            end()
        self.ended.set()
        for listener in list(self._listeners.values()):
            listener.messages.close()
        for feed in list(self.desk.feeds.values()):
            feed.close()

    async def close(self) -> None:
        """End what the API began: its engine, and the log of events. The store stays open."""
        if self.events is not None:
            await self.events.close()
        if self.engine is not None:
            await asyncio.wait([self.engine])
            if self.engine is not None and self.engine.exception() is None:
                await self.engine.result().close()
        self.audit.flush()
