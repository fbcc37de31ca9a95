"""The worker's sending half of the socket: whole messages, in order, from any thread (specs/worker-protocol.md F3)."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from bridge.protocol.framing import encode
from bridge.worker.parent_death import ENGINE_GONE
from bridge.worker.run.sigint_gate import Gate

INTERRUPT_LOOK_MS = 50
"""How often code that waits because nobody reads looks whether it was interrupted."""


class Outgoing:
    """Bytes on their way to the engine. The process ends when the engine is gone."""

    def __init__(self, sock: socket.socket, gate: Gate) -> None:
        self._sock = sock
        self._send = sock.send  # as it is now: code may put another method into the class, a test's double for one
        self._gate = gate
        self._lock = threading.RLock()
        self._buffers: deque[memoryview] = deque()
        self._sent_bytes = 0
        self._sending = False
        self._writable = select.poll()
        self._writable.register(sock.fileno(), select.POLLOUT)

    def send(self, payload: bytes) -> None:
        """Send a message, however long the engine does not read."""
        self._put(payload, None, yields=False)

    def offer(self, payload: bytes, deadline: float | None) -> bool:
        """Send a message of output; False when none of it was sent by `deadline` (monotonic seconds).

        Without a deadline it waits as `send` does, except that an interrupt ends the wait; the rest is sent later.
        """
        return self._put(payload, deadline, yields=True)

    @property
    def pending(self) -> bool:
        """A message was begun and is not sent whole."""
        return bool(self._buffers)

    def go_on(self, deadline: float) -> bool:
        """Send more of what was begun; whether all of it is sent."""
        return self._locked(lambda: self._write(deadline, yields=False), deadline)

    def wait_writable(self, most_s: float) -> None:
        """Return when something can be sent, or after that long (seconds)."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLOUT)
        poll.poll(max(0.0, most_s) * 1000)

    def _put(self, payload: bytes, deadline: float | None, *, yields: bool) -> bool:
        def put() -> bool:
            buffers = [memoryview(buffer) for buffer in encode(payload)]
            if not self._write(deadline, yields=yields) and deadline is not None:
                return False
            before = self._sent_bytes
            self._buffers += buffers
            if self._write(deadline, yields=yields) or deadline is None or self._sent_bytes > before:
                return True
            for _ in buffers:
                self._buffers.popleft()
            return False

        def put_behind() -> bool:
            self._buffers += [memoryview(buffer) for buffer in encode(payload)]
            return True

        return self._locked(put, deadline, put_behind)

    def _locked(
        self, act: Callable[[], bool], deadline: float | None, inside: Callable[[], bool] = lambda: False
    ) -> bool:
        """`act` under the lock, with SIGINT kept; `inside` where a signal handler or finalizer interrupted a send."""
        mine = self._gate.mask()
        try:
            if not self._lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - monotonic())):
                return False
            try:
                if self._sending:
                    return inside()
                self._sending = True
                try:
                    return act()
                finally:
                    self._sending = False
            finally:
                self._lock.release()
        except OSError:
            os._exit(ENGINE_GONE)
        finally:
            if mine:
                self._gate.unmask()

    def _write(self, deadline: float | None, *, yields: bool) -> bool:
        """Send what is buffered; False when it was not all sent, by the deadline or an interrupt."""
        buffers = self._buffers
        while buffers:
            view = buffers[0]
            try:
                sent = self._send(view, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not self._wait(deadline, yields=yields):
                    return False
                continue
            self._sent_bytes += sent
            if sent == len(view):
                buffers.popleft()
            else:
                buffers[0] = view[sent:]
        return True

    def _wait(self, deadline: float | None, *, yields: bool) -> bool:
        left_ms = INTERRUPT_LOOK_MS if deadline is None else min(INTERRUPT_LOOK_MS, (deadline - monotonic()) * 1000)
        if left_ms <= 0 or (yields and deadline is None and self._gate.interrupted):
            return False
        self._writable.poll(left_ms)
        return True
