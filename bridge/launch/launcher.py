"""How a worker process starts. The port is small so that a warm zygote can stand in for the cold start."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from durable.core.errors import WorkerDied
from durable.core.frozen_record import FrozenRecord

SOCKET_BUFFER_BYTES = 2**20
"""Room for the output of a burst while the engine does something else."""

HASH_SEED = "PYTHONHASHSEED"
"""Where the engine's environment does not say it, workers are started with the seed 0 (specs/zygote.md, Z9)."""

_BOOT = """\
import importlib, os, sys
root, module, unset, *arguments = sys.argv[1:]
os.environ.pop(unset, None)
try:
    found = importlib.import_module(module)
except ImportError:
    sys.path.append(root)
    found = importlib.import_module(module)
found.main(arguments)
"""

STARTED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)
"""Set to their defaults in a new process, whatever the engine does with them."""


REAPED_ELSEWHERE = "ended; somebody else reaped it"

type Reap = Callable[[Callable[[str], None]], None]
"""Collects an ended process, then tells in words how it ended."""


def describe_end(code: int, status: int) -> str:
    """How a process ended: `si_code` and `si_status` of waitid in words."""
    if code == os.CLD_EXITED:
        return f"exited with code {status}"
    try:
        return f"was killed by {signal.Signals(status).name}"
    except ValueError:
        return f"was killed by signal {status}"


def reap_child(pidfd: int) -> str:
    """Collect an ended child of this process."""
    try:
        status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        status = None
    return REAPED_ELSEWHERE if status is None else describe_end(status.si_code, status.si_status)


class WorkerProcess(FrozenRecord, frozen=True):
    """A started worker: its identity, and the descriptors that the caller owns from now on.

    `start_time` is field 22 of /proc/<pid>/stat, in clock ticks: pid and start time together name a process for ever.
    """

    pid: int
    start_time: int
    pidfd: int
    socket: socket.socket
    stdout: int
    stderr: int
    reap: Reap

    def kill_group(self) -> None:
        """SIGKILL to the worker and what it started. Its number is its own until it is reaped; see Z6 for the rest."""
        started = process_start_time(self.pid)
        if started == self.start_time:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)  # one that was forked just now may not have its group yet
        if started in (self.start_time, None):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


class WorkerLauncher(Protocol):
    """Starts workers."""

    async def launch(self, session: str) -> WorkerProcess:
        """A new worker process that is about to say hello. Raises WorkerDied when it cannot be started."""
        ...


def process_start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, or None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


class ColdLauncher:
    """Starts a fresh interpreter, in a session and process group of its own, with stdin from /dev/null."""

    def __init__(self, *, environment: Mapping[str, str] | None = None, python: str = sys.executable) -> None:
        self._environment = environment
        self._python = python

    async def launch(self, session: str) -> WorkerProcess:
        try:
            ends = Ends()
            try:
                pid = self._spawn(ends)
                pidfd = os.pidfd_open(pid)
            except OSError:
                ends.close_ours()
                raise
            finally:
                ends.close_theirs()
        except OSError as error:
            raise WorkerDied(f"the worker of session {session!r} could not be started: {error}") from error
        return ends.worker(pid, process_start_time(pid) or 0, pidfd, lambda then: then(reap_child(pidfd)))

    def _spawn(self, ends: Ends) -> int:
        sock, out, out_write, err, err_write = ends.descriptors()
        return spawn(
            "bridge.worker.main",
            [sock, out, err, os.getpid()],
            python=self._python,
            environment=self._environment,
            replace={1: out_write, 2: err_write},
            keep=(sock, out, err),
        )


def spawn(
    module: str,
    arguments: Iterable[object],
    *,
    python: str,
    environment: Mapping[str, str] | None,
    replace: Mapping[int, int],
    keep: Iterable[int],
) -> int:
    """Start `python` running `main` of a module of ours in a session of its own; the pid. Raises OSError.

    stdin is /dev/null, `replace` says which descriptors become its 1 and 2, `keep` is left open in it.
    """
    root = str(Path(__file__).resolve().parents[2])
    seen = os.environ if environment is None else environment
    unset = "" if HASH_SEED in seen else HASH_SEED
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in replace.items()),
        *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep),  # onto itself: makes it inheritable
    ]
    return os.posix_spawn(
        python,
        [python, "-P", "-c", _BOOT, root, module, unset, *map(str, arguments)],
        {HASH_SEED: "0", **seen},
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=STARTED_SIGNALS,
    )


class Ends:
    """The socket pair and the two pipes of a worker, before it has them."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self._ours.setblocking(False)
        try:
            self._out = _pipe()
            try:
                self._err = _pipe()
            except OSError:
                os.close(self._out[0])
                os.close(self._out[1])
                raise
        except OSError:
            self._ours.close()
            self._theirs.close()
            raise

    def descriptors(self) -> tuple[int, int, int, int, int]:
        """The worker's descriptors: its socket, stdout read and write, stderr read and write."""
        return (self._theirs.fileno(), *self._out, *self._err)

    def worker(self, pid: int, start_time: int, pidfd: int, reap: Reap) -> WorkerProcess:
        """The started worker, which owns our ends from now on."""
        return WorkerProcess(pid, start_time, pidfd, self._ours, self._out[0], self._err[0], reap)

    def close_ours(self) -> None:
        """Close our ends of a worker that could not be started."""
        self._ours.close()
        os.close(self._out[0])
        os.close(self._err[0])

    def close_theirs(self) -> None:
        """Close the worker's ends, of which it has its own copies."""
        self._theirs.close()
        os.close(self._out[1])
        os.close(self._err[1])


def _pipe() -> tuple[int, int]:
    """A pipe whose read end never blocks; both ends above the standard descriptors, which the child replaces."""
    read, write = (_above_stdio(fd) for fd in os.pipe2(os.O_CLOEXEC))
    os.set_blocking(read, False)
    return read, write


def _above_stdio(fd: int) -> int:
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved
