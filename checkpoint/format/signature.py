"""Authentication of manifests: HMAC-SHA256 with the store's key. The key never enters a worker."""

from __future__ import annotations

import hashlib
import hmac

from durable.core.errors import CheckpointError, CheckpointTampered

MAGIC = b"durckpt\x00"
_MAC_BYTES = 32
KEY_BYTES_MIN = 16

MANIFEST_BYTES_MAX = 64 * 2**20
"""A manifest is read whole into memory; this is a namespace of about a million variables."""


def sign(body: bytes, key: bytes) -> bytes:
    """The envelope `magic + mac + body`. It stays the same in every format, so that a newer one is recognised."""
    if len(key) < KEY_BYTES_MIN:
        raise CheckpointError(f"a signing key has at least {KEY_BYTES_MIN} bytes, this one {len(key)}")
    if len(body) > MANIFEST_BYTES_MAX:
        raise CheckpointError(f"the namespace has too many parts: a manifest of {len(body)} bytes")
    return MAGIC + _mac(body, key) + body


def verified(envelope: bytes, key: bytes) -> bytes:
    """The body of an envelope, or CheckpointTampered: nothing of it was parsed."""
    body = unsigned(envelope)
    if not hmac.compare_digest(envelope[len(MAGIC) : len(envelope) - len(body)], _mac(body, key)):
        raise CheckpointTampered("the checkpoint's signature does not fit: it was changed, or signed by another store")
    return body


def unsigned(envelope: bytes) -> bytes:
    """The body of an envelope, whoever signed it; CheckpointTampered when it is not one."""
    start = len(MAGIC) + _MAC_BYTES
    if len(envelope) < start or envelope[: len(MAGIC)] != MAGIC:
        raise CheckpointTampered("this is not a checkpoint, or its first bytes were changed")
    return envelope[start:]


def _mac(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, MAGIC + body, hashlib.sha256).digest()


def key_id(key: bytes) -> str:
    """Which key it is, without telling anything of it: 16 hex digits."""
    return hmac.new(key, MAGIC + b"key id", hashlib.sha256).hexdigest()[:16]
