"""A store in a file whose requests a test counts, delays and lets fail (specs/testing.md)."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any, Literal, Self, override

import msgspec

from durable.core.errors import BadArguments, StoreUnreachable
from durable.core.events import Observer
from durable.store.operations.request_table import KINDS
from durable.store.operations.row_records import Row
from durable.store.operations.transaction import Effects
from durable.store.protocol.requests import Answer
from durable.store.rows import PromiseRow
from durable.store.sqlite.reads import SqliteReads
from durable.store.sqlite.store import Store
from durable.store.sqlite.writer import SqliteWriter
from durable.store.writer import Job

type When = Literal["before", "after"]


@dataclass
class StoreFault:
    """A fault that a test asked for: which requests meet it, and how many of them did."""

    kind: str
    error: Exception | None
    when: When
    left: int
    skip: int
    delay_s: float
    matching: Callable[[dict[str, Any]], bool] | None
    met: int = 0

    def meets(self, kind: str, request: msgspec.Struct) -> bool:
        """Whether it is this request's turn."""
        if self.left <= 0 or not fnmatch.fnmatchcase(kind, self.kind):
            return False
        if self.matching is not None and not self.matching(msgspec.to_builtins(request)):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.left -= 1
        self.met += 1
        return True


@dataclass
class StoreFaults:
    """The faults of one engine's store: what an engine does when its store fails it."""

    _faults: list[StoreFault] = field(default_factory=list)

    def fail(
        self,
        kind: str,
        error: Exception | None = None,
        *,
        when: When = "before",
        times: int = 1,
        skip: int = 0,
        matching: Callable[[dict[str, Any]], bool] | None = None,
    ) -> StoreFault:
        """Let requests of this kind fail: `"task.fulfill"`, `"task.*"`. Returns the fault, whose `met` counts them.

        error: what is raised, StoreUnreachable by default. when: "before" it is done, or "after" it was committed, so
        that only the answer is lost. times: how many of them. skip: how many go well first. matching: takes the
        request as JSON builtins, and says whether it is meant. Raises BadArguments for a kind that there is not.
        """
        if when not in ("before", "after"):
            raise BadArguments(f'when is "before" or "after", not {when!r}')
        lost = error or StoreUnreachable(f"a test lets {kind} fail")
        return self._add(StoreFault(kind, lost, when, times, skip, 0.0, matching))

    def delay(
        self,
        kind: str,
        delay_s: float,
        *,
        times: int = 1,
        skip: int = 0,
        matching: Callable[[dict[str, Any]], bool] | None = None,
    ) -> StoreFault:
        """Let the answers to requests of this kind come so many real seconds late. As `fail` otherwise."""
        return self._add(StoreFault(kind, None, "after", times, skip, delay_s, matching))

    def clear(self) -> None:
        """No more of them."""
        self._faults.clear()

    def of(self, kind: str, request: msgspec.Struct) -> StoreFault | None:
        """The fault that this request meets."""
        return next((each for each in self._faults if each.meets(kind, request)), None) if self._faults else None

    def _add(self, fault: StoreFault) -> StoreFault:
        if not fnmatch.filter(KINDS, fault.kind):
            raise BadArguments(f"the store knows no request {fault.kind!r}; it knows {', '.join(sorted(KINDS))}")
        self._faults.append(fault)
        return fault


class _CountedReads(SqliteReads):
    """Reads that count as under way until they are answered."""

    def __init__(self, reads: SqliteReads, store: StoreUnderTest) -> None:
        super().__init__(reads._connection, reads._path)
        self._store = store

    @override
    async def _rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        self._store.under_way += 1
        try:
            return await super()._rows(sql, parameters)
        finally:
            self._store.under_way -= 1


class _OneByOne(SqliteWriter):
    """Commits each request by itself: where a crash may come is then the same in each run of the same code."""

    @override
    def _turn(self, jobs: list[Job]) -> None:
        for some in batched(jobs, 1) if jobs else ([],):
            super()._turn([*some])


class StoreUnderTest(Store):
    """A store that says what is under way, what is due next, and who waits."""

    writer_class = _OneByOne

    def __init__(self, path: Path, *, private: bool, observer: Observer) -> None:
        super().__init__(path, private=private, observer=observer)
        self.faults = StoreFaults()
        self.under_way = 0
        """Requests that are not committed or not answered yet."""
        self.requests = 0
        """All requests so far."""
        self.waiting: set[asyncio.Future[None]] = set()
        """One for each caller that waits for a promise: an error in it is raised there."""
        self.on_waiting: Callable[[], None] | None = None
        self.error: BaseException | None = None
        """The error of all that wait from now on."""

    @override
    @classmethod
    async def open(cls, path: str | Path, **options: Any) -> Self:
        """Open, or make, the store at a path; options as of `Store.open`."""
        self = await super().open(path, **options)
        assert isinstance(self, cls)
        assert isinstance(self.reads, SqliteReads)
        self.reads = _CountedReads(self.reads, self)
        return self

    @override
    def enqueue(
        self,
        kind: str,
        request: msgspec.Struct,
        *,
        internal: bool = False,
        awaited: bool = True,
        waits: bool = True,
    ) -> asyncio.Future[Answer]:
        fault = self.faults.of(kind, request)
        if fault is not None and fault.error is not None and fault.when == "before":
            failed: asyncio.Future[Answer] = self._loop.create_future()
            failed.set_exception(fault.error)
            return failed
        awaited = awaited or fault is not None
        answer = super().enqueue(kind, request, internal=internal, awaited=awaited, waits=waits)
        if not answer.done():
            self.under_way += 1
            self.requests += 1
        return answer if fault is None else asyncio.ensure_future(self._late(answer, fault))

    async def _late(self, answer: asyncio.Future[Answer], fault: StoreFault) -> Answer:
        self.under_way += 1
        try:
            found = await answer
            await asyncio.sleep(fault.delay_s)
            if fault.error is not None:
                raise fault.error
            return found
        finally:
            self.under_way -= 1

    @override
    def _submit(self, job: Job) -> None:
        if self._closing is None:
            self.under_way += 1
            self.requests += 1
        super()._submit(job)

    @override
    def _committed(self, jobs: list[Job], effects: Effects, foreign: bool) -> None:
        self.under_way -= len(jobs)
        self.requests += 1  # others' commits are changes too
        super()._committed(jobs, effects, foreign)

    @property
    def loop_ended(self) -> bool:
        """Whether the loop that it was opened on is closed."""
        return self._loop.is_closed()

    @property
    def searching(self) -> bool:
        """Whether a request is being answered off the writer's thread."""
        return bool(self._searches)

    def next_due_ms(self, now_ms: int) -> int:
        """When anything is due after now; TIME_MAX_MS for never."""
        return self.glance.next_due_ms(now_ms)

    @override
    async def settled(
        self, promise_id: str, *, halts: bool = False, patient: bool = True, fresh: bool = False
    ) -> PromiseRow:
        if self.error is not None:
            raise self.error
        failed: asyncio.Future[None] = self._loop.create_future()
        found = asyncio.ensure_future(super().settled(promise_id, halts=halts, patient=patient, fresh=fresh))
        self.waiting.add(failed)
        if self.on_waiting is not None:
            self.on_waiting()
        try:
            await asyncio.wait((found, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done() and not found.done():
                failed.result()
            return await found
        finally:
            self.waiting.discard(failed)
            found.cancel()
            if failed.done():
                failed.exception()
