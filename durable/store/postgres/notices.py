"""A thread with a connection of its own: it hears that other engines committed, and renews the leases of ours.

It needs neither the loop, which a step may block, nor the writer, which may wait for a lock.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from durable.core.errors import StoreError
from durable.store.postgres.address import Address
from durable.store.postgres.connection import connect, is_lost
from durable.store.postgres.liveness import NOW, DatabaseLiveness

BEATS = 3
"""Beats in a lease: two may be lost."""
RECONNECT_S = 0.5

_PATH = b"SELECT set_config('search_path', $1, true)"
_RENEW = f"UPDATE engine_leases SET until={NOW} + $1 WHERE holder=$2 AND until >= {NOW} RETURNING engine".encode()
_LIVING = f"SELECT engine FROM engine_leases WHERE until >= {NOW}".encode()


class Notices(threading.Thread):
    """`on_look`: others committed. `on_silent`: our leases may be over soon. `on_lost`: those engines lost theirs."""

    def __init__(
        self,
        address: Address,
        liveness: DatabaseLiveness,
        *,
        holder: str,
        lease_ms: int,
        on_look: Callable[[], None],
        on_silent: Callable[[], None],
        on_lost: Callable[[frozenset[str]], None],
    ) -> None:
        super().__init__(name="durable-notices", daemon=True)
        self._address = address
        self._liveness = liveness
        self._holder = holder
        self._lease_ms = lease_ms
        self._on_look = on_look
        self._on_silent = on_silent
        self._on_lost = on_lost
        self._stopping = False
        self._renewed = time.monotonic()
        self._silent = False
        self._reader, self._waker = os.pipe()

    def surely_alive(self) -> bool:
        """Whether the leases of our engines are surely not over. From any thread."""
        return time.monotonic() - self._renewed < self._lease_ms / 1000 * 2 / 3

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping = True
        os.write(self._waker, b"x")

    def run(self) -> None:
        try:
            while not self._stopping:
                try:
                    with connect(self._address) as connection:
                        self._listen(connection)
                except (psycopg.Error, StoreError) as error:
                    if isinstance(error, psycopg.Error) and not is_lost(error):
                        time.sleep(RECONNECT_S)  # something else is wrong; the writer tells of it
                    self._tell_of_silence()
                    self._wait(None, RECONNECT_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        finally:
            os.close(self._reader)
            os.close(self._waker)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f'LISTEN "{self._address.channel}"'.encode())
        self._on_look()  # what was told before nobody heard
        beat_s = self._lease_ms / 1000 / BEATS
        next_beat = 0.0
        while not self._stopping:
            if time.monotonic() >= next_beat:
                self._beat(connection)
                next_beat = time.monotonic() + beat_s
            self._wait(connection, max(0.0, next_beat - time.monotonic()))
            told = [each.payload for each in connection.notifies(timeout=0)]
            if any(payload != self._holder for payload in told):
                self._on_look()

    def _wait(self, connection: psycopg.Connection[Any] | None, seconds: float) -> None:
        watched = [self._reader] if connection is None else [self._reader, connection.fileno()]
        select.select(watched, [], [], seconds)

    def _beat(self, connection: psycopg.Connection[Any]) -> None:
        asked = self._liveness.own
        with connection.pipeline(), connection.transaction():
            connection.execute(_PATH, (self._address.schema,))
            renewed = connection.execute(_RENEW, (self._lease_ms, self._holder))
            living = connection.execute(_LIVING)
            kept = frozenset(row[0] for row in renewed.fetchall())
            self._liveness.living = frozenset(row[0] for row in living.fetchall())
        self._renewed, self._silent = time.monotonic(), False
        lost = asked & self._liveness.own - kept
        if lost:
            self._on_lost(lost)

    def _tell_of_silence(self) -> None:
        """Before a lease is over, its engine has to stop what another one may take."""
        silent_s = time.monotonic() - self._renewed
        if silent_s > self._lease_ms / 1000 * 2 / 3 and not self._silent and self._liveness.own:
            self._silent = True
            self._on_silent()
