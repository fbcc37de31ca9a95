"""Who sees every message before it is routed, without being able to do harm (P17, P18, P25; specs/session.md S4)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from time import perf_counter

from bridge.messages import FromWorker
from durable.core.events import InterceptorFailed, InterceptorOverran, Observer

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
