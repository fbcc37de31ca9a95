"""Frames that nobody should send: mutated from good ones, or noise. Everything comes from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.protocol import messages
from bridge.protocol.framing import GOES_ON, encode

type Fields = dict[str, Any]

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 2**64 - 1, -(2**63), 0.5, float("nan"), float("inf"),
    "", "\0", "desk@1", "x" * 500, b"", b"\xff" * 40,
    [], {}, [[[]]], {"type": "result"}, {1: 2}, ["fetch", 1], {"a": {"b": [1.5, None]}},
)  # fmt: skip
"""Values that are wrong, or right, in unexpected places."""


class Hostile:
    """Frames made from good messages (`makers`), by a seeded choice."""

    def __init__(self, seed: int, makers: tuple[Callable[[random.Random], Fields], ...]) -> None:
        self._random = random.Random(seed)
        self._makers = makers
        self._n = 0

    def good(self) -> Fields:
        """A message that is allowed in form, whether or not anybody waits for it."""
        self._n += 1
        return {"id": f"h{self._n}", "timestamp": 1, **self._random.choice(self._makers)(self._random)}

    def frame(self) -> bytes:
        """One frame; more than half are good messages."""
        chance = self._random.random()
        message = self.good()
        if 0.6 < chance < 0.75:
            self._distort(message)
        payload = bytearray(msgspec.msgpack.encode(message))
        if 0.75 < chance < 0.93:
            self._damage(payload)
        if chance > 0.985:
            payload = bytearray(self._random.choice((0x91, 0x81, 0xDF, 0xC7, 0xA0)).to_bytes(1, "big") * 2_000)
        frame = bytearray(b"".join(bytes(part) for part in encode(bytes(payload), self._random.choice((2**20, 50)))))
        if 0.93 < chance < 0.985:
            self._damage(frame)
            if chance > 0.96:
                frame[:4] = (len(frame) | (GOES_ON if chance > 0.975 else 0)).to_bytes(4, "big")
        return bytes(frame)

    def _distort(self, message: Fields) -> None:
        """Another field, one less, or one with another value; at any depth of one."""
        draw = self._random
        for _ in range(draw.randint(1, 3)):
            name = draw.choice([*message, "extra"])
            what = draw.randint(0, 3)
            if what == 0:
                message.pop(name, None)
            elif what == 1 and isinstance(message.get(name), dict):
                message[name] = {**message[name], draw.choice(["kind", "a", ""]): draw.choice(ODD)}
            else:
                message[name] = draw.choice(ODD)

    def _damage(self, data: bytearray) -> None:
        draw = self._random
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data) + 1)
            what = draw.randint(0, 3)
            if what == 0:
                data[at:at] = draw.randbytes(draw.randint(1, 9))
            elif what == 1:
                del data[at : at + draw.randint(1, 9)]
            elif at < len(data):
                data[at] = draw.randrange(256) if what == 2 else data[at] ^ (1 << draw.randrange(8))


def _execution(draw: random.Random) -> str:
    return draw.choice(("desk@1", "desk@1", "desk@1", "other@1", ""))


def _count(draw: random.Random) -> int:
    return draw.choice((0, 1, 2, 7, 10**6, 2**62))


FROM_WORKER: tuple[Callable[[random.Random], Fields], ...] = (
    lambda d: {"type": "hello", "version": d.choice((1, 1, 1, 1, 2)), "frame_bytes_max": 2**20},
    lambda d: {"type": "ready", "session_id": "desk", "capabilities": ["fetch"], "pid": _count(d), "python": "3"},
    *(
        lambda d: {
            "type": "output",
            "execution_id": _execution(d),
            "stream": d.choice(("stdout", "stderr")),
            "data": d.choice(("", "x", "\r10%", "é\n" * 99)),
            "dropped": d.choice((0, 0, 5, 2**62)),
        },
    )
    * 4,
    lambda d: {"type": "piped", "stream": d.choice(("stdout", "stderr")), "data": d.randbytes(d.randint(0, 40))},
    *(
        lambda d: {
            "type": "call",
            "execution_id": _execution(d),
            "call": d.randrange(10**6),
            "capability": d.choice(("fetch", "input", "a_b")),
            "arguments": {"args": [], "kwargs": {}},
            "ordered": d.random() < 0.5,
        },
    )
    * 3,
    lambda d: {"type": "waiting", "execution_id": _execution(d), "calls": [_count(d)]},
    lambda d: {
        "type": "result",
        "execution_id": _execution(d),
        "value": d.choice((None, 1, "x", [1])),
        "repr": "1",
        "execution_time": 0.1,
        "statement": 1,
        "undrained": d.choice((0, 3)),
    },
    lambda d: {
        "type": "error",
        "execution_id": d.choice((None, _execution(d))),
        "exception_type": "KeyError",
        "exception_message": "k",
        "traceback": "",
    },
    *(
        lambda d: {
            "type": "checkpoint",
            "execution_id": _execution(d),
            "statement": _count(d),
            "counters": {"fetch": _count(d)},
            "data": d.randbytes(30),
            "final": d.random() < 0.3,
            **({"stream": d.choice((0, 3, 999))} if d.random() < 0.01 else {}),
        },
    )
    * 2,
    lambda d: {"type": "restored", "restore": "e1", "report": {"restored": ["x"]}},
    lambda d: {"type": "namespace_reply", "request": "e1", "value": {"a": 1}},
    lambda d: {"type": "completions", "complete": "e1", "names": ["a"]},
    lambda d: {"type": "heartbeat", "memory_usage": 1, "cpu_time": 0.5, "namespace_size": 2},
)
"""Good messages of a worker that says what it likes."""


def _like(model: messages.Message, odd: Callable[[random.Random], Fields]) -> Callable[[random.Random], Fields]:
    """The model's own fields, some of them drawn: whatever fields it gets, what is made from it is allowed."""
    fields = {name: value for name, value in msgspec.to_builtins(model).items() if name not in ("id", "timestamp")}
    return lambda draw: {**fields, **odd(draw)}


TO_WORKER: tuple[Callable[[random.Random], Fields], ...] = (
    _like(
        messages.Execute(code="1"),
        lambda d: {
            "code": d.choice(("1", "print('x')", "while")),
            "start_statement": d.choice((0, 0, 1)),
            "counters": {"fetch": d.choice((0, 3))},
            "inputs": {"a": d.choice((1, None, [1]))},
            "checkpoint": d.choice(("auto", "none")),
            "capabilities": d.choice((None, [])),
            "output_offset": _count(d),
            "transaction": d.choice(("commit_always", "rollback_always")),
        },
    ),
    _like(
        messages.Namespace(action="values"),
        lambda d: {
            "action": d.choice(("values", "update", "clear", "variables", "sources")),
            "names": d.choice(([], ["a"])),
            "updates": d.choice(({}, {"a": [1]})),
        },
    ),
    _like(messages.CallResult(call=1), lambda d: {"call": d.randrange(20), "value": {"a": [1]}}),
    _like(
        messages.CallResult(call=1, error=messages.CallError(kind="eof")),
        lambda d: {"call": d.randrange(20)},
    ),
    _like(messages.CheckpointAck(checkpoint="w1"), lambda d: {"checkpoint": f"w{d.randrange(20)}"}),
    _like(messages.Restore(data=b""), lambda d: {"data": d.randbytes(20), "clear_existing": d.random() < 0.5}),
    _like(messages.Complete(text="a"), lambda d: {"text": d.choice(("a.b", ""))}),
    _like(messages.Heartbeat(), lambda _: {}),
)
"""Good messages of an engine that says what it likes."""
