"""The start of a zygote process: by an engine that needs one, or ahead, before the program has imported its engine."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from bridge.launch.launcher import STARTED_SIGNALS, spawn
from bridge.launch.zygote_protocol import PACKET_BYTES_MAX

SHARED_MODULES = ("asyncio",)
"""What is imported before a zygote is forked, with what this module brings: what the process itself waits for first.

More would be imported once instead of twice, but one after the other, while two processors are there.
"""


class StartedZygote(NamedTuple):
    """A zygote process that imports, or has imported, and our end of its socket."""

    pid: int
    control: socket.socket
    preload: tuple[str, ...]
    environment: dict[str, str]
    """What it was started with."""


def start_zygote(preload: Sequence[str], environment: Mapping[str, str], python: str = sys.executable) -> StartedZygote:
    """Start one; does not wait for its imports. OSError."""
    ours, theirs = _ends()
    try:
        seen = dict(environment)
        pid = spawn(
            "bridge.worker.zygote_main",
            [theirs.fileno(), os.getpid(), *preload],
            python=python,
            environment=seen,
            replace={1: 2},  # what a preloaded module prints is no data of the engine's
            keep=(theirs.fileno(),),
        )
        return StartedZygote(pid, ours, tuple(preload), seen)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()


def _ends() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PACKET_BYTES_MAX)
    ours.setblocking(False)
    return ours, theirs


_ahead: list[StartedZygote] = []


def start_ahead(preload: Sequence[str], environment: Mapping[str, str]) -> None:
    """Start one for the first engine of this process that needs such a one. It ends with the process, too. OSError.

    Call it in the main thread: the zygote ends with the thread that started it.
    """
    _ahead.append(start_zygote(preload, environment))


def fork_ahead(closes: Iterable[int] = ()) -> None:
    """As `start_ahead` without a preload, by a fork of this process once it has imported what both need. OSError.

    For a process that has just begun: it has one thread, no descriptors but the standard ones and those that the zygote
    `closes`, and holds nothing that code of users must not see. Does not return in the zygote and in its workers.
    """
    for name in SHARED_MODULES:
        import_module(name)
    ours, theirs = _ends()
    engine_pid, environment = os.getpid(), dict(os.environ)
    try:
        pid = os.fork()
        if pid == 0:
            _be_zygote(theirs, engine_pid, (ours.fileno(), *closes))
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    _ahead.append(StartedZygote(pid, ours, (), environment))


def _be_zygote(control: socket.socket, engine_pid: int, closes: Iterable[int]) -> None:
    """In the fork: what `spawn` gives a zygote. Does not return."""
    try:
        os.setsid()
        for number in STARTED_SIGNALS:
            if number not in (signal.SIGINT, signal.SIGPIPE):  # a Python process has its own for these
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        for descriptor in closes:
            os.close(descriptor)
        gc.enable()
        import_module("bridge.worker.zygote_main").main([str(control.detach()), str(engine_pid)])
    except BaseException as error:
        os.write(2, f"a zygote could not begin: {error!r}\n".encode())
    finally:
        os._exit(1)


def taken_ahead(preload: tuple[str, ...], python: str) -> StartedZygote | None:
    """The one that was started ahead with the same preload and has not been taken."""
    for started in _ahead:
        if started.preload == preload and python == sys.executable:
            _ahead.remove(started)
            return started
    return None
