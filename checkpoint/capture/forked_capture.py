"""Work done in a forked copy of the worker, while the code goes on (worker side).

User code that waits for its own children never meets the copy: it is a child that tells nobody of its end (`clone`
without a signal, which `wait` passes over), or, where other threads run, a grandchild. It sends its payload through a
pipe of its own, whose read end the engine opens, and is killed by its alarm when it makes no progress: a lock that a
thread held at the fork is never released in it.

Chunks go through the pipe as they are hashed, so that the engine hashes and writes beside it: blocks of 4 bytes of
length and so many bytes, until an empty one; then 8 bytes of length and the payload with what did not come before.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import platform
import select
import signal
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl

from checkpoint.capture.registered_hooks import aside

PROGRESS_S = 30
"""A child that writes nothing for so long is killed. Pickling comes before the first byte."""

PIPE_BYTES = 2**20
HEADER_BYTES = 8
"""The length of the payload, big-endian, before it: the engine sees by it whether it got everything."""

WRITE_BYTES_MAX = 2**20

ENDING_S = 0.5
"""A copy that has sent everything ends within this, as a rule; it frees its memory meanwhile."""

THREADS_MAX = 64
"""Looking at more threads takes longer than the second fork that it saves."""

SWITCH_S = 0.2
"""Longer than a quiet fork takes; a thread that wakes before it and computes holds it up for so long."""

_CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
_CLONED = 0x80000000 - 2**32
"""__WCLONE: wait for a child that sends no signal."""

BLOCK_BYTES = 4
"""The length of a block, big-endian."""

type Send = Callable[[memoryview], None]
"""Sends one chunk, at once."""

type Work = Callable[[Send], tuple[Sequence[bytes | memoryview], bytes]]
"""Sends large chunks, and gives the rest of the payload in pieces, and what the parent is to learn."""


class Aside:
    """A capture under way in a child. `reader` is the descriptor that the engine opens."""

    def __init__(self, reader: int, learned: int) -> None:
        self.reader = reader
        self._learned = learned

    def learned(self) -> bytes:
        """The child's data; empty when it did not come to its end. Call once, when the engine has read all."""
        os.close(self.reader)
        _reap()
        try:
            size = os.fstat(self._learned).st_size
            data = os.pread(self._learned, size, 0)
        finally:
            os.close(self._learned)
        complete = len(data) > HEADER_BYTES and int.from_bytes(data[:HEADER_BYTES], "big") == len(data) - HEADER_BYTES
        return data[HEADER_BYTES:] if complete else b""


def run_aside(work: Work) -> Aside:
    """Fork and let the child do it. OSError when there is no memory or no process to be had."""
    reader, writer = os.pipe()
    learned = os.memfd_create("capture")
    try:
        with suppress(OSError):
            fcntl(writer, F_SETPIPE_SZ, PIPE_BYTES)
        _reap()
        if _others_sleep():
            pid = _quiet_fork()
            if pid == 0:
                _be_child(work, writer, learned)
            _quiet.add(pid)
        else:
            pid = _fork()
            if pid == 0:
                _be_intermediate(work, writer, learned)
            with suppress(ChildProcessError):  # a thread of user code that waits for any child took it
                os.waitpid(pid, 0)
    except BaseException:
        os.close(reader)
        os.close(learned)
        raise
    finally:
        os.close(writer)
    return Aside(reader, learned)


def ask_copy(question: Callable[[], bytes], seconds: float) -> bytes | None:
    """The answer of a forked copy of this process, in which user code may do what it does not do here.

    None when no copy could be made, or it did not answer in time. What it prints is thrown away.
    """
    try:
        reader, writer = os.pipe()
    except OSError:
        return None
    pid = 0
    quiet = False
    try:
        _reap()
        quiet = _others_sleep()
        pid = _quiet_fork() if quiet else _fork()
        if pid == 0:
            _answer(question, writer)
        os.close(writer)
        writer = -1
        return _all_of(reader, seconds)
    except OSError:
        return None
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
        if pid > 0:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, _CLONED if quiet else 0)


def _answer(question: Callable[[], bytes], writer: int) -> None:
    try:
        _prepare_child({writer})
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        data = question()
        _write(writer, len(data).to_bytes(HEADER_BYTES, "big") + data)
    finally:
        os._exit(0)


