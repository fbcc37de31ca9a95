"""WASI for foreign code: arguments, environment, granted directories, captured output; time and chance that are ours.

WASI's own clocks, random numbers and sleeps would make a replay another run, and a sleep cannot be interrupted: here
time is virtual, begins where it is told and moves by what code sleeps, and chance is a stream from a seed. Code that
needs the real ones asks for `now` and `random`, which are granted and recorded.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import itertools
import struct
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wasmtime import Caller, Memory, ValType, WasiConfig
from wasmtime import _ffi as ffi

from capabilities.sandbox.errors import CapabilityDenied
from capabilities.sandbox.wasm.deadline import NO_FINALIZER
from capabilities.sandbox.wasm.module_imports import Import

WASI = "wasi_snapshot_preview1"
"""The module that preview 1 is imported from."""

_OK, _FAULT, _INVALID, _UNSUPPORTED = 0, 21, 28, 58
_SUBSCRIPTION, _EVENT = 48, 32
SUBSCRIPTIONS_MAX = 1_000
RANDOM_BYTES_MAX = 2**20
_FD_READ, _FD_WRITE = 1, 2
READING_NS = 1_000
"""Nanoseconds that virtual time moves by with each reading, so that code that waits for it to move goes on."""


@dataclass(frozen=True, slots=True)
class Preopened:
    """A directory that the code sees as `guest`."""

    path: str
    guest: str
    writable: bool = False


class _Stream:
    """Where one stream of one call goes."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self.write = write


_streams: weakref.WeakValueDictionary[int, _Stream] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)
_STDOUT, _STDERR = ffi.wasi_config_set_stdout_custom, ffi.wasi_config_set_stderr_custom


@ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.POINTER(ctypes.c_ubyte), ctypes.c_size_t)  # type: ignore[untyped-decorator]
def _print(number: int | None, data: Any, size: int) -> int:
    """Called in a thread of wasmtime's, by calls that run: never when the process ends, so it is given no finalizer."""
    try:
        stream = _streams.get(number or 0)
        return size if stream is None else stream.write(ctypes.string_at(data, size))
    except BaseException:
        return -errno.EIO


class Captured:
    """The output of the code, of each stream the first bytes up to a limit; the rest is counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._streams: list[_Stream] = []
        self._kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.dropped = {"stdout": 0, "stderr": 0}

    def writer(self, stream: str) -> Callable[[bytes], int]:
        """A function that takes the bytes of one stream."""
        kept = self._kept[stream]

        def write(data: bytes) -> int:
            room = self._most - len(kept)
            kept.extend(data[:room])
            self.dropped[stream] += max(0, len(data) - room)
            return len(data)

        return write

    def number(self, stream: str) -> int:
        """The number that wasmtime knows this stream by, as long as this lives."""
        made = _Stream(self.writer(stream))
        self._streams.append(made)
        _streams[number := next(_numbers)] = made
        return number

    def text(self, stream: str) -> str:
        """The kept text of a stream."""
        return self._kept[stream].decode(errors="replace")


@dataclass(slots=True)
class Ambient:
    """Time and chance of one call: the same for the same `started_ns` and `seed`."""

    started_ns: int = 0
    seed: bytes = b""
    _passed_ns: int = 0
    _drawn: int = 0

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return self.started_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since the call began."""
        self._passed_ns += READING_NS
        return self._passed_ns

    def sleep(self, ns: int) -> None:
        """Time passes, without anybody waiting."""
        self._passed_ns += max(0, ns)

    def random(self, size: int) -> bytes:
        """The next bytes of the stream."""
        if size > RANDOM_BYTES_MAX:
            raise CapabilityDenied("the code", "take", f"{size} random bytes", f"at most {RANDOM_BYTES_MAX} at once")
        self._drawn += 1
        return hashlib.shake_256(self.seed + struct.pack("<Q", self._drawn)).digest(size)

    def imports(self) -> list[Import]:
        """The functions of preview 1 that are these instead of WASI's."""
        i32, i64 = ValType.i32(), ValType.i64()
        module = WASI
        return [
            Import(module, "clock_time_get", [i32, i64, i32], [i32], self._time, caller=True),
            Import(module, "clock_res_get", [i32, i32], [i32], self._resolution, caller=True),
            Import(module, "random_get", [i32, i32], [i32], self._random_get, caller=True),
            Import(module, "poll_oneoff", [i32] * 4, [i32], self._poll, caller=True),
        ]

    def _time(self, caller: Caller, clock: int, _precision: int, out: int) -> int:
        now = self.now_ns() if clock == 0 else self.monotonic_ns()
        return _put(caller, out, struct.pack("<Q", now)) if clock in (0, 1) else _INVALID

    def _resolution(self, caller: Caller, clock: int, out: int) -> int:
        return _put(caller, out, struct.pack("<Q", READING_NS)) if clock in (0, 1) else _INVALID

    def _random_get(self, caller: Caller, out: int, size: int) -> int:
        return _put(caller, out, self.random(size & 0xFFFFFFFF))

    def _poll(self, caller: Caller, subscriptions: int, events: int, count: int, out: int) -> int:
        """The shortest sleep is over at once; files and streams, which never keep anybody waiting, are ready before."""
        memory = _memory(caller)
        if memory is None or not 0 < count <= SUBSCRIPTIONS_MAX:
            return _INVALID
        start = subscriptions & 0xFFFFFFFF
        data = bytes(memory.read(caller, start, start + count * _SUBSCRIPTION))
        if len(data) != count * _SUBSCRIPTION:
            return _FAULT
        slept: list[tuple[int, int]] = []
        ready: list[bytes] = []
        for at in range(0, len(data), _SUBSCRIPTION):
            user, tag, clock, timeout, _, flags = struct.unpack_from("<QB7xI4xQQH", data, at)
            if tag in (_FD_READ, _FD_WRITE):
                ready.append(struct.pack("<QHB5xQH6x", user, 0, tag, 0, 0))
                continue
            if tag != 0 or clock not in (0, 1):
                return _UNSUPPORTED
            past = self.now_ns() if clock == 0 else self.monotonic_ns()
            slept.append((timeout - past if flags & 1 else timeout, user))
        if not ready:
            ns, user = min(slept)
            self.sleep(ns)
            ready = [struct.pack("<QHB21x", user, 0, 0)]
        failed = _put(caller, events, b"".join(ready))
        return failed or _put(caller, out, struct.pack("<I", len(ready)))


@dataclass(frozen=True, slots=True)
class Wasi:
    """A call's part of WASI: nothing of the machine but what is named here. started_ns: when virtual time
    begins, since the Unix epoch. seed: of its chance."""

    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    preopened: Sequence[Preopened] = ()
    started_ns: int = 0
    seed: bytes = b""

    def config(self, output: Captured) -> WasiConfig:
        """The configuration as wasmtime takes it. Network and standard input are not given."""
        config = WasiConfig()
        config.argv = list(self.argv)
        config.env = list(self.env.items())
        for stream, give in (("stdout", _STDOUT), ("stderr", _STDERR)):
            give(config.ptr(), _print, output.number(stream), NO_FINALIZER)
        for each in self.preopened:
            config.preopen_dir(each.path, each.guest, each.writable)
        return config


def _memory(caller: Caller) -> Memory | None:
    found: Any = caller.get("memory")
    return found if isinstance(found, Memory) else None


def _put(caller: Caller, at: int, data: bytes) -> int:
    memory, at = _memory(caller), at & 0xFFFFFFFF
    if memory is None or at + len(data) > memory.data_len(caller):
        return _FAULT
    memory.write(caller, data, at)
    return _OK
