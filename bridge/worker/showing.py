"""Short texts of a namespace's values, for people who compare two of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from bridge.worker.values import bounded_repr

SHORT_CHARS = 80


def short_reprs(namespace: Mapping[str, object], names: Iterable[str]) -> dict[str, str]:
    """Of the names that are there, each value's repr on one line; what is cut ends with a checksum of the whole."""
    return {name: _short(namespace[name]) for name in names if name in namespace}


def _short(value: object) -> str:
    text = " ".join(("None" if value is None else bounded_repr(value)).split()).encode(errors="replace").decode()
    if len(text) <= SHORT_CHARS:
        return text
    return f"{text[: SHORT_CHARS - 6]}… {zlib.crc32(text.encode()) & 0xFFFF:04x}"
