"""One connection of the server, guarded: slow, idle and surplus clients cost little and are dropped in time.

uvicorn limits none of this but the time between two requests. A client may send its headers or body byte by byte, or
never read its answers; ten thousand may connect and say nothing.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from typing import Any, override

from uvicorn.protocols.http.h11_impl import H11Protocol

from durable.core.limits import (
    BODY_S,
    CLOSING_S,
    CONNECTION_IDLE_S,
    CONNECTIONS_MAX,
    FIRST_REQUEST_S,
    LEASE_MS,
    UNREAD_S,
)

_DESCRIPTORS_MIN = 256
"""For the store, its peers and everything else that is not a connection."""

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def connections_max() -> int:
    """CONNECTIONS_MAX, or what the process's descriptors allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CONNECTIONS_MAX + _DESCRIPTORS_MIN and (hard == resource.RLIM_INFINITY or soft < hard):
        wanted = CONNECTIONS_MAX + _DESCRIPTORS_MIN
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(CONNECTIONS_MAX, soft - _DESCRIPTORS_MIN))


class ConnectionGuard:
    """The shared state of one server's connections: how many may be open, and which are idle, oldest first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open: set[DeadlineConnection] = set()
        self.idle: dict[DeadlineConnection, None] = {}

    def admit(self, new: DeadlineConnection) -> bool:
        """Whether there is room; an idle connection makes it when there is none."""
        if len(self.open) >= self.limit:
            oldest = next(iter(self.idle), None)
            if oldest is None:
                return False
            oldest.drop()
        self.open.add(new)
        return True

    def sweep(self, now: float) -> None:
        """Drop who took too long. To be called about once a second, with the loop's time."""
        for connection in list(self.open):
            if now > connection.patience_ends():
                connection.drop()


class DeadlineConnection(H11Protocol):
    """uvicorn's connection with deadlines."""

    def __init__(self, guard: ConnectionGuard, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._guard = guard
        self._began = self.loop.time()  # of the wait for a request, or of the request
        self._first = True
        self._paused: float | None = None
        self._closing: float | None = None

    def patience_ends(self) -> float:
        """When this connection has taken too long, in the loop's time."""
        return min(self._deadlines(), default=float("inf"))

    def _deadlines(self) -> Iterator[float]:
        if self.transport.is_closing():
            if self._closing is None:
                self._closing = self.loop.time()
            yield self._closing + CLOSING_S
        if self._paused is not None:
            yield self._paused + UNREAD_S
        if self in self._guard.idle:
            yield self._began + (FIRST_REQUEST_S if self._first else CONNECTION_IDLE_S)
        elif self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            yield self._began + BODY_S

    def drop(self) -> None:
        """End the connection now, whatever waits to be sent."""
        self._guard.idle.pop(self, None)
        self._guard.open.discard(self)
        self.transport.abort()

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._guard.admit(self):
            transport.write(_FULL)
            transport.close()
            return
        self._guard.idle[self] = None
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # asyncio does it only for sockets that name their protocol; without it an answer waits 40 ms for an ACK.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A machine that vanished acknowledges nothing: its engine's stream must not count as alive.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LEASE_MS)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.idle.pop(self, None)
        self._guard.open.discard(self)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self in self._guard.idle and self.cycle is not None and not self.cycle.response_complete:
            del self._guard.idle[self]
            self._began, self._first = self.loop.time(), False

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self in self._guard.open and not self.transport.is_closing():
            self._guard.idle[self] = None
            self._began = self.loop.time()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused = self.loop.time()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused = None
