"""The checkpoints of a session as the store has them: found, verified, opened for a worker. Needs no ownership."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.confine.limits import Profile
from checkpoint.blobs.directory import Blobs
from checkpoint.blobs.memory_file import MemoryFile
from checkpoint.engine_side.seal import check_place, fetch_table, identity, open_into_memory, open_sealed, read_manifest
from checkpoint.format.group_table import GroupTable
from checkpoint.format.payload import CheckpointManifest
from durable.core.errors import CheckpointError, NotFound, StoreRefused
from durable.core.frozen_record import FrozenRecord
from durable.store.port import StoreFace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IN_FRAMES_BYTES_MAX = 2**20
"""A payload with more is handed to the worker as a descriptor: that costs a round trip, but no copies."""

TRIED_MAX = 5
"""Older checkpoints that are read whole to find one to go back to."""


class Opened(FrozenRecord, frozen=True):
    """A verified checkpoint: `payload` is what a worker restores from."""

    id: int
    envelope: bytes
    manifest: CheckpointManifest
    table: GroupTable
    payload: bytes | MemoryFile


class Stored:
    """The checkpoints of one session, as one that runs under `profile` and `grants` may use them."""

    def __init__(self, store: StoreFace, blobs: Blobs, session: str, grants: tuple[str, ...], profile: Profile) -> None:
        self._store = store
        self._blobs = blobs
        self._session = session
        self._grants = grants
        self._profile = profile

    async def rows(self) -> list[dict[str, Any]]:
        """The store's rows of the checkpoints, oldest first, without manifests."""
        found: list[dict[str, Any]] = (await self._store.request("checkpoint.list", {"session": self._session})).data[
            "checkpoints"
        ]
        return found

    async def find(self, which: str | int) -> dict[str, Any]:
        """Find one: a text is a label before it is a number, an int the reverse. The newest of one label. NotFound."""
        known = await self.rows()
        numbered = [row for row in known if str(row["id"]) == str(which)]
        labelled = [row for row in known if row["label"] == str(which)]
        found = (numbered or labelled) if isinstance(which, int) else (labelled or numbered)
        if not found:
            raise NotFound("checkpoint", str(which), f"session {self._session!r} has {len(known)} others")
        return found[-1]

    async def manifest(self, checkpoint: int, envelope: bytes) -> CheckpointManifest:
        """The verified manifest, in its place. CheckpointTampered, CheckpointError."""
        async with self._named(checkpoint):
            return await self._placed(checkpoint, envelope)

    async def _placed(self, checkpoint: int, envelope: bytes) -> CheckpointManifest:
        manifest = read_manifest(envelope, self._store.key)
        numbers = {row["id"]: row["n"] for row in await self.rows()}
        older = max((id for id in numbers if id < checkpoint), default=None)
        before = None
        if older is not None:
            row = (await self._store.request("checkpoint.get", {"checkpoint": older})).data["checkpoint"]
            before = row["n"], identity(row["manifest"])
        check_place(manifest, self._session, numbers.get(checkpoint), before)
        return manifest

    async def open(self, checkpoint: int) -> Opened:
        """Open one by its number, every byte verified. CheckpointTampered, CheckpointError."""
        row = (await self._store.request("checkpoint.get", {"checkpoint": checkpoint})).data["checkpoint"]
        return await self.opened(checkpoint, row["manifest"])

    async def opened(self, checkpoint: int, envelope: bytes) -> Opened:
        """The same where its manifest is at hand."""
        async with self._named(checkpoint):
            return await self._opened(checkpoint, envelope)

    async def _opened(self, checkpoint: int, envelope: bytes) -> Opened:
        manifest = await self._placed(checkpoint, envelope)
        pages = await self.fetch([page.digest.hex() for page in manifest.contents.pages])
        table = fetch_table(manifest, lambda _: pages)
        if sum(table.digests.values()) > IN_FRAMES_BYTES_MAX:
            return Opened(checkpoint, envelope, manifest, table, await self._in_memory(manifest, table))
        found = pages | await self.fetch([digest.hex() for digest in table.digests if digest.hex() not in pages])
        opened = partial(
            open_sealed, envelope, lambda _: found, self._store.key, profile=self._profile, grants=self._grants
        )
        return Opened(checkpoint, envelope, manifest, table, await asyncio.to_thread(opened))

    async def _in_memory(self, manifest: CheckpointManifest, table: GroupTable) -> MemoryFile:
        rows = (await self._store.request("chunk.get", {"digests": [digest.hex() for digest in table.digests]})).data

        def fetch(wanted: list[str]) -> dict[str, bytes]:
            found = {digest: rows["chunks"][digest] for digest in wanted if digest in rows["chunks"]}
            return found | self._blobs.get_many(digest for digest in wanted if digest not in found)

        opened = partial(open_into_memory, manifest, table, fetch, profile=self._profile, grants=self._grants)
        return await asyncio.to_thread(opened)

    async def fetch(self, wanted: list[str]) -> dict[str, bytes]:
        """Chunks as they are kept, by digest; one that is missing is absent."""
        found: dict[str, bytes] = (await self._store.request("chunk.get", {"digests": wanted})).data["chunks"]
        large = [digest for digest in wanted if digest not in found]
        return found | await asyncio.to_thread(self._blobs.get_many, large) if large else found

    @asynccontextmanager
    async def _named(self, checkpoint: int) -> AsyncIterator[None]:
        """A refusal says which checkpoint it is, and which older one can be gone back to (`error.older`)."""
        try:
            yield
        except CheckpointError as error:
            refused = await self.refusal(checkpoint, error)
            raise refused from None

    async def refusal(self, checkpoint: int, error: CheckpointError) -> CheckpointError:
        """The same error with what can be done about it."""
        rows = [row["id"] for row in await self.rows()]
        older = await self._whole([each for each in rows if each < checkpoint])
        text = (
            f"checkpoint {checkpoint} of session {self._session!r} is refused: {error}. Nothing was loaded or changed"
        )
        if older is None:
            text += ", and no older one is whole. Put the store's files back from a backup, or close the session"
        elif checkpoint == rows[-1]:
            skips = " ".join(f"--skip-checkpoint {each}" for each in rows if older < each <= checkpoint)
            text += (
                f". Put the store's files back from a backup, or go on from checkpoint {older}, which is whole, "
                f"with `durable resume {skips}`"
            )
        else:
            text += f". Checkpoint {older} before it is whole: `durable checkpoint restore {self._session} {older}`"
        refused = type(error)(text)
        refused.older = older
        return refused

    async def _whole(self, candidates: Iterable[int]) -> int | None:
        """The newest of them that could be restored."""
        for checkpoint in sorted(candidates, reverse=True)[:TRIED_MAX]:
            try:
                row = (await self._store.request("checkpoint.get", {"checkpoint": checkpoint})).data["checkpoint"]
                await self._opened(checkpoint, row["manifest"])
            except (CheckpointError, StoreRefused):
                continue
            return checkpoint
        return None
