"""Snapshots of core modules between calls: memories and mutable globals, signed, for the same module only.

What an instance is made of is its memory, its globals, and its tables; modules that change a table or drop a segment
while they run are refused, since nobody can read that back. What is restored is a fresh instance of the same code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wasmtime import Global, Memory

from capabilities.sandbox.errors import ComponentValidationFailed, OutOfMemory, SnapshotRefused
from capabilities.sandbox.host_calls import Port
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.wasm.module_bytes import ModuleState, with_state
from capabilities.sandbox.wasm.module_call import CoreCall, Wasi
from capabilities.sandbox.wasm.module_imports import Import
from capabilities.sandbox.wasm.runtime import Module, Runtime
from capabilities.sandbox.wasm.verdict import PAGE_BYTES

MAGIC = b"durable-wasm-1\n"
_MAC_BYTES = 32
_VALUE = struct.Struct("<B8s")
_FORMS = {"i32": (0, "<i4x"), "i64": (1, "<q"), "f32": (2, "<f4x"), "f64": (3, "<d")}


@dataclass(frozen=True, slots=True)
class Snapshotable:
    """A module whose state can be taken and given. digest: of its source, which names it in snapshots."""

    module: Module
    state: ModuleState
    digest: bytes

    @classmethod
    def load(cls, runtime: Runtime, data: bytes, name: str = "") -> Snapshotable:
        """ComponentValidationFailed says which state of it nobody could read back."""
        runtime.module(data, name)  # sound as it came, before it is taken apart
        made, state = with_state(data, name)
        if state.hidden:
            raise ComponentValidationFailed(name, f"it uses {state.hidden}: what that changes cannot be read back")
        return cls(runtime.module(made, name), state, hashlib.sha256(data).digest())

    def call(
        self,
        runtime: Runtime,
        limits: SandboxLimits,
        *,
        imports: Iterable[Import] = (),
        port: Port | None = None,
        wasi: Wasi | None = None,
        component: str = "",
    ) -> CoreCall:
        """A fresh instance. WASI is not given unless asked for: what it keeps (open files) is in no snapshot."""
        return CoreCall(runtime, self.module, limits, imports=imports, port=port, wasi=wasi, component=component)


def take(source: Snapshotable, call: CoreCall, key: bytes) -> bytes:
    """The state of an instance between two calls, compressed and signed."""
    parts: list[bytes] = call.guarded("snapshot", lambda: _parts(source, call)).value
    body = zlib.compress(b"".join([source.digest, *parts]), 1)
    return MAGIC + hmac.digest(key, MAGIC + body, "sha256") + body


def _parts(source: Snapshotable, call: CoreCall) -> list[bytes]:
    exports, store = call.instance.exports(call.store), call.store
    parts = []
    for name in source.state.memories:
        memory = exports[name]
        assert isinstance(memory, Memory)
        data = bytes(memory.read(store))
        parts += [struct.pack("<Q", len(data)), data]
    for name in source.state.globals:
        found = exports[name]
        assert isinstance(found, Global)
        number, form = _FORMS[str(found.type(store).content)]
        parts.append(_VALUE.pack(number, struct.pack(form, found.value(store))))
    return parts


def give(source: Snapshotable, call: CoreCall, snapshot: bytes, key: bytes) -> None:
    """Make a fresh instance what the snapshot's was. SnapshotRefused; OutOfMemory where the limits are smaller."""
    at = _Cursor(_body(snapshot, key, source, call.limits))
    if at.take(len(source.digest)) != source.digest:
        raise SnapshotRefused("the snapshot is of another module: its state means nothing to this one")
    call.guarded("restore", lambda: _restore(source, call, at))


def _restore(source: Snapshotable, call: CoreCall, at: _Cursor) -> None:
    exports, store = call.instance.exports(call.store), call.store
    for name in source.state.memories:
        memory = exports[name]
        assert isinstance(memory, Memory)
        (size,) = struct.unpack("<Q", at.take(8))
        missing = size - memory.data_len(store)
        if missing > 0:
            if size > call.limits.memory:
                raise OutOfMemory(call.limits.memory, size)
            memory.grow(store, missing // PAGE_BYTES)
        memory.write(store, bytearray(at.take(size)), 0)
    for name in source.state.globals:
        found = exports[name]
        assert isinstance(found, Global)
        number, value = _VALUE.unpack(at.take(_VALUE.size))
        found.set_value(store, _value(number, value))


def _value(number: int, value: bytes) -> Any:
    form = next(form for each, form in _FORMS.values() if each == number)
    return struct.unpack(form, value)[0]


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) != size:
            raise SnapshotRefused("the snapshot ends too early")
        self._at += size
        return found


def _body(snapshot: bytes, key: bytes, source: Snapshotable, limits: SandboxLimits) -> bytes:
    head = len(MAGIC) + _MAC_BYTES
    mac, body = snapshot[len(MAGIC) : head], snapshot[head:]
    if not snapshot.startswith(MAGIC) or not hmac.compare_digest(mac, hmac.digest(key, MAGIC + body, "sha256")):
        raise SnapshotRefused("the snapshot is not as it was made; nothing of it was loaded")
    most = limits.memory + 4096 + len(source.state.globals) * _VALUE.size
    found = zlib.decompressobj()
    data = found.decompress(body, most)
    if found.unconsumed_tail:
        raise OutOfMemory(limits.memory, None)
    return data
