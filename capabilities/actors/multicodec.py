"""Frames that say how their payload is written: an unsigned varint with the codec's id, then the payload (A33-A35).

JSON is msgspec's. CBOR needs `cbor2` (extra `actors`), Borsh `borsh-construct` and a schema, since Borsh has no types
of its own in its bytes; a codec whose library is not installed is refused by name.
"""

from __future__ import annotations

from enum import IntEnum
from importlib import import_module
from typing import Any

import msgspec

from capabilities.actors.errors import CodecError, CodecMissing

VARINT_BITS_MAX = 28
"""Shift beyond which a varint is refused: no codec's id needs more (A34)."""

_GOES_ON_BITS = 0x80


class Multicodec(IntEnum):
    CBOR = 0x51
    JSON = 0x0200
    BORSH = 0x701
    """Private to this project (D25)."""


_PREFIX: dict[Multicodec, bytes] = {}


def write_varint(value: int) -> bytes:
    """An unsigned varint, seven bits a byte, the lowest first."""
    found = bytearray()
    while value >= _GOES_ON_BITS:
        found.append(value & 0x7F | _GOES_ON_BITS)
        value >>= 7
    found.append(value)
    return bytes(found)


_PREFIX.update({codec: write_varint(codec) for codec in Multicodec})
_CODECS = {prefix: codec for codec, prefix in _PREFIX.items()}


def read_varint(data: bytes) -> tuple[int, int]:
    """The value at the beginning, and how many bytes it takes; CodecError."""
    if not data:
        raise CodecError("a message without a byte: its codec's id is expected first")
    value = shift = 0
    for count, byte in enumerate(data, 1):
        if shift > VARINT_BITS_MAX:
            raise CodecError(f"the codec's id is larger than any: more than {VARINT_BITS_MAX} bits of shift")
        value |= (byte & 0x7F) << shift
        if byte < _GOES_ON_BITS:
            return value, count
        shift += 7
    raise CodecError("the message ends within its codec's id")


def frame(codec: Multicodec, payload: bytes) -> bytes:
    """A payload behind its codec's id."""
    return _PREFIX[codec] + payload


def unframe(data: bytes) -> tuple[Multicodec, bytes]:
    """The codec and the payload; CodecError names what is wrong."""
    known = _CODECS.get(data[:2]) or _CODECS.get(data[:1])
    if known is not None:
        return known, data[len(_PREFIX[known]) :]
    value, length = read_varint(data)
    try:
        return Multicodec(value), data[length:]
    except ValueError:
        raise CodecError(
            f"unknown codec {value:#x}: known are "
            + ", ".join(f"{each.name.lower()} {each.value:#x}" for each in Multicodec)
        ) from None


def encode_value(codec: Multicodec, value: Any, schema: Any = None) -> bytes:
    """A value as a frame. schema: Borsh's, an object with `build` and `parse`. CodecError, CodecMissing."""
    try:
        return frame(codec, _written(codec, value, schema))
    except CodecError:
        raise
    except Exception as error:  # each library has its own errors
        raise CodecError(f"{codec.name.lower()} cannot write {type(value).__name__}: {error}") from error


def decode_value(data: bytes, schema: Any = None) -> tuple[Multicodec, Any]:
    """The codec of a frame and its value. CodecError, CodecMissing."""
    codec, payload = unframe(data)
    try:
        return codec, _read(codec, payload, schema)
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"this is no {codec.name.lower()}: {error}") from error


def _written(codec: Multicodec, value: Any, schema: Any) -> bytes:
    match codec:
        case Multicodec.JSON:
            return msgspec.json.encode(value)
        case Multicodec.CBOR:
            written: bytes = _library("cbor2", "cbor").dumps(value)
            return written
        case Multicodec.BORSH:
            built: bytes = _schema(schema).build(value)
            return built


def _read(codec: Multicodec, payload: bytes, schema: Any) -> Any:
    match codec:
        case Multicodec.JSON:
            return msgspec.json.decode(payload)
        case Multicodec.CBOR:
            return _library("cbor2", "cbor").loads(payload)
        case Multicodec.BORSH:
            return _schema(schema).parse(payload)


def _library(name: str, codec: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise CodecMissing(f"the codec {codec} needs the package {name}, which is not installed") from None


def _schema(schema: Any) -> Any:
    if schema is None:
        _library("borsh_construct", "borsh")
        raise CodecError("borsh has no types in its bytes: give the schema of the message, made with borsh_construct")
    return schema
