"""The engine's end of one worker process: bytes in and out, its pipes, its end. Knows nothing of messages."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter

from bridge.launch.launcher import WorkerProcess
from bridge.protocol.messages import Stream
from checkpoint.blobs.memory_file import MemoryFile

READ_BYTES = 2**16
READ_BYTES_MIN = 2**11
SLICE_S = 0.001
"""Seconds that handling one read may take: a worker that sends thousands of small messages is read in smaller pieces,
so that all others have their turn in between."""

PIPE_READ_BYTES = 2**16
DRAIN_BYTES_MAX = 2**20
"""Bytes taken from each pipe after the end; the kernel's pipe holds 64 KiB unless somebody enlarged it."""


class Transport:
    """Owns the descriptors of a worker. Callbacks run on the loop: bytes of the socket, text of a pipe, the end."""

    def __init__(
        self,
        process: WorkerProcess,
        *,
        on_bytes: Callable[[bytes], None],
        on_pipe: Callable[[Stream, str], None],
        on_ended: Callable[[str], None],
    ) -> None:
        self.process = process
        self.untaken = False
        """Whether the worker ended before it had read the last of what was sent."""
        self._loop = asyncio.get_running_loop()
        self._on_bytes = on_bytes
        self._on_pipe = on_pipe
        self._on_ended = on_ended
        self._outgoing: deque[memoryview] = deque()
        self._attached: tuple[memoryview, MemoryFile] | None = None
        """The file whose descriptor goes with the first byte of that buffer; kept open until it went."""
        self._open = True
        self._writing = False
        self._paused = False
        self._read_bytes = READ_BYTES
        decoder = codecs.getincrementaldecoder("utf-8")
        self._pipes: dict[Stream, tuple[int, codecs.IncrementalDecoder]] = {
            "stdout": (process.stdout, decoder("replace")),
            "stderr": (process.stderr, decoder("replace")),
        }
        self._loop.add_reader(process.pidfd, self._process_ended)
        self._watch()

    # --- out -------------------------------------------------------------------------------------------------

    def send(self, buffers: Sequence[bytes | memoryview], attached: MemoryFile | None = None) -> None:
        """Write now what the socket takes, the rest when it can. After the end it is `untaken` and no more.

        `attached`: its descriptor goes with them, for a worker that awaits it; one at a time.
        """
        if not self._open:
            self.untaken = True
            return
        waiting = bool(self._outgoing)
        views = [memoryview(buffer) for buffer in buffers]
        self._outgoing.extend(views)
        if attached is not None:
            self._attached = views[0], attached
        if not waiting:
            self._write()

    def _write(self) -> None:
        sock = self.process.socket
        while self._outgoing:
            view = self._outgoing[0]
            try:
                if self._attached is not None and self._attached[0] is view:
                    sent = socket.send_fds(sock, [view], [self._attached[1].descriptor])
                    self._attached = None
                else:
                    sent = sock.send(view)
            except (BlockingIOError, InterruptedError):
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(sock.fileno(), self._write)
                return
            except OSError:  # it is ending: pidfd says so
                self.untaken = True
                self._outgoing.clear()
                break
            if sent == len(view):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = view[sent:]
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sock.fileno())

    # --- in --------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether nothing is read."""
        return self._paused

    def pause(self, *, pipes: bool = True) -> None:
        """Read nothing more (the pipes only if `pipes`): the worker's writes block when the kernel's buffers are full.

        Its end is still noticed.
        """
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self.process.socket.fileno())
            if pipes:
                for fd, _ in self._pipes.values():
                    self._loop.remove_reader(fd)

    def resume(self) -> None:
        """Read again. Nothing when it was not paused."""
        if self._open and self._paused:
            self._paused = False
            self._watch()

    def _watch(self) -> None:
        self._loop.add_reader(self.process.socket.fileno(), self._read_socket)
        for stream in self._pipes:
            self._loop.add_reader(self._pipes[stream][0], self._read_pipe, stream)

    def _read_socket(self) -> bool:
        """Read once; False when there is nothing (more)."""
        try:
            data = self.process.socket.recv(self._read_bytes)
        except (BlockingIOError, InterruptedError):
            return False
        except (
            OSError
        ):  # ECONNRESET: so the kernel says that the other end was closed with bytes in it that nobody read
            self.untaken = True
            data = b""
        if not data:
            self._loop.remove_reader(self.process.socket.fileno())
            self.kill()  # a worker without its socket is no use; usually it has ended already
            return False
        began = perf_counter()
        self._on_bytes(data)
        if perf_counter() - began > SLICE_S:
            self._read_bytes = max(READ_BYTES_MIN, self._read_bytes // 2)
        elif self._read_bytes < READ_BYTES:
            self._read_bytes *= 2
        return True

    def _read_pipe(self, stream: Stream) -> None:
        if not self._paused:
            self._read_socket()  # what Python code wrote before comes first
        self._take_pipe(stream)

    def _take_pipe(self, stream: Stream) -> int:
        if not self._open:
            return 0
        fd = self._pipes[stream][0]
        try:
            data = os.read(fd, PIPE_READ_BYTES)
        except BlockingIOError:  # the worker was faster
            return 0
        if not data:
            self._loop.remove_reader(fd)
        self.decode(stream, data)
        return len(data)

    def decode(self, stream: Stream, data: bytes) -> None:
        """Bytes of a pipe, whoever read them, in order: one decoder, so that a split character survives."""
        text = self._pipes[stream][1].decode(data, final=not data)
        if text:
            self._on_pipe(stream, text)

    # --- end -------------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send the worker (not its children) a signal; nothing when it has ended."""
        if self._open:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process.pidfd, number)

    def kill(self) -> None:
        """SIGKILL to the worker's process group."""
        if self._open:
            self.process.kill_group()
            self.signal(signal.SIGKILL)

    def _process_ended(self) -> None:
        """Deliver what it had sent, end what it had started, reap it, tell (S2, S3)."""
        if not self._open:
            return
        while self._open and self._read_socket():
            pass
        self.process.kill_group()
        for stream in self._pipes:
            taken = 0
            while taken < DRAIN_BYTES_MAX and (more := self._take_pipe(stream)):
                taken += more
        self._open = False
        self.untaken = self.untaken or bool(self._outgoing)
        self._outgoing.clear()
        process = self.process
        self._loop.remove_writer(process.socket.fileno())
        for fd in (process.socket.fileno(), process.pidfd, process.stdout, process.stderr):
            self._loop.remove_reader(fd)
        process.reap(self._reaped)

    def _reaped(self, how: str) -> None:
        process = self.process
        process.socket.close()
        for fd in (process.pidfd, process.stdout, process.stderr):
            os.close(fd)
        self._on_ended(how)
        self._on_bytes, self._on_pipe, self._on_ended = _unread, _unread, _unread  # whose they were ends without it


def _unread(*_: object) -> None:
    """The callbacks of a transport that has told its end."""
