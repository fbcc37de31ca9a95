"""Requests with their values sealed: before they are written, or leave this process (specs/codec.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from durable.core.value_codec import ValueCodec
from durable.store.protocol.requests import RecordPromise, Value

_VALUES = ("param", "value", "promiseParam")
_WRITES = ("durable:stream", "durable:publish")
"""Tags of promises whose value is the store's own: the offset of a write."""


def sealed(request: Any, codec: ValueCodec) -> Any:
    """A request in its struct, with the data of each Value in it sealed."""
    changed: dict[str, Any] = {}
    for field in request.__struct_fields__:
        value = getattr(request, field)
        new = _sealed_field(value, codec)
        if new is not value and not (field == "value" and _is_write(request)):
            changed[field] = new
    return msgspec.structs.replace(request, **changed) if changed else request


def _sealed_field(value: Any, codec: ValueCodec) -> Any:
    if isinstance(value, Value):
        if not value.data:
            return value
        text = codec.seal_text(value.data)
        return value if text == value.data else Value(headers=value.headers, data=text)
    if isinstance(value, msgspec.Struct):
        return sealed(value, codec)
    if isinstance(value, list) and any(isinstance(each, msgspec.Struct) for each in value):
        return [_sealed_field(each, codec) for each in value]
    return value


def _is_write(request: Any) -> bool:
    return isinstance(request, RecordPromise) and any(tag in request.tags for tag in _WRITES)


def sealed_data(data: Any, codec: ValueCodec) -> Any:
    """The same of a request as a document."""
    if isinstance(data, list):
        return [sealed_data(each, codec) for each in data]
    if not isinstance(data, Mapping):
        return data
    write = any(tag in (data.get("tags") or {}) for tag in _WRITES) and "state" in data
    return {name: each if write and name == "value" else _sealed_part(name, each, codec) for name, each in data.items()}


def _sealed_part(name: str, value: Any, codec: ValueCodec) -> Any:
    if name in _VALUES and isinstance(value, Mapping):
        text = value.get("data")
        return {**value, "data": codec.seal_text(text)} if isinstance(text, str) and text else value
    return sealed_data(value, codec)
