"""Large chunks of checkpoints in a store elsewhere: `checkpoint.blobs.Blobs` for threads, over the loop's client."""

from __future__ import annotations

import asyncio
import hashlib

from durable.core.errors import CheckpointError, CheckpointTampered
from durable.store.client import Client


class RemoteChunks:
    """Write-once byte strings by the hex of their SHA-256. Every method blocks: call it outside the loop's thread."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def put(self, digest: str, data: bytes) -> None:
        """Durable when it returns. Putting what is there already does nothing."""
        if not self.has(digest):
            self._expect(204, "PUT", digest, data)

    def get(self, digest: str) -> bytes:
        """The verified bytes; CheckpointError when missing, CheckpointTampered when changed."""
        data = self._expect(200, "GET", digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointTampered(f"chunk {digest} was changed")
        return data

    def has(self, digest: str) -> bool:
        """Whether the chunk is there."""
        return self._send("HEAD", digest)[0] == 200

    def delete(self, digest: str) -> bool:
        """Refused: what a served store keeps is cleaned up beside it (`durable gc`)."""
        raise CheckpointError(f"chunk {digest} can only be deleted where the store is")

    def _expect(self, wanted: int, method: str, digest: str, data: bytes = b"") -> bytes:
        status, body = self._send(method, digest, data)
        if status != wanted:
            raise CheckpointError(f"chunk {digest}: status {status}: {body[:200].decode('utf-8', 'replace')}")
        return body

    def _send(self, method: str, digest: str, data: bytes = b"") -> tuple[int, bytes]:
        sending = self._client.send(method, f"/chunk/{digest}", data)
        return asyncio.run_coroutine_threadsafe(sending, self._loop).result()
