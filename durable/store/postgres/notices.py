"""A thread with a connection of its own: it hears that other engines committed, renews the leases of ours, and ends the
transactions of processes that stopped in them.

It needs neither the loop, which a step may block, nor the writer, which may wait for a lock.
"""

from __future__ import annotations

import math
import os
import random
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from durable.core.errors import StoreError
from durable.store.operations.lock_keys import store_lock
from durable.store.postgres.address import Address
from durable.store.postgres.connection import connect, is_lost, is_pooled
from durable.store.postgres.liveness import NOW, DatabaseLiveness

BEATS = 3
"""Beats in a lease: two may be lost."""
RECONNECT_S = 0.5
DIRECT_RETRY_S = 30.0
"""Between two tries to come past a pooler to a database that did not answer there."""
STOPPED_S = 8
"""A process that stops in a transaction holds others up for so long, and a beat: then they end its connection. The
server's own limit for idle transactions does not see one that stops between the statements of a pipeline."""

_PATH = b"SELECT set_config('search_path', $1, true)"
_RENEW = f"UPDATE engine_leases SET until={NOW} + $1 WHERE holder=$2 AND until >= {NOW} RETURNING engine".encode()
_LIVING = f"SELECT engine FROM engine_leases WHERE until >= {NOW}".encode()
_SILENT = (
    b"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
    b" AND xact_start IS NOT NULL AND wait_event = 'ClientRead' AND pid <> pg_backend_pid()"
    b" AND state_change < clock_timestamp() - make_interval(secs => $1)"
)
_END_SILENT = (
    b"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    b" AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    b" AND (classid::bigint, objid::bigint) = ($1, $2) AND pid = ANY ($3)"
)
"""Every transaction of a store that writes holds the store's own lock, as a number of two halves."""


class Notices(threading.Thread):
    """`on_look`: others committed. `on_lost`: those engines lost their leases."""

    def __init__(
        self,
        address: Address,
        liveness: DatabaseLiveness,
        *,
        holder: str,
        lease_ms: int,
        on_look: Callable[[], None],
        on_lost: Callable[[frozenset[str]], None],
    ) -> None:
        super().__init__(name="durable-notices", daemon=True)
        self._address = address
        self._liveness = liveness
        self._holder = holder
        self._lease_ms = lease_ms
        self._on_look = on_look
        self._on_lost = on_lost
        self._on_renewed: Callable[[float], None] | None = None
        self._stopping = False
        self._ending = threading.Lock()
        """Held while the pipe is written or closed: later its number may be another file's."""
        self._ended = False
        self._heard = self._renewed = time.monotonic()
        self._reader, self._waker = os.pipe()

    def silent_s(self) -> float:
        """Seconds since this thread last asked something that the server answered."""
        return time.monotonic() - self._heard

    def surely_alive(self) -> bool:
        """Whether the leases of our engines are surely not over. From any thread."""
        return time.monotonic() - self._renewed < self._lease_ms / 1000 * 2 / 3

    def tell_renewals(self, told: Callable[[float], None]) -> None:
        """Tell until when workers may live (E6): before a lease is taken, and at each renewal, from this thread."""
        told(self._safe_until())
        self._on_renewed = told

    def _safe_until(self) -> float:
        """When a lease that is given or renewed now has so much left that its engine's workers can still be ended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._lease_ms / 1000 * 5 / 6

    def stop(self) -> None:
        """End the thread soon. Idempotent."""
        self._stopping = True
        with self._ending:
            if not self._ended:
                os.write(self._waker, b"x")

    def run(self) -> None:
        try:
            while not self._stopping:
                try:
                    with self._connect() as connection:
                        self._listen(connection)
                except (psycopg.Error, StoreError, OSError, ValueError) as error:
                    if isinstance(error, psycopg.Error) and not is_lost(error):
                        time.sleep(RECONNECT_S)  # something else is wrong; the writer tells of it
                    self._wait(None, RECONNECT_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        finally:
            with self._ending:
                self._ended = True
                os.close(self._reader)
                os.close(self._waker)

    def _connect(self) -> psycopg.Connection[Any]:
        """Past a pooler, where its database is named and answers; leases are renewed through the pooler, too."""
        if self._address.direct is not None:
            with suppress(StoreError):
                return connect(self._address.direct)
        return connect(self._address)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        """Hear of others' commits and renew leases until the connection is lost, or a better one may be had."""
        again_at = math.inf
        if is_pooled(connection):
            # LISTEN would stay with one of the pooler's connections, and reach whoever has that.
            again_at = time.monotonic() + DIRECT_RETRY_S if self._address.direct is not None else math.inf
        else:
            connection.execute(f'LISTEN "{self._address.channel}"'.encode())
        self._on_look()  # what was told before nobody heard
        beat_s = self._lease_ms / 1000 / BEATS
        next_beat = 0.0
        while not self._stopping and time.monotonic() < again_at:
            if time.monotonic() >= next_beat:
                self._beat(connection)
                next_beat = time.monotonic() + beat_s
            self._wait(connection, max(0.0, next_beat - time.monotonic()))
            told = [each.payload for each in connection.notifies(timeout=0)]
            if any(payload != self._holder for payload in told):
                self._on_look()

    def _wait(self, connection: psycopg.Connection[Any] | None, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.select(seconds)

    def _beat(self, connection: psycopg.Connection[Any]) -> None:
        asked, began, safe_until = self._liveness.own, time.monotonic(), self._safe_until()
        with connection.pipeline(), connection.transaction():
            connection.execute(_PATH, (self._address.search_path,))
            renewed = connection.execute(_RENEW, (self._lease_ms, self._holder))
            living = connection.execute(_LIVING)
            kept = frozenset(row[0] for row in renewed.fetchall())
            self._liveness.living = frozenset(row[0] for row in living.fetchall())
        lost = asked & self._liveness.own - kept
        # From before the question: this process may have been stopped until now, and the leases given then be over.
        self._heard, self._renewed = began, -math.inf if lost else began
        if lost:
            self._on_lost(lost)
        elif asked and self._on_renewed is not None:
            self._on_renewed(safe_until)
        with suppress(psycopg.errors.InsufficientPrivilege):  # of a process that uses another role
            self._end_stopped(connection)

    def _end_stopped(self, connection: psycopg.Connection[Any]) -> None:
        silent = [row[0] for row in connection.execute(_SILENT, (STOPPED_S,)).fetchall()]
        if silent:
            number = store_lock(self._address.schema) % 2**64
            connection.execute(_END_SILENT, (number >> 32, number % 2**32, silent))
