"""One number as little-endian bytes and back: how core modules take and give values (A32)."""

from __future__ import annotations

import struct
from typing import Literal

from capabilities.actors.errors import CodecError

type Number = Literal["i32", "i64", "f32", "f64"]

_STRUCTS = {
    "i32": struct.Struct("<i"),
    "i64": struct.Struct("<q"),
    "f32": struct.Struct("<f"),
    "f64": struct.Struct("<d"),
}


def to_bytes(kind: str, value: float) -> bytes:
    """A value of that WebAssembly type; CodecError for another type, or a value that does not fit."""
    try:
        return _of(kind).pack(value)
    except struct.error as error:
        raise CodecError(f"type mismatch: {value!r} is no {kind}: {error}") from None


def from_bytes(kind: str, data: bytes) -> int | float:
    """The value in exactly as many bytes as the type has; CodecError says "type mismatch"."""
    found = _of(kind)
    if len(data) != found.size:
        raise CodecError(f"type mismatch: {kind} has {found.size} bytes, this has {len(data)}")
    value: int | float = found.unpack(data)[0]
    return value


def check_arity(parameters: list[str], results: list[str]) -> None:
    """CodecError for a function that bytes alone cannot call: more than one value needs a schema."""
    for what, kinds in (("parameter", parameters), ("result", results)):
        if len(kinds) > 1:
            raise CodecError(f"a function with {len(kinds)} {what}s needs a schema; bytes alone say one value")
        for kind in kinds:
            _of(kind)


def _of(kind: str) -> struct.Struct:
    found = _STRUCTS.get(kind)
    if found is None:
        raise CodecError(f"type mismatch: {kind} has no form as bytes; only {', '.join(_STRUCTS)} have")
    return found
