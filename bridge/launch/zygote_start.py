"""The start of a zygote process: by an engine that needs one, or ahead, before the program has imported its engine."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridge.launch.launcher import spawn
from bridge.launch.zygote_protocol import PACKET_BYTES_MAX


class StartedZygote(NamedTuple):
    """A zygote process that imports, or has imported, and our end of its socket."""

    pid: int
    control: socket.socket
    preload: tuple[str, ...]
    environment: dict[str, str]
    """What it was started with."""


def start_zygote(preload: Sequence[str], environment: Mapping[str, str], python: str = sys.executable) -> StartedZygote:
    """Start one; does not wait for its imports. OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PACKET_BYTES_MAX)
        ours.setblocking(False)
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


_ahead: list[StartedZygote] = []


def start_ahead(preload: Sequence[str], environment: Mapping[str, str]) -> None:
    """Start one for the first engine of this process that needs such a one. It ends with the process, too. OSError.

    Call it in the main thread: the zygote ends with the thread that started it.
    """
    _ahead.append(start_zygote(preload, environment))


def taken_ahead(preload: tuple[str, ...], python: str) -> StartedZygote | None:
    """The one that was started ahead with the same preload and has not been taken."""
    for started in _ahead:
        if started.preload == preload and python == sys.executable:
            _ahead.remove(started)
            return started
    return None
