"""Values inside promises: base64 of JSON, as resonate-sdk's codec has them, without what the SDK would unpickle."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
from resonate.types import PromiseRecord

from durable.core.errors import KeyUnavailable, ValueDamaged
from durable.core.value_codec import ValueCodec, unseal

_PICKLE = b"__py_pickle"


class StripPickle:
    """The codec seam: no `__py_pickle` field ever reaches the store or the SDK's unpickler, whoever wrote it.

    Values that are sealed are opened here; `refuse` makes the error of one whose key is missing, or that is damaged.
    """

    def __init__(
        self,
        codec: ValueCodec | None = None,
        refuse: Callable[[KeyUnavailable | ValueDamaged], Exception] | None = None,
    ) -> None:
        self._codec = codec
        self._refuse = refuse

    def encrypt(self, data: bytes) -> bytes:
        plain = without_pickle(data)
        return plain if self._codec is None else self._codec.seal(plain)

    def decrypt(self, data: bytes) -> bytes:
        try:
            return without_pickle(unseal(data))
        except (KeyUnavailable, ValueDamaged) as error:
            raise error if self._refuse is None else self._refuse(error) from None


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
    return msgspec.json.decode(without_pickle(unseal(base64.b64decode(data))))
