"""A session's checkpoints on the engine's side: sealed, stored conditional on the epoch, opened again for a worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Literal

from bridge.confine.limits import Profile
from checkpoint.blobs.directory import INLINE_BYTES_MAX
from checkpoint.blobs.memory_file import MemoryFile
from checkpoint.engine_side.large_capture import bring
from checkpoint.engine_side.seal import Hashed, Sealed, identity, read_manifest, seal
from checkpoint.format.compression import packed
from checkpoint.format.group_table import GroupTable
from checkpoint.format.payload import CheckpointManifest, Malformed, StatementPosition, decode_payload
from durable.core.clock import now_ms
from durable.core.errors import ProtocolError, StoreFull
from durable.core.events import CheckpointMade
from durable.core.limits import ROOM_LOOK_S
from durable.core.observers import Observers
from durable.sessions.checkpoints.checkpoint_reader import Stored
from durable.sessions.checkpoints.retention import Retention
from durable.sessions.checkpoints.streamed_chunks import Arrivals, Arrived
from durable.sessions.execution.position import ExecutionPosition
from durable.store.port import StoreFace

IN_THREAD_BYTES = 256 * 2**10
"""Payloads above this are hashed in a thread: a megabyte takes the loop about half a millisecond."""


type Data = bytes | bytearray | memoryview


class Saved:
    """The checkpoints of one owned session: newest first, published in order."""

    def __init__(
        self,
        store: StoreFace,
        keeping: Retention,
        session: str,
        epoch: int,
        grants: tuple[str, ...],
        profile: Profile,
        on_failed: Callable[[Exception], None],
        observer: Observers,
    ) -> None:
        self._observer = observer
        self._on_failed = on_failed
        self.latest_id: int | None = None
        self._store = store
        self._session = session
        self._epoch = epoch
        self._grants = grants
        self._profile = profile
        self._blobs = keeping.blobs
        self.arrivals = Arrivals(keeping.blobs)
        """Chunks streamed before the capture that names them."""
        self.stored = Stored(store, keeping.blobs, session, grants, profile)
        self._keep = keeping.keep
        self._manifest: CheckpointManifest | None = None
        self._envelope: bytes | None = None
        self._base: tuple[CheckpointManifest, GroupTable] | None = None
        self._loaded = False
        self._last: asyncio.Future[Any] | None = None
        self._label: str | None = None
        self._publishing: set[asyncio.Task[Any]] = set()
        self._gives_up = asyncio.Event()
        self._order = asyncio.Lock()

    async def latest(self) -> ExecutionPosition | None:
        """The newest checkpoint's position; raises CheckpointTampered or CheckpointError when it cannot be trusted."""
        if not self._loaded:
            answer = await self._store.request("checkpoint.latest", {"session": self._session})
            row = answer.data.get("checkpoint")
            if row is not None:
                self._envelope = row["manifest"]
                self.latest_id, self._label = row["id"], row["label"]
                self._manifest = await self.stored.manifest(row["id"], row["manifest"])
            self._loaded = True
        if self._manifest is None:
            return None
        found = self._manifest.position
        outcome = None if self._manifest.outcome is None else json.loads(self._manifest.outcome)
        return ExecutionPosition(
            execution=found.execution,
            statement=found.statement,
            counters=dict(found.counters),
            output_offset=found.output_offset,
            outcome=outcome,
            iteration=found.iteration,
        )

    @property
    def lost(self) -> bool:
        """Whether the newest checkpoint had to leave something out."""
        return self._manifest is not None and bool(self._manifest.contents.lost)

    async def payload(self) -> bytes | MemoryFile | None:
        """The payload that a fresh worker restores from; every byte is verified."""
        await self.latest()
        if self._envelope is None or self.latest_id is None:
            return None
        opened = await self.stored.opened(self.latest_id, self._envelope)
        self._base = opened.manifest, opened.table
        return opened.payload

    def build_on(self, base: tuple[CheckpointManifest, GroupTable]) -> None:
        """Base the next capture on this checkpoint, restored in the worker: the capture leaves out what it has."""
        self._base = base

    async def keep(self, payload: bytes, label: str | None) -> int:
        """Store what was captured on demand, unless nothing changed; the number of the checkpoint that has it."""
        kept = await self._same(payload, label)
        if kept is not None:
            return kept
        position = await self.latest() or ExecutionPosition()
        try:
            await self.publish(payload, position, wait=True, label=label, kind="checkpoint.keep")
        except StoreFull:
            self._manifest = self._envelope = self._base = self._label = None  # of what is not stored
            self._loaded = False
            raise
        assert self.latest_id is not None
        return self.latest_id

    def give_up(self) -> None:
        """Let a capture that waits for room on a full disk end with StoreFull."""
        self._gives_up.set()

    async def _same(self, payload: bytes, label: str | None) -> int | None:
        """The newest checkpoint's number when a capture has nothing that it has not; it gets the label then."""
        if self._manifest is None or (label is not None and self._label not in (None, label)):
            return None
        found = decode_payload(payload)
        if found.chunks or found.contents != self._manifest.contents:
            return None
        if self._last is not None:
            await asyncio.shield(self._last)
        if label is not None and self._label is None:
            await self._store.request("checkpoint.label", {"checkpoint": self.latest_id, "label": label})
            self._label = label
        return self.latest_id

    async def publish(
        self,
        payload: Data,
        position: ExecutionPosition,
        *,
        wait: bool,
        label: str | None = None,
        by_code: bool = False,
        progress: bool = True,
        kind: Literal["checkpoint.publish", "checkpoint.keep"] = "checkpoint.publish",
    ) -> None:
        """Seal and store a capture. Returns when it is on its way, or with `wait` when it is durable.

        `by_code`: the session's code gave the label. `progress`: the execution had come further than where its attempt
        began. ProtocolError for a capture that no honest worker makes.

        One that is published waits for room on a full disk, and raises StoreFull when that is given up; one that is
        kept raises it at once.

        A capture that could not be stored spoils those after it, which build on it: `on_failed` is told, once.
        """
        task = asyncio.current_task()
        assert task is not None
        began = monotonic()
        self._publishing.add(task)
        try:
            async with self._order:
                sealed, stored = await self._kept(payload, position, waits=kind == "checkpoint.publish")
                self._manifest, self._envelope, self._loaded = sealed.read, sealed.manifest, True
                self._base = sealed.read, sealed.table
                row = {**self._row(sealed, position, stored), "label": label, "by_code": by_code and label is not None}
                row["progress"] = progress
                # The last one of a cell is followed by the cell's end: both in one transaction cost one sync.
                future = self._store.post(kind, row, awaited=wait or position.outcome is None)
                self._last, self._label = future, label
            future.add_done_callback(partial(self._published, position, len(payload), began))
            if wait:
                await asyncio.shield(future)
        finally:
            self._publishing.discard(task)

    async def _kept(
        self, payload: Data, position: ExecutionPosition, *, waits: bool
    ) -> tuple[Sealed, list[tuple[str, bytes]]]:
        """Sealed, with its large chunks durable before the row that needs them; and the small ones."""
        arrived, self.arrivals.chunks = self.arrivals.chunks, {}
        self._gives_up.clear()
        while True:
            try:
                return await self._stored(payload, position, arrived)
            except Malformed as error:
                raise ProtocolError(
                    f"the worker of session {self._session!r} sent a checkpoint that is none: {error}"
                ) from None
            except StoreFull as error:
                if not waits or self._gives_up.is_set():
                    raise
                self._store.tell_of_trouble(error, monotonic())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._gives_up.wait(), ROOM_LOOK_S)

    async def _stored(
        self, payload: Data, position: ExecutionPosition, arrived: dict[bytes, Arrived]
    ) -> tuple[Sealed, list[tuple[str, bytes]]]:
        sizes = {digest: each.size for digest, each in arrived.items()}
        if len(payload) > IN_THREAD_BYTES:
            hashed, small = await asyncio.to_thread(bring, payload, self._blobs)
            sealed = self._sealed(hashed, position, sizes)
        else:
            sealed = self._sealed(payload, position, sizes)
            small = await self._brought(sealed)
        rows = {digest: row for digest, (_size, row) in arrived.items() if row is not None}
        return sealed, small + [
            (digest.hex(), bytes(row)) for digest, row in rows.items() if digest in sealed.table.digests
        ]

    async def _brought(self, sealed: Sealed) -> list[tuple[str, bytes]]:
        kept = [(digest, packed(data)) for digest, data in sealed.chunks]
        large = [(digest, data) for digest, data in kept if len(data) > INLINE_BYTES_MAX]
        if large:
            await asyncio.to_thread(self._blobs.put_many, large)
        return [(digest, bytes(data)) for digest, data in kept if len(data) <= INLINE_BYTES_MAX]

    def _sealed(self, payload: Hashed | Data, position: ExecutionPosition, arrived: dict[bytes, int]) -> Sealed:
        sealed = seal(
            payload,
            session=self._session,
            position=StatementPosition(
                execution=position.execution,
                n=0,
                statement=position.statement,
                final=position.outcome is not None,
                counters=position.counters,
                output_offset=position.output_offset,
                iteration=position.iteration,
            ),
            key=self._store.key,
            created_at_ms=now_ms(),
            profile=self._profile,
            grants=self._grants,
            outcome=None if position.outcome is None else json.dumps(position.outcome).encode(),
            previous=self._base,
            arrived=arrived,
            previous_id=None if self.latest_id is None else str(self.latest_id),
            number=1 if self._manifest is None else self._manifest.number + 1,
            predecessor=None if self._envelope is None else identity(self._envelope),
        )
        read_manifest(sealed.manifest, self._store.key)  # what cannot be read again is no progress
        return sealed

    def _row(self, sealed: Sealed, position: ExecutionPosition, chunks: list[tuple[str, bytes]]) -> dict[str, Any]:
        return {
            "session": self._session,
            "epoch": self._epoch,
            "execution": position.execution,
            "n": sealed.read.number,
            "statement": position.statement,
            "final": position.outcome is not None,
            "manifest": sealed.manifest,
            "chunks": chunks,
            "uses": sealed.uses,
            "carried": sealed.carried,
            "keep": self._keep.to_json(),
        }

    def _published(self, position: ExecutionPosition, size: int, began: float, future: asyncio.Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Exception):
            with suppress(ReferenceError):  # its session was closed meanwhile
                self._on_failed(error)
        elif not future.cancelled():
            self.latest_id = future.result().data["checkpoint"]
            if self._observer.watching:
                took_ms, final = (monotonic() - began) * 1000, position.outcome is not None
                made = CheckpointMade(self._session, position.execution, str(self.latest_id), size, took_ms, final)
                self._observer(made)

    async def posted(self) -> None:
        """Return when every capture so far is in the store's queue: what is posted now commits after them."""
        while self._publishing:
            await asyncio.wait(set(self._publishing))