def _all_of(reader: int, seconds: float) -> bytes | None:
    """The data that comes through the pipe; None when that is not whole, or not there in time."""
    ends, data = time.monotonic() + seconds, bytearray()
    while len(data) < HEADER_BYTES or len(data) < HEADER_BYTES + int.from_bytes(data[:HEADER_BYTES], "big"):
        left = ends - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return None
        block = os.read(reader, 2**16)
        if not block:
            return None
        data += block
    return bytes(data[HEADER_BYTES:])


def resident_bytes() -> int:
    """Memory that this process has in use."""
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        return int(statm.read(200).split()[1]) * mmap.PAGESIZE


_quiet: set[int] = set()
"""Quiet children that were not reaped yet."""


def _reap() -> None:
    for pid in list(_quiet):
        try:
            ended, _status = os.waitpid(pid, _CLONED | os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _quiet.discard(pid)


def reap_ended() -> None:
    """Collect the copies that are ending. Call it when the engine has read all: until the next capture they would stay
    as zombies. It may be called from any thread."""
    for pid in list(_quiet):
        with suppress(OSError):
            ending = os.pidfd_open(pid)
            try:
                poll = select.poll()
                poll.register(ending, select.POLLIN)
                poll.poll(ENDING_S * 1000)
            finally:
                os.close(ending)
    _reap()


def _others_sleep() -> bool:
    """Whether a bare `clone` is sound: glibc's fork takes the allocator's locks, which a running thread may hold."""
    if _CLONE is None:
        return False
    threads = os.listdir("/proc/self/task")
    own = str(threading.get_native_id())
    return len(threads) <= THREADS_MAX and all(thread == own or _sleeps(thread) for thread in threads)


def _sleeps(thread: str) -> bool:
    try:
        with open(f"/proc/self/task/{thread}/stat", "rb", buffering=0) as stat_file:
            return stat_file.read(200).rpartition(b")")[2].split()[0] == b"S"
    except OSError:  # it ended
        return True


def _quiet_fork() -> int:
    """Fork while no thread asks for the interpreter: one that waited for the switch interval asks its holder to hand
    it over, and a copy made in that state would do so at once and wait for ever for somebody to take it.
    """
    python, interval = ctypes.pythonapi, sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        for _ in range(threading.active_count() - 1):
            time.sleep(0)  # one that waits already is woken, and takes it or waits for the new interval
        python.PyOS_BeforeFork()
        pid: int = python.syscall(_CLONE, 0, 0, 0, 0, 0)
        if pid == 0:
            python.PyOS_AfterFork_Child()
            return 0
        python.PyOS_AfterFork_Parent()
    finally:
        sys.setswitchinterval(interval)
    if pid < 0:
        raise OSError("no process could be made")
    return pid


def _fork() -> int:
    with warnings.catch_warnings(), aside():
        # About threads beside a fork: their locks are why the child has an alarm.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_intermediate(work: Work, writer: int, learned: int) -> None:
    try:
        if _fork() == 0:
            _be_child(work, writer, learned)
    finally:
        os._exit(0)


def _be_child(work: Work, writer: int, learned: int) -> None:
    code = 1
    try:
        _prepare_child({writer, learned})

        def send(chunk: memoryview) -> None:
            _write(writer, len(chunk).to_bytes(BLOCK_BYTES, "big"))
            _write(writer, chunk)

        buffers, lesson = work(send)
        os.write(learned, len(lesson).to_bytes(HEADER_BYTES, "big"))
        _write(learned, lesson)
        _write(writer, bytes(BLOCK_BYTES))
        _write(writer, sum(map(len, buffers)).to_bytes(HEADER_BYTES, "big"))
        for buffer in buffers:
            _write(writer, buffer)
        code = 0
    finally:
        os._exit(code)


def _prepare_child(kept: set[int]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    gc.disable()  # a collection would copy pages, and run finalizers a second time
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.alarm(PROGRESS_S)
    _close_streams(kept)


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        written = os.write(descriptor, view[:WRITE_BYTES_MAX])
        view = view[written:]
        signal.alarm(PROGRESS_S)


def _close_streams(kept: set[int]) -> None:
    """Pipes and sockets of user code: whoever reads their other end would not see them end before this child does."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with suppress(OSError):
            mode = os.fstat(descriptor).st_mode
            if descriptor > 2 and descriptor not in kept and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
                os.close(descriptor)
