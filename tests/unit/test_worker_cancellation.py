"""Cancelling the code in flight, and the coroutines that statements become (specs/session.md E11)."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from bridge.worker.run.coroutine_cancellation import INTERRUPT, Cancellation
from bridge.worker.run.event_loop import WorkerLoop
from bridge.worker.run.executor import Coroutines
from bridge.worker.run.foreground_task import Foreground
from bridge.worker.run.sigint_gate import Gate


@pytest.fixture
def loop() -> Iterator[WorkerLoop]:
    made = WorkerLoop(Gate(), lambda error: None)
    yield made
    asyncio.SelectorEventLoop.close(made)  # its own `close` does nothing: user code calls that


def ran(loop: WorkerLoop, coroutine: Coroutine[Any, Any, object]) -> Foreground:
    return loop.run_statement(coroutine, contextvars.copy_context())


def test_a_cancel_from_a_thread_stops_the_statement_and_no_task_of_the_users(loop: WorkerLoop) -> None:
    own: list[asyncio.Task[None]] = []

    async def statement() -> None:
        own.append(asyncio.get_running_loop().create_task(asyncio.sleep(0.01)))
        threading.Thread(target=lambda: loop.cancellation.cancel_current("a deadline")).start()
        await asyncio.sleep(60)

    cancellation = loop.cancellation
    cancellation.begin("desk@1", "await  asyncio.sleep(60)")
    cancellation.is_of("top_level_await")
    error = ran(loop, statement()).error
    assert isinstance(error, asyncio.CancelledError)
    cancellation.explain(error)
    assert error.__notes__[0].startswith("cancelled: a deadline at ")
    assert "execution desk@1, mode top_level_await, code 'await asyncio.sleep(60)'" in error.__notes__[0]
    assert not own[0].cancelled()
    asyncio.SelectorEventLoop.run_until_complete(loop, own[0])
    assert (cancellation.requested, cancellation.effective, cancellation.noop) == (1, 1, 0)


@pytest.mark.parametrize(("reason", "raised"), [("early", asyncio.CancelledError), (INTERRUPT, KeyboardInterrupt)])
def test_a_cancel_before_the_coroutine_is_a_task_is_not_lost(
    loop: WorkerLoop, reason: str, raised: type[BaseException]
) -> None:
    loop.cancellation.begin("desk@1", "")
    assert loop.cancellation.cancel_current(reason)
    done = ran(loop, asyncio.sleep(60))
    assert isinstance(done.error, raised)


def test_a_cancel_without_an_execution_does_nothing() -> None:
    cancellation = Cancellation()
    assert not cancellation.cancel_current("none")
    cancellation.begin("desk@1", "1")
    assert cancellation.cancel_current("too late for code that awaits nothing")
    cancellation.end()
    assert (cancellation.requested, cancellation.effective, cancellation.noop) == (2, 0, 2)
    error = KeyboardInterrupt()
    cancellation.explain(error)
    assert not hasattr(error, "__notes__")


def test_an_error_of_the_codes_own_is_not_explained_as_a_cancellation(loop: WorkerLoop) -> None:
    async def statement() -> None:
        loop.cancellation.cancel_current("stop")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("its own") from None

    loop.cancellation.begin("desk@1", "")
    error = ran(loop, statement()).error
    assert isinstance(error, ValueError)
    loop.cancellation.explain(error)
    assert not hasattr(error, "__notes__")
    assert loop.cancellation.effective == 0


def test_no_coroutine_outlives_its_statement() -> None:
    closed: list[int] = []

    async def statement() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(1)

    coroutines = Coroutines()
    begun = coroutines.track(statement())
    begun.send(None)
    coroutines.track(statement()).close()
    assert len(coroutines) <= 2
    coroutines.close()
    assert (len(coroutines), closed) == (0, [1])
