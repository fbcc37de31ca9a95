"""sys.stdout and sys.stderr as messages, and the pipes behind descriptors 1 and 2 (specs/worker-protocol.md)."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from _thread import start_new_thread  # as it was before calls.before_threads
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from types import CodeType
from typing import TYPE_CHECKING, Protocol

from bridge.worker.io.backlog import Backlog, OutputOverflow, OutputPiece
from bridge.worker.io.wake_flag import WakeFlag
from durable.core.limits import OUTPUT_CHUNK_BYTES_MAX, OUTPUT_DRAIN_MS, OUTPUT_QUEUE_MAX

if TYPE_CHECKING:
    from bridge.protocol.messages import Wire
    from bridge.worker.io.channel import Channel
    from bridge.worker.run.sigint_gate import Gate

OUTPUT_COALESCE_MS = 2
"""How long written text may wait for more of it."""

PIPE_READ_BYTES = 2**16
"""Bytes that a pipe holds by default."""

LOOK_S = 0.05
"""How long a wait for the engine to read lasts before its reason is looked at again."""

FIONREAD = 0x541B
NEWLINE = 0x0A
_ZERO = b"\0\0\0\0"


class Pipe:
    """The read end of a descriptor-level pipe, shared with the engine; reads never block."""

    def __init__(self, stream: str, fd: int) -> None:
        self.stream = stream
        self._fd = fd

    def take(self) -> Iterator[bytes]:
        """The bytes in the pipe right now; not what a background child goes on to write."""
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


class Batched(Protocol):
    """The stream that can keep what is written to it, in C, until there is a chunk of it (stdio.OutputStream)."""

    storing: CodeType
    """The code of the function that is called with a full chunk, for `Gate.storing`."""

    def batch(self, *, on: bool) -> None: ...

    def take(self) -> list[bytes]: ...


class OutputPort:
    """Coalesces what Python code writes; keeps the order of writes across streams and threads.

    Text that comes faster than it may be sent is kept in batches by the stream itself (specs/worker-protocol.md, T1).
    Their order is safe: only one thread writes then, and it hands a chunk over before it writes more. The flusher
    takes what is not a whole chunk with the lock held and with C code only, so it is always later than a chunk that
    the writer has in hand, and that chunk the writer stores before it asks for the lock.
    """

    def __init__(self, channel: Channel, gate: Gate, pipes: Iterable[Pipe], tag: Callable[[], str]) -> None:
        self._channel = channel
        self._gate = gate
        self._pipes = tuple(pipes)
        self._tag = tag
        """The execution that runs, to which all that is written belongs; empty where none runs."""
        self._lock = threading.RLock()
        self._waits = True
        """Whether code that prints waits for the engine (the policy "block")."""
        self._backlog = Backlog("block", OUTPUT_QUEUE_MAX)
        self._drain_s = OUTPUT_DRAIN_MS / 1000
        self.warns_undrained = False
        """Whether output not taken at an execution's end is a warning, not an error."""
        self.overflow: OutputOverflow | None = None
        """More was printed than is taken, under the policy "error", since `begin`."""
        self._parts: list[bytes] = []
        self._size = 0
        self._key = ("stdout", "")
        self._sent_at = 0.0
        self._hurried = False
        """Text came faster than it may be sent: it waits for the flusher or a full chunk."""
        self._stdout: Batched | None = None
        self._synchronous = False
        """Only code of one execution, and no task, can run on the main thread."""
        self._bare_threads = False
        self._batching = False
        self._batch_key = self._key
        self._batch_came = False
        """A whole chunk was sent since the flusher looked."""
        self._main = threading.get_ident()
        self._flusher_ended: threading.Lock | None = None
        self._wanted = WakeFlag()
        self._forked = False
        self._muted = 0
        os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_child)
        channel.before_send = self.flush_all

    def attach(self, stdout: Batched) -> None:
        """Let this stream batch."""
        self._stdout = stdout
        self._gate.storing = stdout.storing

    def obey(self, rules: Wire) -> None:
        """Take the session's rules (bridge/protocol/output_rules.py as JSON: what is not given is the default)."""
        policy = rules.get("policy", "block")
        self._waits = policy == "block"
        self._backlog = Backlog(policy, OUTPUT_QUEUE_MAX)
        self._drain_s = rules.get("drain_ms", OUTPUT_DRAIN_MS) / 1000
        self.warns_undrained = rules.get("drain") == "warn"

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Throw away what this thread prints meanwhile: reducers of the user's run as often as captures come."""
        self.unbatch()
        before, self._muted = self._muted, threading.get_ident()
        try:
            yield
        finally:
            self._muted = before

    def mutes(self) -> bool:
        """Whether the calling thread's output is thrown away now."""
        return self._muted == threading.get_ident()

    def begin(self) -> None:
        """An execution starts: an earlier one's overflow is not its."""
        self.overflow = None

    def check(self) -> None:
        """Raises OutputOverflow if there was one in this execution (B3)."""
        if self.overflow is not None:
            raise OutputOverflow(*self.overflow.args)

    def write(self, stream: str, data: bytes) -> None:
        """Take text, as UTF-8, of the execution that runs. Raises OutputOverflow under the policy "error"."""
        if self._muted and self.mutes():
            return
        if self._forked:
            os.write(1 if stream == "stdout" else 2, data)
            return
        if not data:
            return
        if self.overflow is not None:
            self.check()  # what is refused is not taken: it would come later, behind the gap
        key = (stream, self._tag())
        with self._lock:
            if self._batching:
                self._collect()
            if key != self._key:
                self._send()
                self._key = key
            self._parts.append(data)
            self._size += len(data)
            if self._size >= OUTPUT_CHUNK_BYTES_MAX or (data[-1] == NEWLINE and not self._hurried):
                self._whole_line()
            elif not self._wanted.is_set():
                self._ask_flusher()
        if self.overflow is not None:
            self.check()

    def _whole_line(self) -> None:
        now = monotonic()
        if self._size < OUTPUT_CHUNK_BYTES_MAX and (now - self._sent_at) * 1000 >= OUTPUT_COALESCE_MS:
            self._send()
            self._sent_at = now
            return
        if self._size >= OUTPUT_CHUNK_BYTES_MAX:
            self._send()
            self._sent_at = now
        else:
            self._hurried = True
            self._ask_flusher()
        self._may_batch()

    # --- batches ---------------------------------------------------------------------------------------------

    def synchronous(self, *, on: bool) -> bool:
        """From now on only code of the execution in flight, and no task, can run on the main thread; or no longer so.

        Returns what was said before.
        """
        before, self._synchronous = self._synchronous, on
        if not on and self._batching:
            self.unbatch()
        return before

    def unbatch(self) -> None:
        """Look at each write again from now on: whose it is, and whether it can be sent."""
        with self._lock:
            self._end_batches()

    def never_batch(self) -> None:
        """Batch no more: a thread starts of which `threading.active_count` will not tell."""
        self._bare_threads = True
        self.unbatch()

    def send_batch(self) -> None:
        """Send what waits: the stream has stored a whole chunk."""
        with self._lock:
            self._batch_came = True
            self._collect()
            self._send()
            self._sent_at = monotonic()
        if self._gate.interrupted:
            self._gate.check()

    def _may_batch(self) -> None:
        if not self._synchronous or self._bare_threads or threading.get_ident() != self._main:
            return
        alone = threading.active_count() == 1
        if alone and self._stdout is not None and self._key == ("stdout", self._tag()) and self.overflow is None:
            self._batch_key, self._batching = self._key, True
            self._stdout.batch(on=True)
            self._ask_flusher()

    def _end_batches(self) -> None:
        if self._batching and self._stdout is not None:
            self._batching = False
            self._stdout.batch(on=False)
            self._collect()

    def _collect(self) -> bool:
        """Take what the stream keeps; returns whether there was anything."""
        if self._stdout is None:
            return False
        mine = self._gate.mask()
        try:
            found = self._stdout.take()
            if found and self._batch_key != self._key:
                self._send_parts()
                self._key = self._batch_key
            self._parts += found
            self._size += sum(map(len, found))
            return bool(found)
        finally:
            if mine:
                self._gate.unmask()

    # --- sending ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what was written; it waits here where code does not."""
        if self._parts or self._batching:
            with self._lock:
                self._send()

    def flush_all(self) -> None:
        """Send what was written, however long the engine does not read (B4)."""
        self.flush()
        if self._backlog:
            self._empty(None)

    def drain(self) -> None:
        """Send what was written and what is in the pipes (W2)."""
        with self._lock:
            self._send()
            self._take_pipes_masked()
        self._empty(None)

    def drain_last(self) -> int:
        """As `drain`, but within the time that an execution's end has: how many characters were given up (B5)."""
        deadline = monotonic() + self._drain_s
        if not self._lock.acquire(timeout=self._drain_s):
            return max(1, len(b"".join(self._parts).decode()))  # a thread that prints waits for the engine
        waits, self._waits = self._waits, False
        try:
            self._send()
            self._take_pipes_masked()
        finally:
            self._waits = waits
            self._lock.release()
        if self._empty(deadline):
            return 0
        with self._lock:
            return self._backlog.give_up()

    def _take_pipes_masked(self) -> None:
        mine = self._gate.mask()
        try:
            self._take_pipes()
        finally:
            if mine:
                self._gate.unmask()

    def _take_pipes(self) -> None:
        for pipe in self._pipes:
            for data in pipe.take():
                self._pass_on(OutputPiece(self._tag(), pipe.stream, 0, data))

    def _send(self) -> None:
        if self._batching:
            self._collect()
        if self._parts:
            self._send_parts()
        if self.overflow is not None:
            self._end_batches()  # it is raised where the text that is written can be counted as dropped

    def _send_parts(self) -> None:
        mine = self._gate.mask()
        try:
            self._take_pipes()
            self._hurried = False
            parts, self._parts, self._size = self._parts, [], 0
            self._emit(*self._key, b"".join(parts))
        finally:
            if mine:
                self._gate.unmask()

    def _emit(self, stream: str, execution_id: str, data: bytes) -> None:
        at = 0
        while at < len(data):
            end = min(at + OUTPUT_CHUNK_BYTES_MAX, len(data))
            while end < len(data) and data[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
            self._pass_on(OutputPiece(execution_id, stream, 0, data[at:end].decode()))
            at = end

    def _pass_on(self, piece: OutputPiece) -> None:
        """Send a piece when code waits for that, else let it wait."""
        if self._waits and not self._backlog:
            self._channel.offer(_message(piece), None)
            return
        try:
            self._backlog.add(piece)
        except OutputOverflow as overflow:
            self.overflow = overflow
        if not self._hand_over():
            self._ask_flusher()

    def _hand_over(self) -> bool:
        """Send of what waits as much as the engine takes now; whether that is all."""
        while (piece := self._backlog.first()) is not None:
            if not self._channel.offer(_message(piece), 0.0):
                return False
            self._backlog.sent(piece)
        return True

    def _empty(self, deadline: float | None) -> bool:
        """Send all that waits; False when that was not done by the deadline. Others can write meanwhile."""
        while True:
            with self._lock:
                if self._hand_over():
                    return True
            left = LOOK_S if deadline is None else min(LOOK_S, deadline - monotonic())
            if left <= 0:
                return False
            self._channel.outgoing.wait_writable(left)

    # The flusher is the only thread of ours. It exists from the first text that has to wait until the next fork: a
    # thread at a fork is a deadlock in the child and a warning of Python's.

    def _ask_flusher(self) -> None:
        if self._flusher_ended is None:
            self._flusher_ended = ended = threading.Lock()
            ended.acquire()
            start_new_thread(self._flush_later, (ended,))  # not a Thread: user code does not see it listed
        self._wanted.set()

    def _flush_later(self, ended: threading.Lock) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are the main thread's
        while self._flusher_ended is ended:
            self._wanted.wait()
            sleep(OUTPUT_COALESCE_MS / 1000)
            self._wanted.clear()
            self._flush_waiting()
            outgoing = self._channel.outgoing
            while (self._backlog or outgoing.pending) and self._flusher_ended is ended:
                outgoing.wait_writable(LOOK_S)
                with self._lock:
                    self._hand_over()
                outgoing.go_on(0.0)
        ended.release()

    def _flush_waiting(self) -> None:
        """Batches go on while text comes; else what is written next is sent at once."""
        with self._lock:
            came, self._batch_came = self._batch_came, False
            if self._batching and not (self._collect() or came):
                self._end_batches()
            self._send()
            if self._batching:
                self._wanted.set()

    def _before_fork(self) -> None:
        ended, self._flusher_ended = self._flusher_ended, None
        if ended is not None:
            self._wanted.set()
            ended.acquire(timeout=1)
        self._lock.acquire()
        self._end_batches()
        self._send()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        self._lock = threading.RLock()
        self._forked = True


def _message(piece: OutputPiece) -> Wire:
    if isinstance(piece.text, bytes):
        return {"type": "piped", "stream": piece.stream, "data": piece.text}
    found = {"type": "output", "execution_id": piece.execution_id, "stream": piece.stream, "data": piece.text}
    return {**found, "dropped": piece.dropped} if piece.dropped else found
