"""Manifests between the store's key, which stays here, and the transit key of remote engines (specs/http.md)."""

from __future__ import annotations

from checkpoint.format.signature import sign, verified
from durable.core.errors import CheckpointTampered, StoreRefused


class Seals:
    """Signs what comes in with the store's key, and what goes out with the transit key."""

    def __init__(self, store_key: bytes, transit_key: bytes) -> None:
        self._store_key = store_key
        self._transit_key = transit_key

    def received(self, envelope: bytes) -> bytes:
        """The manifest as the store keeps it; StoreRefused when no engine with this token signed it."""
        try:
            return sign(verified(envelope, self._transit_key), self._store_key)
        except CheckpointTampered as error:
            raise StoreRefused("checkpoint.publish", 400, str(error)) from None

    def sent(self, envelope: bytes) -> bytes:
        """The manifest as a remote engine reads it. One that does not fit goes out as it is: the engine refuses it."""
        try:
            return sign(verified(envelope, self._store_key), self._transit_key)
        except CheckpointTampered:
            return envelope
