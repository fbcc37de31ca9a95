"""A leaf: a step without a context of its own, created, run and settled under its execution's lease.

Where the store is in this process a leaf looks whether the fence would let it be created now, posts that, and begins
(specs/execution.md, R7). A step that is tried again has a promise for each retry, `exec:<id>.<k>:retry:<n>`, so that
neither the count nor the time of the next try is lost with the engine (R9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from resonate.types import PromiseCreateReq, PromiseRecord, Value

from capabilities.capability import identify_call
from durable.core.clock import is_replaced, now_ms
from durable.core.errors import RetriesExhausted
from durable.core.ids import PREFIX
from durable.functions.definition import Retry
from durable.functions.failures import Rejection, rebuild, rejection
from durable.functions.replay.function_pass import FunctionPass, UnderWay
from durable.functions.replay.recorder import give_up
from durable.functions.resonate.fence import Posted
from durable.functions.resonate.sdk import PlatformError
from durable.functions.resonate.store_ports import internal
from durable.functions.step import Stopping, under_way
from durable.functions.stream_methods import StepWriter, step_writer
from durable.records.codec import decode_param, encode

type Body = Callable[[str], Awaitable[Any]]
"""Runs the step whose promise has this id: gives JSON builtins, or raises Rejection."""

STOPPED = "the execution is cancelled"
"""The error of a step that did not run when its function was cancelled."""

RETRY_HERE_S = 5.0
"""A longer wait for the next try holds nothing: the execution is suspended until then."""


class Leaf(msgspec.Struct):
    """One step, as the function pass performs it.

    When its function is cancelled it is stopped: what runs on the engine's loop gets CancelledError, a wait for the
    next try ends, and nothing of it begins any more. What that comes to is its outcome.
    """

    function_pass: FunctionPass
    body: Body
    retry: Retry
    stoppable: bool = False
    """Whether it runs on the engine's loop, where it can be cancelled."""
    _stopping: Stopping = msgspec.field(default_factory=lambda: Stopping(stopped=False))
    """The flag that the body can ask."""
    _runs: asyncio.Task[Any] | None = None
    """While the body runs."""
    _pause: asyncio.Future[None] | None = None
    """While the time of the next try is waited for."""

    def stop(self) -> None:
        """Its function was cancelled, which the operation says by now."""
        self._stopping.stopped = True
        if self._runs is not None and self.stoppable:
            self._runs.cancel()
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    async def perform(self, found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
        """The settled promise; or that of the next try, when that is a while ahead."""
        run = self.function_pass.run
        task = asyncio.current_task()
        assert task is not None
        identify_call(found.promise_id)
        self._stopping.stopped = found.stopped
        under_way.set(self._stopping)
        self.function_pass.leaves.add(task)
        found.stop = self.stop
        creation: Posted | None = None
        try:
            if known is None:
                request = self.function_pass.local(found)
                creation = run.recorder.post(request)
                if creation is None:
                    record = await self.function_pass.create(found, request)
                    if record.state != "pending":
                        return record
            outcome = await self._tried(found, known)
            if isinstance(outcome, PromiseRecord):
                return outcome
            record = await run.recorder.settle(
                found.promise_id, outcome, creation, lambda tags: self.function_pass.check_same(found, tags)
            )
            run.step_recorded(found.promise_id, found.name, record.state)
            return record
        except PlatformError:
            raise
        except Exception as error:  # the body's own are rejections
            what = f"run {found.promise_id.removeprefix(PREFIX)}"
            raise PlatformError([internal(what, error)]) from error
        finally:
            found.stop = None
            self.function_pass.leaves.discard(task)
            if creation is not None:
                give_up(creation)

    async def _tried(self, found: UnderWay, known: PromiseRecord | None) -> Any | Rejection | PromiseRecord:
        last = self.function_pass.run.last_retry(found.promise_id)
        attempt = 0 if last is None else int(last.id.rpartition(":")[2])
        again = known is not None and known.id == found.promise_id
        waiting = last if again else known
        if waiting is not None and waiting.state == "pending" and not found.stopped:
            if self.function_pass.ended and _left(waiting) > RETRY_HERE_S:
                return Rejection(decode_param(waiting)["error"])
            if not await self._here(waiting):
                return waiting
        while not found.stopped:
            writer = StepWriter(self.function_pass, found.promise_id)
            step_writer.set(writer)
            try:
                self._runs = asyncio.current_task()
                self.function_pass.run.step_begun(found.promise_id, found.name, attempt + 1)
                value = await self.body(found.promise_id)
                await writer.end()
                return value
            except Rejection as error:
                await writer.end()
                if found.stopped:
                    return error
                attempt += 1
                delay = self.retry.decide(attempt, error, found.promise_id.removeprefix(PREFIX))
                if delay is None and self.retry.pauses(attempt, error, found.promise_id.removeprefix(PREFIX)):
                    raise self._paused(found, error) from None
                if delay is None or (delay > RETRY_HERE_S and self.function_pass.ended):
                    return error
                self._runs = None
                retry = await self._recorded(found, attempt, delay, error)
                if not found.stopped and not await self._here(retry):
                    return retry
            finally:
                self._runs = None
        return rejection(asyncio.CancelledError(STOPPED), found.promise_id.removeprefix(PREFIX))

    def _paused(self, found: UnderWay, error: Rejection) -> PlatformError:
        """Halt the execution in place of the step's failure."""
        step = found.promise_id.removeprefix(PREFIX)
        last = rebuild("rejected", {"message": str(error)}, step)
        name, said = found.tags["durable:name"], f"{last.exception_type}: {last.exception_message}"
        return self.function_pass.run.halted(RetriesExhausted(name, step, self.retry.max_retries, said))

    async def _here(self, retry: PromiseRecord) -> bool:
        """Wait for the time of a retry, if it comes soon."""
        left = _left(retry)
        if left > RETRY_HERE_S or (is_replaced() and not self.function_pass.ended):
            return False  # where time is a test's, it passes while nothing is held
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = loop.call_later(max(0.0, left), _end, self._pause)
        try:
            await self._pause
        finally:
            timer.cancel()
            self._pause = None
        return True

    async def _recorded(self, found: UnderWay, attempt: int, delay: float, error: Rejection) -> PromiseRecord:
        run = self.function_pass.run
        retry_id = f"{found.promise_id}:retry:{attempt}"
        tags = {
            "resonate:scope": "global",
            "resonate:target": run.target,
            "resonate:branch": retry_id,
            "resonate:parent": run.origin,
            "resonate:origin": run.origin,
            "resonate:timer": "true",
            "durable:capability": "retry",  # what waits for its next try is found by it
        }
        at = now_ms() + int(delay * 1000)
        request = PromiseCreateReq(
            id=retry_id,
            timeout_at=at,
            param=Value(data=encode({"attempt": attempt, "error": str(error), "next_at": at})),
            tags=tags,
        )
        retry = await run.recorder.create(request)
        run.retried(found.promise_id, retry)
        run.step_retried(found.promise_id, found.name, attempt, delay)
        return retry


def _left(retry: PromiseRecord) -> float:
    """Seconds until the time of a retry."""
    return (retry.timeout_at - now_ms()) / 1000


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
