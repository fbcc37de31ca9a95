"""The memory that a store at rest gives back (specs/store.md, At rest): pages of the file that SQLite has in memory,
and heap that was freed but that the C library keeps. After much work only: the next request reads a few pages anew."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from durable.core.freed_memory import give_back

REST_S = 2.0
"""Without a request for so long, a store is at rest."""

WORK_REQUESTS_MIN = 1000
"""Requests since it gave back last, before it does so again: fewer leave little, and each time costs some ms."""


class Rest:
    """The idle time of one writer, on its thread. `tell` is called with the number of requests there were."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._requests = 0
        self._worked_at = 0.0

    def worked(self, requests: int) -> None:
        """Count requests that were committed."""
        self._requests += requests
        self._worked_at = time.monotonic()

    def look(self, connection: sqlite3.Connection) -> None:
        """Give memory back, if nothing was to be done for long enough after much work."""
        if self._requests < WORK_REQUESTS_MIN or time.monotonic() - self._worked_at < REST_S:
            return
        requests, self._requests = self._requests, 0
        connection.execute("PRAGMA shrink_memory")
        give_back()
        self._tell(requests)
