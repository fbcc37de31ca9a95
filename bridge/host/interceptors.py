"""Interceptors: they see every message before it is routed, and can do no harm (P17, P18, P25; specs/session.md S4).

Their tasks run beside the receive loop: tracked, named, cancelled when the session ends, their errors told (P18)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from time import perf_counter

from bridge.protocol.messages import FromWorker
from durable.core.events import BackgroundFailed, InterceptorFailed, InterceptorOverran, Observer


class Beside:
    """The tasks of one worker session that run now."""

    def __init__(self, name: str, observer: Observer) -> None:
        self._name = name
        self._observer = observer
        self._tasks: set[asyncio.Task[None]] = set()

    def track(self, coroutine: Coroutine[object, object, None], what: str) -> None:
        """Run it; an error is told to the observer."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}: {what}")
        self._tasks.add(task)
        task.add_done_callback(self.let_go)

    def let_go(self, task: asyncio.Task[None]) -> None:
        """A task is done: as a callback of tasks that are not cancelled with the session."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observer(BackgroundFailed(task.get_name(), repr(error)))

    def guarded(self, what: str, call: Callable[[], None]) -> None:
        """Call it on the receive loop; an error is told to the observer."""
        try:
            call()
        except Exception as error:
            self._observer(BackgroundFailed(f"{what} of session {self._name}", repr(error)))

    def cancel(self) -> None:
        """The session ended."""
        for task in self._tasks:
            task.cancel()


INTERCEPTOR_BUDGET_MS = 10.0
"""An interceptor runs on the receive loop: longer than this delays every session of the engine (P25)."""

type Interceptor = Callable[[FromWorker], Coroutine[object, object, None] | None]
type Track = Callable[[Coroutine[object, object, None], str], None]


class Interceptors:
    """The interceptors of one session. `track` runs a coroutine that one returns, and cancels it with the session."""

    def __init__(self, session: str, observer: Observer, track: Track) -> None:
        self._session = session
        self._observer = observer
        self._track = track
        self._all: tuple[Interceptor, ...] = ()

    def add(self, interceptor: Interceptor) -> None:
        """From the next message on."""
        self._all = (*self._all, interceptor)

    def remove(self, interceptor: Interceptor) -> None:
        """Nothing when it was not added."""
        self._all = tuple(one for one in self._all if one != interceptor)

    def show(self, message: FromWorker) -> None:
        """Call each in order; what it raises and how long it takes become events."""
        for interceptor in self._all:
            started = perf_counter()
            try:
                more = interceptor(message)
                if iscoroutine(more):
                    self._track(more, "interceptor")
            except Exception as error:
                self._observer(InterceptorFailed(self._session, repr(error)))
            took_ms = (perf_counter() - started) * 1000
            if took_ms > INTERCEPTOR_BUDGET_MS:
                self._observer(InterceptorOverran(self._session, took_ms, INTERCEPTOR_BUDGET_MS))
