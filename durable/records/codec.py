"""Values inside promises: base64 of JSON, as resonate-sdk's codec has them, without what the SDK would unpickle."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from resonate.types import PromiseRecord

_PICKLE = b"__py_pickle"


class StripPickle:
    """The codec seam: no `__py_pickle` field ever reaches the store or the SDK's unpickler, whoever wrote it."""

    def encrypt(self, data: bytes) -> bytes:
        return without_pickle(data)

    def decrypt(self, data: bytes) -> bytes:
        return without_pickle(data)


def without_pickle(data: bytes) -> bytes:
    """JSON of a value, without the field that the SDK would unpickle."""
    # A JSON text can spell the key with escapes, so one that holds a backslash is looked into as well.
    if _PICKLE not in data and b"\\" not in data:
        return data
    try:
        value = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return data  # not JSON: the codec refuses it by itself
    if isinstance(value, dict) and "__py_pickle" in value:
        del value["__py_pickle"]
        return msgspec.json.encode(value)
    return data


def encode(value: Any) -> str | None:
    """JSON builtins as a promise has them; None for None."""
    if value is None:
        return None
    return base64.b64encode(without_pickle(msgspec.json.encode(value))).decode("ascii")


def decode(record: PromiseRecord) -> Any:
    """The JSON builtins that a promise was settled with."""
    return _decoded(record.value.data)


def decode_param(record: PromiseRecord) -> Any:
    """The JSON builtins that a promise was made with."""
    return _decoded(record.param.data)


def _decoded(data: Any) -> Any:
    if not data:
        return None
    return msgspec.json.decode(without_pickle(base64.b64decode(data)))
