"""A statement's coroutine as its task sees it: contained, interruptible at its `await` (specs/session.md E5, E6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from types import CoroutineType, GeneratorType
from typing import Any

from bridge.worker.run.sigint_gate import Gate
from bridge.worker.run.tracebacks import PACKAGE_DIRECTORY


class Foreground(Coroutine[Any, Any, None]):
    """The coroutine of a cell's statement as the task sees it.

    It never raises, so that nothing of user code ends the loop: the outcome is in `value` and `error`. An interrupt
    arrives as the task's cancellation. Where only the cell's own coroutines stand between it and the `await`, it is
    thrown there as KeyboardInterrupt. A library's coroutine in between (a TaskGroup, a timeout, a lock) gets the
    CancelledError that it was written for; leaving the cell that becomes KeyboardInterrupt, as in `asyncio.run`.
    """

    def __init__(self, inner: Coroutine[Any, Any, object], gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self.interrupted = False
        self._cancelled = False
        self.value: object = None
        self.error: BaseException | None = None

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:  # noqa: ARG002  # the base's signature
        error = typ if isinstance(typ, BaseException) else (val or typ())
        if self.interrupted and isinstance(error, asyncio.CancelledError):
            self.interrupted = False
            self._gate.delivered()
            if _only_cells(self._inner):
                error = KeyboardInterrupt()
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
            else:
                self._cancelled = True
        return self._step(self._inner.throw, error)

    def _step(self, advance: Callable[[Any], Any], value: Any) -> Any:
        gate = self._gate
        try:
            gate.in_step = True
            try:
                return advance(value)
            finally:
                gate.in_step = False
        except StopIteration as stop:
            self.value = stop.value
        except BaseException as error:
            if self._cancelled and isinstance(error, asyncio.CancelledError):
                error = KeyboardInterrupt().with_traceback(error.__traceback__)
            self.error = error
            self._inner.close()
        raise StopIteration

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, None, None]:
        raise RuntimeError("only a task runs this")


_SLEEPS = {asyncio.sleep.__code__, asyncio.tasks.__sleep0.__code__}  # type: ignore[attr-defined]
"""The coroutines of asyncio that care for any exception alike."""


def _only_cells(coroutine: object) -> bool:
    """From a cell's statement to where it is suspended there are only coroutines defined in cells, and a sleep."""
    while coroutine is not None:
        if isinstance(coroutine, CoroutineType):
            code, coroutine = coroutine.cr_code, coroutine.cr_await
        elif isinstance(coroutine, GeneratorType):
            code, coroutine = coroutine.gi_code, coroutine.gi_yieldfrom
        else:
            return isinstance(coroutine, Awaitable | Iterator) and type(coroutine).__module__ == "_asyncio"
        if not code.co_filename.startswith(("<cell ", PACKAGE_DIRECTORY)) and code not in _SLEEPS:
            return False
    return True
