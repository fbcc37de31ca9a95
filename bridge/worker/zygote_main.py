"""The zygote process: imports what workers need, then forks one whenever the engine asks (specs/zygote.md).

Started as `python -P -c BOOT <root> bridge.worker.zygote_main <control socket fd> <engine's pid> <module to preload>…`,
or by a fork of a process that is to have an engine (`bridge/launch/zygote_start.py`).
"""

from __future__ import annotations

import gc
import importlib
import math
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from contextlib import suppress

import checkpoint
import checkpoint.capture.incremental_capture
import checkpoint.capture.savepoint
import checkpoint.restore
from bridge.launch.launcher import process_start_time
from bridge.launch.zygote_protocol import (
    DESCRIPTORS_FORK,
    Fork,
    Forked,
    Reap,
    Reaped,
    Warm,
    decode_to_zygote,
    encode,
    receive,
)
from bridge.worker.main import serve
from bridge.worker.parent_death import ENGINE_GONE, die_with, outlive
from checkpoint.capture.process_state import PROCESS_STATE

assert checkpoint.capture.incremental_capture
assert checkpoint.restore


class Born:
    """In the child: what it was forked with. The loop returns it, so that the worker starts on a clean stack."""

    def __init__(self, request: Fork, descriptors: list[int], zygote_pid: int) -> None:
        self.request = request
        self.descriptors = descriptors
        self.zygote_pid = zygote_pid


class ZygoteServer:
    """Answers the engine until it goes; ends with all its workers."""

    def __init__(self, control: socket.socket, engine: int) -> None:
        self._control = control
        self._engine = engine
        self._workers: set[int] = set()
        self._alive_until = math.inf

    def run(self) -> Born:
        """Serve. Returns in forked children only."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._engine, select.POLLIN)
        while True:
            left_s = self._alive_until - time.clock_gettime(time.CLOCK_BOOTTIME)
            ready = [fd for fd, _ in poll.poll(None if left_s == math.inf else max(0.0, left_s) * 1000)]
            if self._engine in ready:
                self._end()
            if not ready:  # in time, and the engine has said nothing later
                self._end_workers()
                continue
            data, descriptors = receive(self._control, DESCRIPTORS_FORK)
            if not data:
                self._end()
            request = decode_to_zygote(data)
            if isinstance(request, Fork):
                born = self._fork(request, descriptors)
                if born is not None:
                    return born
            elif isinstance(request, Reap):
                self._reap(request)
            else:
                self._alive_until = request.boot_s

    def _fork(self, request: Fork, descriptors: list[int]) -> Born | None:
        zygote_pid = os.getpid()
        try:
            pid = fork()
        except OSError as error:
            self._say(Forked(request.number, problem=f"{type(error).__name__}: {error}"))
        else:
            if pid == 0:
                self._control.close()
                os.close(self._engine)
                return Born(request, descriptors, zygote_pid)
            self._workers.add(pid)
            pidfd = os.pidfd_open(pid)
            self._say(Forked(request.number, pid, process_start_time(pid) or 0), pidfd)
            os.close(pidfd)
        for fd in descriptors:
            os.close(fd)
        return None

    def _reap(self, request: Reap) -> None:
        self._workers.discard(request.pid)
        try:
            status = os.waitid(os.P_PID, request.pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            status = None
        self._say(Reaped(request.pid) if status is None else Reaped(request.pid, status.si_code, status.si_status))

    def _say(self, message: Forked | Reaped, *descriptors: int) -> None:
        try:
            socket.send_fds(self._control, [encode(message)], descriptors)
        except OSError:
            self._end()

    def _end(self) -> None:
        """End the zygote with its workers."""
        self._end_workers()
        os._exit(0)

    def _end_workers(self) -> None:
        """The engine stands still, or has gone. No worker was reaped: their numbers are still their own."""
        self._alive_until = math.inf
        for pid in self._workers:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it may not have its group yet


def fork() -> int:
    """`os.fork`. Python warns of threads of C libraries, which have fork handlers of their own (BLAS)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def preload(modules: list[str]) -> str:
    """Import what the caller chose; the problem, if there is one."""
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:
            return f"preloading {name!r} failed: {type(error).__name__}: {error}"
        if threading.active_count() > 1:
            return f"preloading {name!r} failed: it starts a thread, which no worker forked later would have"
    return ""


def begin_life(born: Born) -> list[int]:
    """In the child: become a process of its own (Z2-Z4); the descriptors of the socket and of the pipes' read ends."""
    os.setsid()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # Python 3.13.0 keeps the zygote's
    die_with(born.zygote_pid)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sock, out_read, out_write, err_read, err_write = born.descriptors
    os.dup2(out_write, 1)
    os.dup2(err_write, 2)
    os.close(out_write)
    os.close(err_write)
    for name, value in born.request.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    checkpoint.STARTED_ENVIRONMENT.clear()
    checkpoint.STARTED_ENVIRONMENT.update(os.environ)
    with suppress(OSError):  # a directory that is gone: as a cold worker would, begin where the starter was
        os.chdir(born.request.cwd)
    draw_anew()
    return [sock, out_read, err_read]


def draw_anew() -> None:
    """Fresh randomness where fork shared it. `random` does that by itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None:
        processes.current_process().authkey = os.urandom(32)


def main(arguments: list[str]) -> None:
    """Entry point of the process; goes on as a worker in each forked child."""
    control_fd, engine_pid = map(int, arguments[:2])
    die_with(engine_pid)  # while it imports
    engine = os.pidfd_open(engine_pid)
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    sys.argv[:] = [""]
    problem = preload(arguments[2:])
    outlive()  # from here the pidfd tells, and there is time to end the workers' groups
    if os.getppid() != engine_pid:
        os._exit(ENGINE_GONE)
    with suppress(OSError):  # the engine has gone, or closed: the first look says so
        control.send(encode(Warm(problem)))
    if problem:
        os._exit(1)
    PROCESS_STATE.note_modules()
    gc.collect()
    gc.freeze()  # collections in workers then do not touch, and so copy, what they share
    serve(*begin_life(ZygoteServer(control, engine).run()))
