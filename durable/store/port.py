"""The face of a store for an engine, its sessions and people's answers, wherever it is: the file here, or a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from durable.core.default_observer import log_event
from durable.core.errors import StoreError
from durable.core.value_codec import ValueCodec
from durable.store.target import is_database, is_url, parsed

if TYPE_CHECKING:
    from durable.core.events import Observer
    from durable.store.changes import StoreChange
    from durable.store.direct_store import DirectStore
    from durable.store.operations.halted_waits import Halt
    from durable.store.operations.leases import Held
    from durable.store.postgres.chunks import DatabaseChunks
    from durable.store.protocol.requests import Answer
    from durable.store.read_only import ReadOnly
    from durable.store.remote.chunks import RemoteChunks
    from durable.store.resonate_server.no_chunks import NoChunks
    from durable.store.rows import (
        DiscardRow,
        EngineRow,
        ExecutionRow,
        OutputPage,
        OutputRow,
        PromiseRow,
        PromptRow,
        PublishedRow,
        QueueKeyRow,
        QueueRow,
        SessionRow,
        State,
        StoppedElsewhere,
        StoreFigures,
        StreamEnd,
        StreamPage,
    )
    from durable.store.sqlite.writer import Durability


class ReadsFace(Protocol):
    """The lists and searches of `durable.store.reads.Reads`, which documents them."""

    async def list_executions(
        self,
        *,
        state: State | None = None,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 100,
        before: str | None = None,
        whole: bool = True,
    ) -> list[ExecutionRow]: ...

    async def count_executions(
        self,
        *,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> dict[str, int]: ...

    async def signal_waits(self, *, executions: list[str]) -> list[tuple[str, str]]: ...

    async def get_execution(self, execution_id: str) -> ExecutionRow | None: ...

    async def get_promise(self, promise_id: str) -> PromiseRow | None: ...

    async def children(self, execution_id: str, *, limit: int = 10_000) -> list[PromiseRow]: ...

    async def prompts(self, *, execution: str | None = None) -> list[PromptRow]: ...

    async def queues(self) -> list[QueueRow]: ...

    async def queue_keys(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[QueueKeyRow]: ...

    async def retries(self) -> list[PromiseRow]: ...

    async def output(self, execution_id: str, from_offset: int = 0, *, limit: int = 10_000) -> list[OutputRow]: ...

    async def printed(
        self, execution_id: str, from_offset: int = 0, *, rewinds: int | None = None, limit: int = 10_000
    ) -> OutputPage: ...

    async def stream(self, execution_id: str, name: str, from_offset: int = 0, *, limit: int = 1_000) -> StreamPage: ...

    async def streams(self, execution_id: str) -> list[StreamEnd]: ...

    async def published(self, execution_id: str, key: str | None = None) -> list[PublishedRow]: ...

    async def output_end(self, execution_id: str) -> int: ...

    async def stopped(self, *, executions: list[str], sessions: dict[str, int]) -> StoppedElsewhere: ...

    async def halts(self, *, awaited: list[str]) -> list[Halt]: ...

    async def discards(self, execution_id: str) -> list[DiscardRow]: ...

    async def sessions(self) -> list[SessionRow]: ...

    async def engines(self) -> list[EngineRow]: ...

    async def figures(self, *, now: int) -> StoreFigures: ...


class StoreFile(Protocol):
    """The place of a store's file, and of the directory beside it."""

    path: Path
    directory: Path


class SdkConnection(Protocol):
    """The SDK's `Network` and its `Source` in one: requests out, messages in."""

    def unicast(self) -> str: ...
    def resolve_target(self, target: str) -> str: ...
    def recv(self, callback: Callable[[str], None]) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send(self, req: str, headers: dict[str, str] | None = None) -> str: ...


