"""A hostile cell: it finds its worker's socket, and says what it likes there to its own engine.

The text of this module is the cell that `tests/protocol/hostile_worker.py` runs; `run` is its last line.
"""

from __future__ import annotations

import os
import random
import select
import socket
import stat
import struct
from typing import Any

import msgspec

type Fields = dict[str, Any]

EXECUTION = ""
"""The id of the cell that runs: what a forged message has to name."""


class Unread(Exception):
    """The engine reads no more: it has given this worker up, or waits for something."""


class Engine:
    """The other end of this worker's socket, which no user code is meant to have."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=os.dup(_engine_socket()))
        self._sent = 0

    def say(self, kind: str, fields: Fields) -> None:
        """One message, whole."""
        self._sent += 1
        message = {"type": kind, "id": f"f{self._sent}", "timestamp": 1, **fields}
        self.raw(framed(msgspec.msgpack.encode(message)))

    def raw(self, data: bytes) -> None:
        """Any bytes."""
        view = memoryview(data)
        while view:
            if not select.select([], [self._socket], [], 5)[1]:
                raise Unread
            try:
                view = view[self._socket.send(view, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                continue


def framed(payload: bytes, part: int = 10 * 2**20) -> bytes:
    """A payload in frames."""
    parts = [payload[at : at + part] for at in range(0, len(payload), part)] or [b""]
    words = [len(one) | (2**31 if at < len(parts) - 1 else 0) for at, one in enumerate(parts)]
    return b"".join(word.to_bytes(4, "big") + one for word, one in zip(words, parts, strict=True))


def _engine_socket() -> int:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as one:
                if one.family != socket.AF_UNIX or one.type != socket.SOCK_STREAM:
                    continue
                peer, _, _ = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            continue
        if peer != os.getpid():
            return descriptor
    raise LookupError("no socket of an engine")


ODD: tuple[Any, ...] = (
    *(None, True, -1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 0.5, float("nan"), float("inf"), 1e308),
    *("", "\0", "\x1b[2J", "é" * 500, "x" * 100_000, b"", b"\xff" * 40, [], {}, [[[]]], [""] * 5_000),
    *({"type": "result"}, {1: 2}, {"a": {"b": [1.5, None]}}, {f"k{n}": n for n in range(2_000)}),
)  # fmt: skip
"""Values at and beyond the bounds, for any field."""


def legal(draw: random.Random) -> tuple[str, Fields]:
    """A message that is allowed in form, in whatever state the session is."""
    kind = draw.choice(("output", "output", "output", "call", "waiting", "heartbeat", "piped", "restored", "reply"))
    mine = draw.choice((EXECUTION, EXECUTION, "other@1", ""))
    if kind == "output":
        data, dropped = draw.choice(("", "x", "\r10%", "é\n" * 99)), draw.choice((0, 0, 5, 2**30))
        return kind, {"execution_id": mine, "stream": "stdout", "data": data, "dropped": dropped}
    if kind == "call":
        call: Fields = {"args": draw.choice(([], [1], ["x"])), "kwargs": {}}
        name = draw.choice(("ping", "ping", "nothing"))
        at = draw.randrange(10**6, 10**9)
        return kind, {"execution_id": mine, "call": at, "capability": name, "arguments": call, "ordered": False}
    if kind == "waiting":
        return kind, {"execution_id": mine, "calls": [draw.randrange(10**6)]}
    if kind == "heartbeat":
        return kind, {"memory_usage": draw.choice((0, 2**53)), "cpu_time": 0.5, "namespace_size": 2, "background": 0}
    if kind == "piped":
        return kind, {"stream": draw.choice(("stdout", "stderr")), "data": draw.randbytes(40)}
    if kind == "restored":
        return kind, {"restore": f"e{draw.randrange(100)}", "report": {"restored": ["x"] * 50}}
    return "namespace_reply", {"request": f"e{draw.randrange(100)}", "value": {"a": [1] * 100}}


def ending(draw: random.Random) -> tuple[str, Fields]:
    """A forged end of this execution, with fields at their bounds."""
    texts = draw.choice(("k", "x" * 10_000, "\x1b]0;t\x07"))
    about = {
        "execution_id": EXECUTION,
        "statement": draw.choice((0, 1, 2**31)),
        "warnings": ["w"] * draw.choice((0, 9)),
    }
    if draw.random() < 0.5:
        return "result", {**about, "value": draw.choice((None, [1] * 5_000)), "repr": texts, "execution_time": 0.1}
    return "error", {**about, "exception_type": texts, "exception_message": texts, "traceback": texts}


def checkpoint(draw: random.Random) -> tuple[str, Fields]:
    """A forged checkpoint: data that is none, positions beyond the cell, outcomes that are none, pipes of all kinds."""
    data = draw.choice((b"", b"\x83", draw.randbytes(60), msgspec.msgpack.encode({"format": "3", "chunks": []})))
    fields: Fields = {"execution_id": EXECUTION, "statement": draw.choice((0, 1, 2**31)), "data": data}
    fields["counters"] = {"ping": draw.choice((0, 3, 2**53))}
    if draw.random() < 0.4:
        kind, outcome = ending(draw)
        fields |= {"final": True, "outcome": {"type": kind, **outcome}}
    if draw.random() < 0.4:
        fields |= {"stream": _pipe(draw), "data": b""}
    return "checkpoint", fields


def _pipe(draw: random.Random) -> int:
    """The end of a pipe that lies; the other end is left to itself, or kept open and silent."""
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice((0, 1, 2, 999, 2**20))
    if kind == 1:
        path = f"/session/{draw.randrange(10**9)}" if os.path.isdir("/session") else f"fifo-{draw.randrange(10**9)}"
        os.mkfifo(path)
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    reader, writer = os.pipe()
    lies = (
        b"",
        bytes(4) + (2**32 - 1).to_bytes(8, "big"),
        (2**26).to_bytes(4, "big") + b"x" * 1_000,
        bytes(4) + (4).to_bytes(8, "big") + b"junk",
    )
    os.write(writer, lies[kind - 2])
    if draw.random() < 0.5:
        os.close(writer)
    return reader


def illegal(draw: random.Random) -> tuple[str, Fields]:
    """A good message with a field that is wrong, missing or one too many."""
    kind, fields = draw.choice((legal, ending, checkpoint))(draw)
    for _ in range(draw.randint(1, 2)):
        name = draw.choice([*fields, "extra", "timestamp"])
        if draw.random() < 0.2:
            fields.pop(name, None)
        else:
            fields[name] = draw.choice(ODD)
    return kind, fields


def wild(draw: random.Random) -> bytes:
    """Bytes that are no message: sizes that lie, items without end, depth, halves."""
    size = draw.choice((0, 1, 2**24, 2**31 - 1))
    return draw.choice(
        (
            (size | 2**31).to_bytes(4, "big") + b"\x80" * 100,
            size.to_bytes(4, "big") + b"x" * 50,
            framed(b"\x91" * 5_000),
            framed(b"\xdd\x00\x40\x00\x00" + b"\x80" * 2**22),
            framed(b"\x81\xa4type" + b"\xd9\xff"),
            draw.randbytes(draw.randint(1, 300)),
        )
    )


def run(seed: int, frames: int, execution: str) -> int:
    """Send so many frames; how many went out before the engine had enough."""
    global EXECUTION
    EXECUTION = execution
    draw, engine, sent = random.Random(seed), Engine(), 0
    rough = draw.random() < 0.5
    try:
        for sent in range(frames):  # noqa: B007
            chance = draw.random()
            if chance < 0.004 and rough:
                engine.raw(wild(draw))
            elif chance < 0.01 and rough:
                engine.say(*illegal(draw))
            elif chance < 0.02 and rough:
                engine.say(*checkpoint(draw))
            else:
                engine.say(*legal(draw))
        if rough:
            engine.say(*ending(draw))
    except (Unread, OSError):
        pass
    return sent
