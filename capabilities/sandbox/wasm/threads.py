"""Threads that call wasm: of a stack that wasm's own limit fits in, daemons, kept while they are needed."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable

from capabilities.sandbox.limits import THREAD_STACK_BYTES

CALLS_MAX = 64
"""Calls of one runtime at once; more wait. Each has a thread, whose stack is reserved, not used."""

_making = threading.Lock()  # the stack size is a setting of the process: nobody else makes threads with ours


class SandboxThreads:
    """Threads made when needed, at most `most`, all ended by `close`."""

    def __init__(self, most: int = CALLS_MAX) -> None:
        self._most = most
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._closed = False

    async def run[T](self, call: Callable[[], T]) -> T:
        """Call it in a thread, in this context. Cancelling the caller does not stop the thread: cancel the call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(call)
            except BaseException as error:
                self._tell(loop, _fail, future, error)
            else:
                self._tell(loop, _settle, future, result)

        self._submit(work)
        return await future

    def close(self) -> None:
        """End the threads that are idle, and the others when they are done. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._work.put(None)

    def _submit(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the sandbox was closed")
            if self._idle > 0:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                self._start()
            self._work.put(work)

    def _start(self) -> None:
        with _making:
            before = threading.stack_size(THREAD_STACK_BYTES)
            try:
                threading.Thread(target=self._run, name="durable-sandbox", daemon=True).start()
            finally:
                threading.stack_size(before)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
            with self._lock:
                if self._work.qsize() == 0:
                    self._idle += 1

    @staticmethod
    def _tell[T](loop: asyncio.AbstractEventLoop, how: Callable[..., None], *what: object) -> None:
        try:
            loop.call_soon_threadsafe(how, *what)
        except RuntimeError:
            pass  # the loop was closed: nobody waits


def _settle[T](future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[object], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
