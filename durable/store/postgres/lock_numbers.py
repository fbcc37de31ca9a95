"""The numbers of the advisory locks that transactions hold (specs/postgres.md, C1-C4)."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from durable.store.operations.lock_keys import WHOLE


@lru_cache(16_384)
def lock_number(schema: str, key: str) -> int:
    """The number that a key's advisory lock has: two keys that share one wait for each other, which harms nobody."""
    digest = blake2b(f"{schema}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def store_lock(schema: str) -> int:
    """The number of the lock that every transaction of a store holds, shared or alone."""
    return lock_number(schema, WHOLE)
