"""The messages between an engine and its zygote (specs/zygote.md). Imported by both."""

from __future__ import annotations

import socket
from array import array

import msgspec

PACKET_BYTES_MAX = 2**20
"""Bytes of one message: the largest is `Fork`, with what changed in the environment since the zygote was started."""

DESCRIPTORS_FORK = 5
"""The descriptors of `Fork`: socket, stdout read and write, stderr read and write."""


class Warm(msgspec.Struct, frozen=True, tag="warm"):
    """The zygote can fork; or `problem` says what could not be preloaded, and it ends."""

    problem: str = ""


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Start a worker. `environment` holds changes only; None removes a name."""

    number: int
    cwd: str
    environment: dict[str, str | None]


class AliveUntil(msgspec.Struct, frozen=True, tag="alive_until"):
    """Other engines may take the sessions over at `boot_s` (seconds of CLOCK_BOOTTIME): no worker may live then."""

    boot_s: float


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """The worker of that `Fork`, its pidfd beside it; or the problem. `start_time` as in `WorkerProcess`."""

    number: int
    pid: int = 0
    start_time: int = 0
    problem: str = ""


class Reap(msgspec.Struct, frozen=True, tag="reap"):
    """Collect a worker that has ended: its number may be used again after this."""

    pid: int


class Reaped(msgspec.Struct, frozen=True, tag="reaped"):
    """How a worker ended: `si_code` and `si_status` of waitid; both 0 when there was nothing to collect."""

    pid: int
    code: int = 0
    status: int = 0


type ToZygote = Fork | Reap | AliveUntil
type FromZygote = Warm | Forked | Reaped

encode = msgspec.msgpack.Encoder().encode
decode_to_zygote = msgspec.msgpack.Decoder(Fork | Reap | AliveUntil).decode
decode_from_zygote = msgspec.msgpack.Decoder(Warm | Forked | Reaped).decode


def receive(control: socket.socket, descriptors_max: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """One packet and its descriptors, closed on exec: children of whoever receives them must not hold them."""
    found = array("i")
    room = socket.CMSG_SPACE(descriptors_max * found.itemsize)  # not socket.recv_fds: Python 3.13.0's ignores the flags
    data, ancillary, _, _ = control.recvmsg(PACKET_BYTES_MAX, room, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return data, list(found)
