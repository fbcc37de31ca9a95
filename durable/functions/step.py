"""Steps: the callables that `ctx.run` is given, and threads of our own for the synchronous ones.

A synchronous step runs in a thread, so that it cannot stop the engine's loop. The threads are daemons: a closing
process does not wait for a step that the record does not need.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from types import FunctionType
from typing import Any
from uuid import UUID

import msgspec

from durable.core.frozen_record import FrozenRecord
from durable.core.limits import STEP_THREADS_MAX
from durable.functions.definition import NEVER, Function, Retry
from durable.records.values import hints_of


class Step(FrozenRecord, frozen=True):
    """A callable as a step: its name in the record, how it is called, what it returns."""

    name: str
    fn: Callable[..., Any]
    takes_context: bool
    is_async: bool
    returns: Any
    retry: Retry


def step_of(fn: Callable[..., Any]) -> Step:
    """Describe a callable. The description of a function that holds nothing is kept; a closure may hold its context."""
    lasting = isinstance(fn, Function) or (isinstance(fn, FunctionType) and fn.__closure__ is None)
    return _described(fn) if lasting else _describe(fn)


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
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = call(), None
            except BaseException as caught:
                outcome = None, caught
            try:
                loop.call_soon_threadsafe(_deliver, done, outcome)
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
            self._grow()
        result, error = await done
        if isinstance(error, StopIteration):  # which no coroutine can raise
            raise RuntimeError(f"the step raised StopIteration: {error}") from error
        if error is not None:
            raise error
        return result

    @property
    def busy(self) -> int:
        """How many of them run a step now, or are about to."""
        with self._lock:
            return self._threads - self._idle

    def _grow(self) -> None:
        try:
            threading.Thread(target=self._serve, name="durable-step", daemon=True).start()
        except RuntimeError:  # the system has no more; what is in the queue is for those that there are
            with self._lock:
                self._threads -= 1
                self._idle -= 1
                if self._threads:
                    return
            raise

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


def _deliver(done: asyncio.Future[Any], outcome: tuple[Any, BaseException | None]) -> None:
    """The error is told as a value: thrown into a coroutine, GeneratorExit and CancelledError would steer it."""
    if not done.cancelled():
        done.set_result(outcome)


# -- what a step can know and change --------------------------------------------------------------------------------


class Stopping(msgspec.Struct):
    """A flag: whether the function of a step under way was cancelled since it was begun. It holds nothing of either."""

    stopped: bool


under_way: contextvars.ContextVar[Stopping | None] = contextvars.ContextVar("durable_under_way", default=None)
"""Set where a step is begun."""


def cancelled() -> bool:
    """Whether the execution was cancelled since the step that asks was begun; False outside a step.

    Asynchronous steps are told by CancelledError too. A synchronous step cannot be stopped from outside: a long one
    asks now and then, and returns or raises. A step that cleans up after the cancel is not told of it once more.
    """
    step = under_way.get()
    return step is not None and step.stopped


class Arguments:
    """The arguments of a step as they were when it began: `changed` tells which of them the step changed.

    The function goes on with the changed object now and with the unchanged one when it is replayed, so its author is
    warned. Of each argument at most LOOKED_AT_MAX values and LOOKED_AT_BYTES_MAX bytes are looked at; an argument of
    plain text or numbers costs nothing.
    """

    __slots__ = ("_before",)

    def __init__(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._before = [
            (place, value, _look(value))
            for place, value in (*enumerate(args, 1), *kwargs.items())
            if type(value) not in _FROZEN
        ]

    def changed(self) -> tuple[str, ...]:
        """The names of the arguments that are not what they were."""
        return tuple(f"argument {place!r}" for place, value, before in self._before if _look(value) != before)


LOOKED_AT_MAX = 1_000
LOOKED_AT_BYTES_MAX = 64 * 2**10

_FROZEN = frozenset({str, int, float, bool, bytes, complex, type(None), date, datetime, time, timedelta, Decimal, UUID})


def _look(value: object) -> int:
    """A hash of what a value holds, as far as it is looked at."""
    left: list[object] = [value]
    seen: set[int] = set()
    found = hashlib.blake2b(digest_size=8)
    for _ in range(LOOKED_AT_MAX):
        if not left:
            break
        item = left.pop()
        found.update(f"{type(item).__qualname__} ".encode("utf-8", "replace"))
        if type(item) in _FROZEN:
            text = item if isinstance(item, str | bytes) else "" if _is_huge(item) else repr(item)
            found.update(_start(text))
        elif id(item) not in seen:
            seen.add(id(item))
            try:
                inside, size = _inside(item)
            except Exception:  # an object that cannot be looked at, by its own code
                inside, size = [], 0
            found.update(b"%d " % size)
            left += inside
    return int.from_bytes(found.digest())


def _is_huge(item: object) -> bool:
    return isinstance(item, int) and item.bit_length() > LOOKED_AT_BYTES_MAX // 8


def _start(text: str | bytes) -> bytes:
    data = text[:LOOKED_AT_BYTES_MAX].encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return b"%d:%s " % (len(text), data[:LOOKED_AT_BYTES_MAX])


def _inside(item: object) -> tuple[list[object], int]:
    """The first values inside one, and how many there are; none of what cannot be looked at without side effects."""
    if isinstance(item, dict):
        return [part for pair in itertools.islice(dict.items(item), LOOKED_AT_MAX) for part in pair], len(item)
    if isinstance(item, list | tuple | deque):
        return list(itertools.islice(item, LOOKED_AT_MAX)), len(item)
    if isinstance(item, set | frozenset):
        return list(itertools.islice(item, LOOKED_AT_MAX)), len(item)
    if not isinstance(item, type) and not callable(item):
        try:
            with memoryview(item) as view:  # type: ignore[arg-type]  # bytearrays, arrays of any library
                return [bytes(view.cast("B")[:LOOKED_AT_BYTES_MAX])], view.nbytes
        except (TypeError, ValueError):
            pass
        fields = getattr(item, "__dict__", None)
        if isinstance(fields, dict):
            return [part for pair in itertools.islice(fields.items(), LOOKED_AT_MAX) for part in pair], len(fields)
    return [], 0
