"""The key that a remote engine and its server share for checkpoints on their way (specs/http.md)."""

from __future__ import annotations

import hashlib
import hmac


def transit_key(token: str) -> bytes:
    """32 bytes, derived from the token that both have. It opens nothing in the store itself."""
    return hmac.new(token.encode(), b"durable-exec checkpoints in transit", hashlib.sha256).digest()
