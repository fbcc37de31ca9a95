"""A store in a PostgreSQL database: opening it, its threads, its engines' leases, closing it (specs/postgres.md)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from durable.core.clock import Clock
from durable.core.default_observer import log_event
from durable.core.errors import StoreError, StoreRefused, StoreUnreachable
from durable.core.limits import OPEN_UNHEARD_S, REQUEST_UNHEARD_S, WAIT_UNHEARD_S
from durable.store.changes import StoreChange
from durable.store.direct_store import DirectStore
from durable.store.operations.large_values import LargeValues
from durable.store.operations.leases import EngineLeases
from durable.store.operations.transaction import Effects
from durable.store.postgres.address import Address, address_of
from durable.store.postgres.chunks import DatabaseChunks, ValueRows
from durable.store.postgres.connection import explain, prepare
from durable.store.postgres.holder import new_holder
from durable.store.postgres.liveness import DatabaseLiveness
from durable.store.postgres.local_reads import LocalKnowledge
from durable.store.postgres.notices import Notices
from durable.store.postgres.reads import PostgresReads
from durable.store.postgres.writer import PostgresWriter
from durable.store.postgres.writer_connection import WriterConnection
from durable.store.protocol.requests import Answer
from durable.store.protocol.waiting_requests import PATIENT
from durable.store.upkeep.database_run_files import sweep_machine
from durable.store.writer import Job

if TYPE_CHECKING:
    from durable.core.events import Observer

LEASE_MS = 10_000
"""How long an engine lives for others without a word from it."""
_LOOK_S = 0.25


class PostgresStore(DirectStore):
    """One schema of one database, open. Made by `open`."""

    _liveness: DatabaseLiveness
    _writer: PostgresWriter
    glance: LocalKnowledge
    _notices: Notices
    _session: WriterConnection
    _lease_ms: int
    _watching: asyncio.Task[None]
    chunks: DatabaseChunks

    def __init__(self, address: Address, *, observer: Observer) -> None:
        super().__init__(observer=observer)
        self.address = address
        self.name = address.shown
        self._holder = new_holder()
        self._joined: dict[str, dict[str, Any]] = {}

    def sweep_run_files(self, *, dry_run: bool = False) -> int:
        return sweep_machine(self.address, self.directory, dry_run=dry_run)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        create: bool = True,
        debug: bool = False,
        observer: Observer = log_event,
        lease_ms: int = LEASE_MS,
    ) -> PostgresStore:
        """Open, or make, the store at a `postgresql://` URL, in the schema `durable` or that of `?schema=`.

        `lease_ms`: how long an engine may not be heard of until others take what it ran. Raises StoreError with what is
        wrong and what to do: StoreUnreachable, StoreMissing, StoreNewer.
        """
        address = address_of(url)
        self = cls(address, observer=observer)
        self.key = await _prepared(address, create=create)
        self.directory = self.path = _own_files(self.key)
        session = self._session = WriterConnection(address)
        self._lease_ms = lease_ms
        self._liveness = DatabaseLiveness(session, self._holder, lease_ms)
        self._leases = EngineLeases(self._liveness, self._loop)
        self.reads = PostgresReads(address, self._liveness)
        self.chunks = DatabaseChunks(address)
        self._writer = PostgresWriter(
            address,
            session,
            name=self._holder,
            clock=clock,
            deliver=self._deliver,
            liveness=self._liveness,
            leases=self._leases,
            values=LargeValues(ValueRows(session), self.key),
            awaited=lambda: self._waiters.ids,
            told=lambda: self._waiters.halt_ids,
            debug=debug,
        )
        self._notices = Notices(
            address,
            self._liveness,
            holder=self._holder,
            lease_ms=lease_ms,
            on_look=self._writer.others_committed,
            on_lost=lambda engines: self._on_loop(self._join_again, engines),
        )
        self.glance = LocalKnowledge(self._leases, self._notices.surely_alive)
        self._writer.start()
        self._notices.start()
        await self.reads.engines()  # who is alive is asked for at once by whoever only looks
        self._watching = asyncio.create_task(self._watch_outage())
        return self

    # -- requests -----------------------------------------------------------------------------------------------

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer:
        """Send a request, wait for its commit. StoreRefused, StoreError, EngineClosed; StoreUnreachable when nothing
        was heard of the server for REQUEST_UNHEARD_S: then it may be done when that is back."""
        if kind in PATIENT:
            return await self.post(kind, data)
        future = self.post(kind, data)
        while True:
            done, _ = await asyncio.wait([future], timeout=_LOOK_S)
            if done:
                return future.result()
            if self._silent_s() >= REQUEST_UNHEARD_S:
                raise StoreUnreachable(f"{self._unreached(REQUEST_UNHEARD_S)}; {kind} may be done when it is back")

    def post(self, kind: str, data: Mapping[str, object], *, awaited: bool = True) -> asyncio.Future[Answer]:
        if kind == "engine.join":
            self._joined[str(data["engine"])] = dict(data)
        elif kind == "engine.serve" and str(data["engine"]) in self._joined:
            joined = self._joined[str(data["engine"])]
            functions: Any = data["functions"]
            joined["functions"] = [*joined["functions"], *functions]
        elif kind == "engine.leave":
            self._joined.pop(str(data["engine"]), None)
        return super().post(kind, data, awaited=awaited)

    def engine_alive(self, engine: str) -> bool:
        """Whether that engine lived at the last beat, a third of a lease ago at most."""
        return engine in self._liveness.living or engine in self._liveness.own

    def _committed(self, jobs: list[Job], effects: Effects, foreign: bool) -> None:
        if effects.regressed:
            self._go_back(effects.regressed)
        self.glance.committed(jobs, effects, foreign=foreign)
        super()._committed(jobs, effects, foreign)

    def tell_renewals(self, told: Callable[[float], None]) -> None:
        self._notices.tell_renewals(told)

    # -- being alive --------------------------------------------------------------------------------------------

    def _join_again(self, engines: frozenset[str]) -> None:
        """The lease of an engine was over, and others may have taken what it ran: it begins anew.

        One that came over HTTP joins anew by itself, here or at the server that it moved to.
        """
        if engines & self._joined.keys():
            self._tell_of_lapse()
        for engine in engines if self._closing is None else ():
            if engine in self._joined:
                super().post("engine.join", self._joined[engine])
            else:
                super().post("engine.lost", {"engine": engine})

    def _go_back(self, commits: int) -> None:
        """The database has lost what it had acknowledged: sessions whose workers know of that are restored from what it
        has; who waits for a promise that is gone hears so (D6)."""
        from durable.core.events import StoreRegressed

        regressed = StoreRegressed(self.name, commits)
        self._observe(regressed)
        self._join_again(self._liveness.own)
        self._call_watchers(StoreChange(foreign=True, regressed=True))
        for promise_id in self._waiters.ids:
            task = asyncio.create_task(self._refuse_if_gone(promise_id, str(regressed)))
            self._searches.add(task)
            task.add_done_callback(self._searches.discard)

    async def _refuse_if_gone(self, promise_id: str, reason: str) -> None:
        """Asked behind whatever is about to make it."""
        try:
            await self.request("promise.get", {"id": promise_id})
        except StoreRefused as refused:
            told = f"{refused.message}; {reason}"
            self._waiters.refused(promise_id, partial(StoreRefused, "promise.get", refused.status, told))
        except StoreError:
            pass  # whoever waits hears of an outage by itself

    def _tell_of_lapse(self) -> None:
        self._call_watchers(StoreChange(foreign=True, lapsed=True))

    def _call_watchers(self, change: StoreChange) -> None:
        for watcher in list(self._watchers):
            self._contained("watch", watcher, change)

    def _silent_s(self) -> float:
        """Seconds since either thread last heard of the server, or since the writer can make no connection."""
        since = self._writer.unreachable_since
        unconnected_s = 0.0 if since is None else time.monotonic() - since
        return max(unconnected_s, min(self._notices.silent_s(), time.monotonic() - self._session.heard_at))

    def _unreached(self, seconds: float) -> str:
        trouble = f" ({self._writer.trouble})" if self._writer.trouble else ""
        return f"store {self.name!r} has not been reached for {seconds:.0f} s{trouble}"

    async def _watch_outage(self) -> None:
        """Whoever must not wait for ever hears that the server is gone; the execution goes on when it is back."""
        told = False
        while True:
            await asyncio.sleep(_LOOK_S)
            # Before a lease is over, its engine has to stop what another one may take.
            over_soon = self._notices.silent_s() > self._lease_ms / 1000 * 2 / 3
            if over_soon and not told and self._liveness.own:
                self._tell_of_lapse()
            told = over_soon
            if self._silent_s() >= WAIT_UNHEARD_S:
                self.tell_of_trouble(StoreUnreachable(self._unreached(WAIT_UNHEARD_S)), time.monotonic())

    # -- the end ------------------------------------------------------------------------------------------------

    def _explained(self, error: Exception) -> StoreError | None:
        if isinstance(error, StoreError):
            return error
        return explain(self.address, error) if isinstance(error, psycopg.Error) else None

    def _gone(self) -> None:
        self._notices.stop()

    def _on_loop(self, callback: Any, *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop ended without closing the store
            self._loop.call_soon_threadsafe(callback, *arguments)

    async def _close(self) -> None:
        self._watching.cancel()
        self._notices.stop()
        self._writer.stop()
        await self._ended(self._writer)
        await asyncio.sleep(0)  # the last answers were scheduled on this loop before the thread ended
        await self._end_searches()
        await self.reads.close()
        await asyncio.to_thread(self.chunks.close)
        await self._ended(self._notices)
        self._fail_waiters()

    async def _ended(self, thread: threading.Thread) -> None:
        """Wait for a thread to end; one that a silent server holds up is left, and ends with the process."""
        while thread.is_alive() and self._silent_s() < REQUEST_UNHEARD_S:
            await asyncio.to_thread(thread.join, _LOOK_S)


async def _prepared(address: Address, *, create: bool) -> bytes:
    """The key of a store that is ready; a server that starts just now is waited for."""
    until = time.monotonic() + OPEN_UNHEARD_S
    while True:
        try:
            return await asyncio.to_thread(prepare, address, create=create)
        except StoreUnreachable:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(_LOOK_S)


def _own_files(key: bytes) -> Path:
    """Where this user's processes on this machine keep files of the store: directories of isolated sessions."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "durable" / hashlib.sha256(key).hexdigest()[:16]
