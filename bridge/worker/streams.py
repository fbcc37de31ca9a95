"""sys.stdout and sys.stderr as messages, and the pipes behind descriptors 1 and 2 (specs/worker-protocol.md)."""

from __future__ import annotations

import _thread
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic, sleep
from typing import TYPE_CHECKING

from durable.core.limits import OUTPUT_CHUNK_BYTES_MAX

if TYPE_CHECKING:
    from bridge.worker.channel import Channel
    from bridge.worker.gate import Gate

OUTPUT_COALESCE_MS = 2
"""How long written text may wait for more of it."""

CHUNK_CHARS = OUTPUT_CHUNK_BYTES_MAX // 4
"""UTF-8 needs at most 4 bytes a character, so a chunk is never over the limit."""

PIPE_READ_BYTES = 2**16
"""What a pipe holds by default."""

FIONREAD = 0x541B
_ZERO = b"\0\0\0\0"


class Pipe:
    """The read end of a descriptor-level pipe, shared with the engine; reads never block."""

    def __init__(self, stream: str, fd: int) -> None:
        self.stream = stream
        self._fd = fd

    def take(self) -> Iterator[bytes]:
        """What is in the pipe right now; not what a background child goes on to write."""
        found = fcntl.ioctl(self._fd, FIONREAD, _ZERO)
        left = 0 if found == _ZERO else int.from_bytes(found, sys.byteorder)
        while left > 0:
            try:
                data = os.read(self._fd, min(left, PIPE_READ_BYTES))
            except BlockingIOError:  # the engine was faster
                return
            if not data:
                return
            left -= len(data)
            yield data


class OutputPort:
    """Coalesces what Python code writes; keeps the order of writes across streams and threads."""

    def __init__(self, channel: Channel, gate: Gate, pipes: Iterable[Pipe], tag: Callable[[], str]) -> None:
        self._channel = channel
        self._gate = gate
        self._pipes = tuple(pipes)
        self._tag = tag
        self._lock = threading.RLock()
        self._parts: list[str] = []
        self._chars = 0
        self._key = ("stdout", "")
        self._sent_at = 0.0
        self._hurried = False
        """Text came faster than it may be sent: it waits for the flusher or a full chunk."""
        self._flusher_ended: threading.Lock | None = None
        self._wanted = threading.Event()
        self._forked = False
        os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_child)
        channel.before_send = self.flush

    def write(self, stream: str, text: str) -> None:
        """Take text of the execution whose code calls."""
        if self._forked:
            os.write(1 if stream == "stdout" else 2, text.encode("utf-8", "replace"))
            return
        key = (stream, self._tag())
        with self._lock:
            if key != self._key:
                self._send()
                self._key = key
            self._parts.append(text)
            self._chars += len(text)
            if self._chars >= CHUNK_CHARS or (text[-1] == "\n" and not self._hurried):
                self._whole_line()
            elif not self._wanted.is_set():
                self._ask_flusher()

    def _whole_line(self) -> None:
        now = monotonic()
        if self._chars >= CHUNK_CHARS or (now - self._sent_at) * 1000 >= OUTPUT_COALESCE_MS:
            self._send()
            self._sent_at = now
        else:
            self._hurried = True
            self._ask_flusher()

    def flush(self) -> None:
        """Send what was written."""
        if self._parts:
            with self._lock:
                self._send()

    def drain(self) -> None:
        """Send what was written and what is in the pipes (W2)."""
        with self._lock:
            self._send()
            mine = self._gate.mask()
            try:
                self._take_pipes()
            finally:
                if mine:
                    self._gate.unmask()

    def _take_pipes(self) -> None:
        for pipe in self._pipes:
            for data in pipe.take():
                self._channel.send({"type": "piped", "stream": pipe.stream, "data": data}, flush=False)

    def _send(self) -> None:
        if not self._parts:
            return
        mine = self._gate.mask()
        try:
            self._take_pipes()
            self._hurried = False
            parts, self._parts, self._chars = self._parts, [], 0
            self._emit(*self._key, "".join(parts))
        finally:
            if mine:
                self._gate.unmask()

    def _emit(self, stream: str, execution_id: str, text: str) -> None:
        for start in range(0, len(text), CHUNK_CHARS):
            data = text[start : start + CHUNK_CHARS]
            try:
                data.encode()
            except UnicodeEncodeError:
                data = data.encode("utf-8", "replace").decode()
            message = {"type": "output", "execution_id": execution_id, "stream": stream, "data": data}
            self._channel.send(message, flush=False)

    # The flusher is the only thread of ours. It exists from the first text that has to wait until the next fork: a
    # thread at a fork is a deadlock in the child and a warning of Python's.

    def _ask_flusher(self) -> None:
        if self._flusher_ended is None:
            self._flusher_ended = ended = threading.Lock()
            ended.acquire()
            _thread.start_new_thread(self._flush_later, (ended,))  # not a Thread: user code does not see it listed
        self._wanted.set()

    def _flush_later(self, ended: threading.Lock) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are the main thread's
        while self._flusher_ended is ended:
            self._wanted.wait()
            sleep(OUTPUT_COALESCE_MS / 1000)
            self._wanted.clear()
            self.flush()
        ended.release()

    def _before_fork(self) -> None:
        ended, self._flusher_ended = self._flusher_ended, None
        if ended is not None:
            self._wanted.set()
            ended.acquire(timeout=1)
        self._lock.acquire()
        self._send()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        self._lock = threading.RLock()
        self._forked = True