class StoreFace(Protocol):
    """An open store. `durable.store.sqlite.store.Store` documents what each does."""

    @property
    def key(self) -> bytes:
        """The key that checkpoints are signed and verified with here."""

    codec: ValueCodec | None
    """How values are written."""

    @property
    def reads(self) -> ReadsFace: ...

    @property
    def file(self) -> StoreFile | None:
        """The store's file, where this process has it open; None where the store is elsewhere."""

    @property
    def local(self) -> DirectStore | None:
        """The store itself, where this process runs its requests: an engine can run on it."""

    @property
    def chunks(self) -> DatabaseChunks | RemoteChunks | NoChunks | None:
        """Where a store elsewhere takes large chunks of checkpoints; None where they are kept beside its file."""

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer: ...

    def post(self, kind: str, data: Mapping[str, object], *, awaited: bool = True) -> asyncio.Future[Answer]: ...

    def connect(self, engine_id: str, group: str) -> SdkConnection: ...

    def keep_leases(self, engine: str, held: Held) -> None: ...

    def discarded(self, task_id: str, step: str, reason: str) -> None: ...

    def engine_alive(self, engine: str) -> bool: ...

    def require(self, feature: str) -> None:
        """StoreLacks where the store has promises alone, and not this."""

    async def settled(
        self, promise_id: str, *, halts: bool = False, patient: bool = True, fresh: bool = False
    ) -> PromiseRow: ...

    def tell_of_trouble(self, error: StoreError, at: float) -> None: ...

    def hurried(self) -> AbstractContextManager[None]:
        """In this block nothing waits for room on a full disk: it fails at once."""

    def watch(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]: ...

    async def close(self) -> None: ...


async def open_store(
    target: str | Path,
    *,
    durability: Durability = "power",
    create: bool = True,
    token: str | None = None,
    observer: Observer = log_event,
    codec: ValueCodec | None = None,
) -> StoreFace:
    """The store at a path or a URL. `durability` is about files, `token` about served stores. codec: how values are
    written; as DURABLE_KEYS says when None."""
    codec = codec or ValueCodec.from_environment()
    store = await _open_store(target, durability, create, token, observer)
    store.codec = codec
    return store


async def open_reader(target: str | Path, *, observer: Observer = log_event) -> StoreFace:
    """The store of a command that only looks. StoreError.

    A store of one's own is not opened to be written where nothing is to be done in it first (specs/store.md, F3).
    """
    store = None if is_url(target) else await _open_to_look(target)
    if store is None:
        return await open_store(target, create=False, observer=observer)
    store.codec = ValueCodec.from_environment()
    return store


async def _open_to_look(target: str | Path) -> ReadOnly | None:
    if not is_database(target):
        from durable.store.sqlite.read_only import open_to_look

        return await open_to_look(parsed(target))
    require_driver()
    from durable.store.postgres.read_only import open_database_to_look

    return await open_database_to_look(str(parsed(target)))


async def _open_store(
    target: str | Path, durability: Durability, create: bool, token: str | None, observer: Observer
) -> StoreFace:
    named = parsed(target)
    if is_url(target):
        from durable.store.remote.open_server import open_server  # brings an HTTP client, which a file never needs

        return await open_server(str(named), token=token, observer=observer)
    if is_database(target):
        return await open_direct(target, create=create, observer=observer)
    from durable.store.sqlite.read_only import ReadOnlyStore, is_read_only
    from durable.store.sqlite.store import Store

    if not create and is_read_only(named):
        return await ReadOnlyStore.open(named)
    return await Store.open(named, durability=durability, create=create, observer=observer)


async def open_direct(target: str | Path, *, create: bool = True, observer: Observer = log_event) -> DirectStore:
    """The store at a path or in a database, for what needs the store itself: `durable serve`, upkeep. StoreError."""
    named = parsed(target)
    if is_url(target):
        raise StoreError(
            f"{named} is a server; this needs its store: run it there, with --store PATH or postgresql://…"
        )
    if not is_database(target):
        from durable.store.sqlite.store import Store

        return await Store.open(named, create=create, observer=observer)
    require_driver()
    from durable.store.postgres.store import PostgresStore  # brings a driver, which a file never needs

    return await PostgresStore.open(str(named), create=create, observer=observer)


def require_driver() -> None:
    """StoreError where the driver of a database is not installed."""
    if find_spec("psycopg") is None:
        from durable.core.extras import install_command

        raise StoreError(f"a postgresql:// store needs psycopg; {install_command('postgres')}")
