"""Large chunks of checkpoints in a store elsewhere: as the directory's `Blobs`, for threads, over the loop's client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import msgspec

from durable.core.errors import CheckpointError, StoreFull
from durable.store.protocol.waiting_requests import NO_ROOM
from durable.store.remote.client import StoreClient

AT_ONCE_MAX = 4
"""Chunks on their way at a time."""


class RemoteChunks:
    """Write-once byte strings by the hex of their SHA-256. Every method blocks: call it outside the loop's thread."""

    def __init__(self, client: StoreClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def put_many(self, blobs: Iterable[tuple[str, bytes | memoryview]]) -> None:
        """Durable when it returns. One that is there is not sent."""
        for _answer in self._each(self._put(digest, data) for digest, data in blobs):
            pass

    async def _put(self, digest: str, data: bytes | memoryview) -> None:
        if (await self._send("HEAD", digest))[0] == 200:
            return
        status, body = await self._send("PUT", digest, bytes(data))
        if status != 204:
            raise _refused(digest, status, body)

    def get(self, digest: str) -> bytes | None:
        """The chunk kept under a digest; None when there is none."""
        return self.get_many([digest]).get(digest)

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The same for some; what is missing is absent from the answer."""
        found = self._each(self._get(digest) for digest in digests)
        return {digest: data for digest, data in found if data is not None}

    async def _get(self, digest: str) -> tuple[str, bytes | None]:
        status, body = await self._send("GET", digest)
        if status not in (200, 404):
            raise _refused(digest, status, body)
        return digest, body if status == 200 else None

    def exists(self, digest: str) -> bool:
        """Whether the chunk is there."""
        return [status for status, _ in self._each([self._send("HEAD", digest)])] == [200]

    def delete(self, digest: str) -> bool:
        """Refused: what a served store keeps is cleaned up beside it (`durable gc`)."""
        raise CheckpointError(f"chunk {digest} can only be deleted where the store is")

    def list(self) -> Iterator[Any]:
        """Refused as well."""
        raise CheckpointError("chunks can only be listed where the store is")

    def _each[T](self, requests: Iterable[Coroutine[Any, Any, T]]) -> Iterator[T]:
        """The answers, in order; the requests are made a few at a time."""
        waiting: list[Future[T]] = []
        for request in requests:
            waiting.append(asyncio.run_coroutine_threadsafe(request, self._loop))
            if len(waiting) >= AT_ONCE_MAX:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()

    async def _send(self, method: str, digest: str, data: bytes = b"") -> tuple[int, bytes]:
        return await self._client.send(method, f"/chunk/{digest}", data)


def _refused(digest: str, status: int, body: bytes) -> CheckpointError | StoreFull:
    if status == NO_ROOM:
        return StoreFull(str(msgspec.json.decode(body)["data"]))
    return CheckpointError(f"chunk {digest}: status {status}: {body[:200].decode('utf-8', 'replace')}")
