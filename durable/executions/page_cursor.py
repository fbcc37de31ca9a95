"""The opaque cursors of lists: where a page ended, and of which list with which filters."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec

from durable.core.errors import BadArguments

CHARS_MAX = 4_096
"""Of a cursor: an id is at most 1,024 characters."""


def write_cursor(place: object, of: object) -> str:
    """The cursor behind `place`. of: the list and its filters, to which alone it belongs."""
    return base64.urlsafe_b64encode(msgspec.json.encode([_digest(of), place])).decode().rstrip("=")


def read_cursor[T](cursor: str | None, of: object, kind: type[T]) -> T | None:
    """The place behind which the page begins; None for the first page. BadArguments for what is no cursor of it."""
    if cursor is None:
        return None
    try:
        if len(cursor) > CHARS_MAX:
            raise ValueError("too long")
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, place = msgspec.json.decode(text, type=tuple[str, Any])
        found = msgspec.convert(place, kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise BadArguments("the cursor is none: take it from `next` of the page before, unchanged") from None
    if digest != _digest(of):
        raise BadArguments("the cursor is of another list or other filters: ask for its next page with the same ones")
    return found


def _digest(of: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(of), digest_size=6).hexdigest()
