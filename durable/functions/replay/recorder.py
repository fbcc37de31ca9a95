"""Writes of one pass: every promise that it creates or settles, under the lease of its task.

The store refuses a write once the lease is another's; such an error, and any other of the store, ends the attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, Protocol

from resonate.error import PlatformError, ResonateError
from resonate.types import PromiseCreateReq, PromiseRecord, PromiseSettleReq
from resonate.types import Value as SdkValue

from durable.functions.failures import Rejection
from durable.functions.resonate.fence import Fence, Posted, as_sdk_error
from durable.functions.resonate.store_ports import internal, record_of
from durable.records.codec import encode
from durable.store.protocol.requests import PromiseCreate, PromiseSettle, Value

type Outcome = Any | Rejection
"""What a step or a nested function came to: JSON builtins, or its failure."""


class HasPromise(Protocol):
    """An answer that has a promise."""

    @property
    def promise(self) -> PromiseRecord: ...


class FencedWrites(Protocol):
    """Writes under a task's lease. ResonateError."""

    async def task_fence_create(self, id: str, version: int, req: PromiseCreateReq) -> HasPromise:
        """The promise: made, or the one of that id."""

    async def task_fence_settle(self, id: str, version: int, req: PromiseSettleReq) -> HasPromise:
        """The promise, settled by this or before."""


class Recorder:
    """The promises of one pass, created and settled in order."""

    def __init__(self, sender: FencedWrites, fence: Fence | None, task_id: str, version: int) -> None:
        self._sender = sender
        self._fence = fence
        self._task_id = task_id
        self._version = version
        self._order = asyncio.Lock() if fence is None else None
        """With the store elsewhere requests may overtake each other, and the record must have no gaps."""
        self.wrote = False
        """Whether anything was created or settled under this lease: the attempt counts as progress (S6)."""

    async def create(self, request: PromiseCreateReq) -> PromiseRecord:
        """Create a promise, or find the one of that id. PlatformError."""
        what = f"record {request.id.removeprefix('exec:')}"
        sent = self._sender.task_fence_create(self._task_id, self._version, request)
        if self._order is None:
            record = (await _recording(what, sent)).promise
        else:
            async with self._order:
                record = (await _recording(what, sent)).promise
        self.wrote = True
        return record

    def post(self, request: PromiseCreateReq) -> Posted | None:
        """Post the creation of a promise where the lease surely holds and there is none yet; else None (R7)."""
        if self._fence is None or not self._fence.may_begin(request.id):
            return None
        create = PromiseCreate(id=request.id, timeout_at=request.timeout_at, tags=request.tags)
        return self._fence.create(create, awaited=False)

    async def settle(
        self,
        promise_id: str,
        outcome: Outcome,
        creation: Posted | None = None,
        check: Callable[[dict[str, str]], None] | None = None,
    ) -> PromiseRecord:
        """Settle a promise; what is returned is what the record has, which another may have settled first.

        creation: where it was posted and not awaited, it is awaited and its tags checked, before the settlement counts.
        PlatformError.
        """
        state: Literal["resolved", "rejected"] = "resolved"
        if isinstance(outcome, Rejection):
            state, outcome = "rejected", {"__type": "error", "message": str(outcome)}
        what = f"record the result of {promise_id.removeprefix('exec:')}"
        try:
            data = encode(outcome)
        except Exception as error:
            raise PlatformError([internal(what, error)]) from error
        if self._fence is None:
            request = PromiseSettleReq(id=promise_id, state=state, value=SdkValue(data=data))
            sent = self._sender.task_fence_settle(self._task_id, self._version, request)
            return (await _recording(what, sent)).promise
        try:
            settlement = self._fence.settle(PromiseSettle(id=promise_id, state=state, value=Value(data=data)))
        except Exception as error:
            raise PlatformError([internal(what, error)]) from error
        try:
            if creation is not None:
                created = await _fenced(what, creation)
                if check is not None:
                    check(created["tags"])
            return record_of(await _fenced(what, settlement))
        finally:
            give_up(settlement)

    def cancel(self, promise_id: str) -> Awaitable[object]:
        """Settle what nobody waits for any more: a timer that was cancelled, what an ended function left open."""
        request = PromiseSettleReq(id=promise_id, state="rejected_canceled", value=SdkValue())
        return _quietly(self._sender.task_fence_settle(self._task_id, self._version, request))


async def _quietly(sent: Awaitable[object]) -> None:
    with suppress(ResonateError):
        await sent


async def _recording[T](what: str, sent: Awaitable[T]) -> T:
    """The answer; every error ends the attempt, and one that is not the store's is the engine's own."""
    try:
        return await sent
    except ResonateError as error:
        raise PlatformError([error]) from error
    except Exception as error:
        raise PlatformError([internal(what, error)]) from error


async def _fenced(what: str, posted: Posted) -> dict[str, Any]:
    """The promise of what was posted, as it is then; errors as those of `_recording`."""
    try:
        promise: dict[str, Any] = (await posted).data["action"]["data"]["promise"]
    except Exception as error:
        told = as_sdk_error(error)
        raise PlatformError([internal(what, error) if told is None else told]) from error
    return promise


def give_up(posted: Posted) -> None:
    """Nobody waits for it any more; it is done all the same."""
    if posted.done() and not posted.cancelled():
        posted.exception()
    else:
        posted.cancel()
