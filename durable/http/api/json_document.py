"""Documents of the API as JSON, whatever the values in them are."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import msgspec


def encode_document(document: object) -> bytes:
    """The document as JSON in UTF-8.

    Recorded values may hold what UTF-8 or 64 bits cannot: lone surrogates are escapes then, large integers are written
    out, and NaN is null, as elsewhere.
    """
    try:
        return msgspec.json.encode(document)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        return json.dumps(_plain(document), default=str, separators=(",", ":")).encode()


def _plain(found: object) -> Any:
    if isinstance(found, msgspec.Struct):
        return {name: _plain(getattr(found, name)) for name in found.__struct_fields__}
    if is_dataclass(found) and not isinstance(found, type):
        return _plain(asdict(found))
    if isinstance(found, dict):
        return {str(name): _plain(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(each) for each in found]
    if isinstance(found, float) and (found != found or found in (float("inf"), float("-inf"))):
        return None
    return found
