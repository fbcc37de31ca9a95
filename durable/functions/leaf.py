"""A leaf: a step without a context of its own, created, run and settled under its execution's lease.

resonate-sdk's `Context.run` does the same for any child, with a context, a signature and a codec that a leaf has no use
for, and waits until the child's promise is created before its body begins. Where the store is in this process a leaf
looks whether the fence would let it be created now, posts that, and begins (specs/execution.md, R7).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from durable.functions import sdk
from durable.functions.failure import Rejection
from durable.functions.fence import Posted, fenced
from durable.functions.function import Retry
from durable.functions.run import Run
from durable.functions.sdk import PlatformError, PromiseRecord, ResonateError, SdkContext
from durable.store.requests import PromiseCreate, PromiseSettle, Value

type Body = Callable[[], Awaitable[Any]]
"""Gives JSON builtins, or raises Rejection."""


def begin(run: Run, ctx: SdkContext, promise_id: str, body: Body, retry: Retry) -> asyncio.Task[Any]:
    """Begin a leaf as the child `promise_id` of `ctx`. The task has its recorded value, or raises ApplicationError."""
    leaf = _Leaf(run, ctx, promise_id, body, retry, sdk.add_leaf(ctx, promise_id))
    # Past the loop's task factory, which contains what a function's own tasks raise: a body's error is a Rejection.
    task: asyncio.Task[Any] = asyncio.Task(leaf.outcome(), loop=asyncio.get_running_loop())
    sdk.join_leaf(ctx, promise_id, task)
    task.add_done_callback(_noticed)
    return task


@dataclass(slots=True)
class _Leaf:
    run: Run
    ctx: SdkContext
    promise_id: str
    body: Body
    retry: Retry
    link: sdk.Link
    noted: dict[str, str] = field(default_factory=dict)
    creation: Posted | None = None

    async def outcome(self) -> Any:
        try:
            record = await self.link.run(self._create)
            if record is None or record.state == "pending":
                return await self._settle(await self._tried())
            return self._read(record)
        except (Rejection, ResonateError):
            raise
        except Exception as error:  # the body's own are rejections
            failed = sdk.internal(f"run {self.promise_id.removeprefix('exec:')}", error)
            raise sdk.break_off(self.run.effects.inner, failed) from error
        finally:
            if self.creation is not None:
                _give_up(self.creation)

    async def _create(self) -> PromiseRecord | None:
        """The promise as it is; None when its creation is posted and the body may begin."""
        run, fence = self.run, self.run.fence
        request = sdk.leaf_request(self.ctx, self.promise_id)
        run.check_halted()
        known = sdk.is_known(run.effects.inner, self.promise_id)
        if fence is None or known or not fence.may_begin(self.promise_id):
            return await run.effects.create_promise(request)
        sdk.check_whole(run.effects.inner)
        self.noted = run.noted(self.promise_id)
        tags = {**request.tags, **self.noted}
        self.creation = fence.create(PromiseCreate(id=self.promise_id, timeout_at=request.timeout_at, tags=tags))
        return None

    async def _tried(self) -> Any | Rejection:
        attempt = 0
        while True:
            try:
                return await self.body()
            except Rejection as error:
                attempt += 1
                delay = self.retry.decide(attempt, error, self.promise_id)
                if delay is None:
                    return error
            await asyncio.sleep(delay)

    async def _settle(self, value: Any | Rejection) -> Any:
        """Record it, and give back what the record says, so that live and replayed are the same."""
        run, fence = self.run, self.run.fence
        if fence is None:
            return self._read(await run.effects.settle_promise(self.promise_id, value))
        run.check_halted()
        sdk.check_whole(run.effects.inner)
        state: Literal["resolved", "rejected"] = "resolved"
        if isinstance(value, Rejection):
            state, value = "rejected", {"__type": "error", "message": str(value)}
        text = sdk.without_pickle(msgspec.json.encode(value))
        data = None if value is None else base64.b64encode(text).decode("ascii")
        settlement = fence.settle(PromiseSettle(id=self.promise_id, state=state, value=Value(data=data)))
        try:
            if self.creation is not None:
                run.compare(self.promise_id, self.noted, (await fenced(self.creation))["tags"])
            promise = await fenced(settlement)
        except ResonateError as error:
            raise sdk.break_off(run.effects.inner, error) from error
        finally:
            _give_up(settlement)
        if promise["state"] == "resolved" and promise["value"].get("data") == data:
            sdk.settle_leaf(self.ctx, self.promise_id)
            return None if value is None else msgspec.json.decode(text)
        return self._read(sdk.decoded(run.effects.inner, promise))

    def _read(self, record: PromiseRecord) -> Any:
        self.run.records[self.promise_id] = record
        sdk.settle_leaf(self.ctx, self.promise_id)
        return sdk.decode_settled(record)


def _noticed(task: asyncio.Task[Any]) -> None:
    """One that was broken off after its function had ended is nothing to warn of."""
    if not task.cancelled() and isinstance(task._exception, PlatformError):
        task.exception()


def _give_up(posted: Posted) -> None:
    """Nobody waits for it any more; it is done all the same."""
    if posted.done() and not posted.cancelled():
        posted.exception()
    else:
        posted.cancel()
