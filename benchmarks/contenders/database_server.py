"""A PostgreSQL server for a contender that is told `--postgres`: as installed, with its syncs, on a socket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def database() -> Iterator[str | None]:
    """The URL of an empty database; None where none is asked for."""
    if "--postgres" not in sys.argv:
        yield None
        return
    from tests.postgres_server import PostgresServer

    server = PostgresServer(fast=False)
    try:
        yield server.url()
    finally:
        server.stop()
