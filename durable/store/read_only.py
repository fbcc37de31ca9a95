"""A store that is only looked at: lists, searches and requests that read. What would write is refused."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core.errors import StoreError, StoreRefused
from durable.core.value_codec import ValueCodec

if TYPE_CHECKING:
    from durable.store.changes import StoreChange
    from durable.store.operations.leases import Held
    from durable.store.operations.request_table import Operation
    from durable.store.port import StoreFile
    from durable.store.protocol.requests import Answer
    from durable.store.reads import Reads
    from durable.store.rows import PromiseRow

LOOK_S = 1.0
"""How often whoever watches is told to look again: others may write it."""


class ReadOnly:
    """The face of a store on which nothing runs from here."""

    local = chunks = None
    codec: ValueCodec | None = None
    reads: Reads

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watchers: set[asyncio.TimerHandle] = set()

    @property
    @abstractmethod
    def file(self) -> StoreFile | None:
        """The store's file, where it has one."""

    @property
    @abstractmethod
    def key(self) -> bytes:
        """The store's key, where it may be read. StoreError."""

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer:
        """Answer a request that only reads. StoreRefused as any store; StoreError for one that writes."""
        from durable.store.operations.request_table import KINDS  # all that a writer can do: lists need none of it
        from durable.store.operations.searches import Unfinished
        from durable.store.protocol.requests import explained

        known = KINDS.get(kind)
        if known is None:
            raise StoreRefused(kind, 400, f"unknown kind {kind!r}")
        try:
            request = msgspec.convert(data, known.request)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise StoreRefused(kind, 400, explained(error)) from None
        outcome = await self._run(kind, known.operation, request)
        return await self.reads.go_on(outcome) if isinstance(outcome, Unfinished) else outcome

    @abstractmethod
    async def _run(self, kind: str, operation: Operation, request: Any) -> Any:
        """Run an operation in a transaction that changes nothing. Raises as `request` does."""

    def post(
        self,
        kind: str,
        data: Mapping[str, object],
        *,
        awaited: bool = True,  # noqa: ARG002 - as any store
    ) -> asyncio.Future[Answer]:
        """`request`, begun at once."""
        return asyncio.ensure_future(self.request(kind, data))

    def connect(self, engine_id: str, group: str) -> Any:  # noqa: ARG002 - as any store
        """No engine runs anything on it."""
        raise self._refused()

    def keep_leases(self, engine: str, held: Held) -> None:  # noqa: ARG002 - as any store
        """No engine holds anything of it."""
        raise self._refused()

    def discarded(self, task_id: str, step: str, reason: str) -> None:
        """Nothing runs here, so nothing is thrown away."""

    def require(self, feature: str) -> None:
        """Nothing is lacking."""

    @abstractmethod
    def engine_alive(self, engine: str) -> bool:
        """Whether an engine lives, as far as this sees."""

    async def settled(
        self,
        promise_id: str,
        *,
        halts: bool = False,  # noqa: ARG002
        patient: bool = True,  # noqa: ARG002
        fresh: bool = False,  # noqa: ARG002
    ) -> PromiseRow:
        """The promise where it is settled; it cannot be waited for."""
        row = await self.reads.get_promise(promise_id)
        if row is None:
            raise StoreRefused("promise.get", 404, f"promise {promise_id!r} does not exist")
        if row.state == "pending":
            raise self._refused()
        return row

    def hurried(self) -> AbstractContextManager[None]:
        """Nothing waits for room here."""
        return nullcontext()

    def tell_of_trouble(self, error: StoreError, at: float) -> None:
        """Nobody waits."""

    def watch(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]:
        """Call back now and then; the answer ends it."""
        pending: list[asyncio.TimerHandle] = []

        from durable.store.changes import StoreChange

        def again() -> None:
            callback(StoreChange(foreign=True))
            begin()

        def begin() -> None:
            self._watchers.difference_update(pending)
            pending[:] = [self._loop.call_later(LOOK_S, again)]
            self._watchers.update(pending)

        def end() -> None:
            pending[0].cancel()

        begin()
        return end

    async def close(self) -> None:
        """End what was opened."""
        for handle in self._watchers:
            handle.cancel()
        await self.reads.close()

    @abstractmethod
    def _refused(self) -> StoreError:
        """Build the error of a request that would write."""
