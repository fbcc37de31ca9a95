"""Steps: what `ctx.run` is given, and threads of our own for the synchronous ones.

A synchronous step runs in a thread, so that it cannot stop the engine's loop. The threads are daemons: a closing
process does not wait for a step that the record does not need.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from durable.core.limits import STEP_THREADS_MAX
from durable.functions.function import NEVER, Function, Retry
from durable.functions.values import hints_of


@dataclass(frozen=True, slots=True)
class Step:
    """A callable as a step: its name in the record, how it is called, what it returns."""

    name: str
    fn: Callable[..., Any]
    takes_context: bool
    is_async: bool
    returns: Any
    retry: Retry


def step_of(fn: Callable[..., Any]) -> Step:
    """Describe a callable; the description of a plain function is kept."""
    try:
        return _described(fn)
    except TypeError:  # unhashable
        return _describe(fn)


@lru_cache(maxsize=2048)
def _described(fn: Callable[..., Any]) -> Step:
    return _describe(fn)


def _describe(fn: Callable[..., Any]) -> Step:
    if isinstance(fn, Function):
        return Step(fn.name, fn.fn, True, True, fn.returns, fn.retry)
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
    target = fn if inspect.isroutine(fn) else type(fn).__call__
    returns = hints_of(target).get("return", inspect.Parameter.empty)
    return Step(name.replace(".<locals>.", "."), fn, _takes_context(fn), is_async, returns, NEVER)


def _takes_context(fn: Callable[..., Any]) -> bool:
    """Whether the first parameter is the context: it is called `ctx`, or annotated so."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return False
    if not parameters:
        return False
    hint = parameters[0].annotation
    name = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
    return parameters[0].name == "ctx" or name in ("Context", "durable.Context")


class StepThreads:
    """Daemon threads for synchronous steps: made when needed, kept, at most STEP_THREADS_MAX."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[contextvars.Context, Callable[[], None]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    async def run(self, call: Callable[[], Any]) -> Any:
        """The call's result; what it raises is raised here, BaseExceptions included."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            try:
                result, error = call(), None
            except BaseException as caught:
                result, error = None, caught
            try:
                loop.call_soon_threadsafe(_deliver, done, result, error)
            except RuntimeError:
                pass  # the loop is gone: nobody waits any more

        with self._lock:
            grow = self._idle <= 0 and self._threads < STEP_THREADS_MAX
            if grow:
                self._threads += 1
            else:
                self._idle -= 1
        self._work.put((contextvars.copy_context(), work))
        if grow:
            threading.Thread(target=self._serve, name="durable-step", daemon=True).start()
        return await done

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            context, work = item
            context.run(work)
            del item, context, work
            with self._lock:
                self._idle += 1

    def close(self) -> None:
        """Let idle threads end; busy ones end with their step or with the process."""
        for _ in range(self._threads):
            self._work.put(None)


def _deliver(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    elif isinstance(error, StopIteration):
        done.set_exception(RuntimeError(f"the step raised StopIteration: {error}"))
    else:
        done.set_exception(error)
