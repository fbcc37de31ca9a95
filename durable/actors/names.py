"""Names of actors in the store: `actor~<class>~<key>`, the name of their mailbox and of all their messages.

A dot or a colon would make a message part of another execution (specs/store.md, Forgetting; specs/postgres.md, C1), so
what is no letter, digit, `_` or `-` is written as `=` and two hex digits a byte.
"""

from __future__ import annotations

import re

from durable.core.errors import InvalidId
from durable.core.ids import MAILBOX

PREFIX = MAILBOX
KEY_BYTES_MAX = 200
"""A key, written so, stands in the id of every message."""

_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,79}\Z")
_OTHER = re.compile(rb"[^A-Za-z0-9_-]")


def check_kind(kind: str) -> str:
    """The name of an actor's class, or InvalidId."""
    if not isinstance(kind, str) or not _KIND.match(kind):
        form = "the name of an actor's class is up to 80 letters, digits, '_' and '-'; give @durable.actor(name=...)"
        raise InvalidId(str(kind), form)
    return kind


def actor_name(kind: str, key: str) -> str:
    """The name of the actor of that class and key. InvalidId."""
    if not isinstance(key, str) or not key:
        raise InvalidId(str(key), "an actor's key is a text that is not empty")
    try:
        data = key.encode()
    except UnicodeEncodeError:
        raise InvalidId(repr(key), "an actor's key is text that can be written as UTF-8") from None
    written = _OTHER.sub(lambda found: b"=%02X" % found[0][0], data).decode()
    if len(written) > KEY_BYTES_MAX:
        raise InvalidId(key[:40] + "…", f"an actor's key has at most {KEY_BYTES_MAX} characters, escaped ones count 3")
    return f"{PREFIX}{check_kind(kind)}~{written}"


def is_actor(name: str) -> bool:
    """Whether a session's name is that of a mailbox."""
    return name.startswith(PREFIX)


def shown(name: str) -> str:
    """`Cart 'ana'`, for people."""
    kind, _, written = name.removeprefix(PREFIX).partition("~")
    return f"{kind} {key_of(written)!r}"


def kind_and_key(name: str) -> tuple[str, str]:
    """The class and the key of an actor's name."""
    kind, _, written = name.removeprefix(PREFIX).partition("~")
    return kind, key_of(written)


def key_of(written: str) -> str:
    """The key that was written so."""
    data = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), written.encode())
    return data.decode("utf-8", "replace")
