"""How a worker process starts. The port is small so that a warm zygote can stand in for the cold start."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from durable.core.errors import WorkerDied

SOCKET_BUFFER_BYTES = 2**20
"""Room for the output of a burst while the engine does something else."""

_BOOT = """\
import sys
try:
    import bridge.worker.main as worker
except ImportError:
    sys.path.append(sys.argv[1])
    import bridge.worker.main as worker
worker.main(sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A started worker: its identity, and the descriptors that the caller owns from now on.

    `start_time` is field 22 of /proc/<pid>/stat, in clock ticks: pid and start time together name a process for ever.
    """

    pid: int
    start_time: int
    pidfd: int
    socket: socket.socket
    stdout: int
    stderr: int


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
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        ours.setblocking(False)
        out_read, out_write = _pipe()
        err_read, err_write = _pipe()
        try:
            pid = self._spawn(theirs.fileno(), (out_read, out_write), (err_read, err_write))
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            ours.close()
            os.close(out_read)
            os.close(err_read)
            raise WorkerDied(f"the worker of session {session!r} could not be started: {error}") from error
        finally:
            theirs.close()
            os.close(out_write)
            os.close(err_write)
        return WorkerProcess(pid, process_start_time(pid) or 0, pidfd, ours, out_read, err_read)

    def _spawn(self, sock: int, out: tuple[int, int], err: tuple[int, int]) -> int:
        root = str(Path(__file__).resolve().parent.parent)
        numbers = map(str, (sock, out[0], err[0], os.getpid()))
        arguments = [self._python, "-P", "-c", _BOOT, root, *numbers]
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out[1], 1),
            (os.POSIX_SPAWN_DUP2, err[1], 2),
            *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in (sock, out[0], err[0])),  # onto itself: makes it inheritable
        ]
        return os.posix_spawn(
            self._python,
            arguments,
            os.environ if self._environment is None else self._environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD),
        )


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
