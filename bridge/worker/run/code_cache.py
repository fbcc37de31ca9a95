"""A cache of what is known of texts that come again: by digest, least recently used out first (requirement P49)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

TEXTS_MAX = 100
SIZE_ENV = "ASYNC_EXECUTOR_AST_CACHE_SIZE"


def cache_size(environ: Mapping[str, str]) -> int:
    """The size in force: that of the environment, 0 when it says 0 or none."""
    text = environ.get(SIZE_ENV, "").strip().lower()
    if text in ("none", "null"):
        return 0
    return max(0, int(text)) if text.lstrip("-").isdecimal() else TEXTS_MAX


def digest_of(code: str, flags: int = 0) -> bytes:
    """The key of a text compiled with these flags."""
    return blake2b(b"%d:%s" % (flags, code.encode("utf-8", "surrogatepass")), digest_size=16).digest()


class CodeCache[V]:
    """A cache of `size` entries; none with 0."""

    def __init__(self, size: int = TEXTS_MAX) -> None:
        self.size = size
        self._entries: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> V | None:
        """The entry, which is the most recently used then."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, value: V) -> None:
        """Keep this entry."""
        if self.size <= 0:
            return
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)
