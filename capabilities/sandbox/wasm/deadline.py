"""The guard of one call: its deadline and its cancellation, seen by running code at the engine's next epoch.

wasmtime asks it through a callback when the store's deadline in epochs has come; what is compared is time, so the
number of epochs only says when to ask (D5). A cancel moves the epoch itself: code stops within a millisecond.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import queue
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from wasmtime import Store
from wasmtime import _ffi as ffi

from capabilities.sandbox.errors import HostTimeout
from capabilities.sandbox.limits import TICK_MS
from durable.core.errors import DurableError

ASK_TICKS_MAX = 16
"""Epochs between two questions at most; a cancel moves the epoch by as many."""

NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))
"""wasmtime tells nobody when it is done with a callback: at the end of the process there would be nobody to tell."""

HOST_CALL_MS = 30_000
"""Milliseconds that a host call may take where nobody says otherwise."""

_guards: weakref.WeakValueDictionary[int, DeadlineGuard] = weakref.WeakValueDictionary()
"""Weakly: a guard has its store, whose end would else be waited for by itself."""
_numbers = itertools.count(1)


class DeadlineGuard:
    """The guard of one store, for one call at a time."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.cancelled = False
        self.interrupted = False
        self.host: DurableError | None = None
        """The first error that a host function of this call raised."""
        self.host_call_ms = HOST_CALL_MS
        self.cpu_ms: float | None = None
        """Milliseconds of CPU time that the call may use."""
        self.cpu_over = False
        """Whether the call was stopped for its CPU time."""
        self.pace: Callable[[float], float] | None = None
        """Told of the CPU seconds that were used, says how long to wait for them (`quotas`)."""
        self._cpu_began = self._cpu_at = 0.0
        self._store = store
        self._clock = clock
        self._started = 0.0
        self._ends = math.inf
        self._wake: queue.SimpleQueue[object] | None = None
        self._number = next(_numbers)
        _guards[self._number] = self
        ffi.wasmtime_store_epoch_deadline_callback(store.ptr(), _ask, self._number, NO_FINALIZER)

    def begin(self, timeout_ms: int) -> None:
        """The call begins now."""
        self.interrupted, self.cpu_over, self.host = False, False, None
        self._started = self._clock()
        self._ends = self._started + timeout_ms / 1000
        self._cpu_began = self._cpu_at = time.thread_time()
        if self.pace is not None:
            self._rest(self.pace(0.0))
        self._store.set_epoch_deadline(self._ticks())

    def end(self) -> None:
        """The call is over, in the thread where it began."""
        self._charge()

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the call began."""
        return (self._clock() - self._started) * 1000

    @property
    def over(self) -> bool:
        """Whether the call should end: host functions look before they begin and after they waited."""
        return self.cancelled or self._clock() >= self._ends

    @property
    def left_s(self) -> float:
        """Seconds until its deadline."""
        return max(0.0, self._ends - self._clock())

    def cancel(self) -> None:
        """Stop the call, from any thread; code that runs is stopped at the engine's next epoch."""
        self.cancelled = True
        wake = self._wake
        if wake is not None:
            wake.put(None)

    def wait[T](self, work: Future[T], function: str, limit_ms: int) -> T:
        """The result of what a host function waits for: no longer than a host call may take, than the call's own
        deadline, or than nobody cancels it. What is waited for is cancelled then. HostTimeout; what the work raised.
        """
        wake: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._wake = wake
        work.add_done_callback(wake.put)
        try:
            if not self.cancelled:
                wake.get(timeout=min(limit_ms / 1000, self.left_s))
        except queue.Empty:
            pass
        finally:
            self._wake = None
        if work.done() and not self.cancelled:
            return work.result()
        work.cancel()
        raise HostTimeout(function, limit_ms)  # which nobody sees when it was the call's own end

    def _charge(self) -> float:
        """Tell of what this thread has used; the seconds to wait for it."""
        before, self._cpu_at = self._cpu_at, time.thread_time()
        return 0.0 if self.pace is None else self.pace(self._cpu_at - before)

    def _rest(self, wait_s: float) -> None:
        """Wait, as long as the call has time and is not cancelled."""
        if wait_s <= 0 or self.cancelled:
            return
        wake: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._wake = wake
        try:
            if not self.cancelled:
                wake.get(timeout=min(wait_s, self.left_s))
        except queue.Empty:
            pass
        finally:
            self._wake = None

    def trip(self) -> None:
        """Note that this guard ended the code."""
        if not self.cancelled:
            self.interrupted = True

    def _ticks(self) -> int:
        return min(ASK_TICKS_MAX, max(1, math.ceil(self.left_s * 500 / TICK_MS)))  # half of it: a late ticker is met

    def asked(self, delta: Any) -> bool:
        """Whether the code goes on, and for how many epochs."""
        self._rest(self._charge())
        used_ms = (self._cpu_at - self._cpu_began) * 1000
        self.cpu_over = self.cpu_ms is not None and used_ms >= self.cpu_ms
        if self.over or self.cpu_over:
            self.trip()
            return False
        delta[0] = self._ticks()
        return True


def cancel_all() -> None:
    """Stop every call of this process."""
    for guard in list(_guards.values()):
        guard.cancel()


@ctypes.CFUNCTYPE(  # type: ignore[untyped-decorator]
    ctypes.c_size_t,
    ctypes.POINTER(ffi.wasmtime_context_t),
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint64),
    ctypes.POINTER(ffi.wasmtime_update_deadline_kind_t),
)
def _ask(_context: Any, number: int | None, delta: Any, kind: Any) -> int:
    guard = _guards.get(number or 0)
    if guard is not None and guard.asked(delta):
        kind[0] = 0  # continue
        return 0
    error = ffi.wasmtime_error_new(b"interrupted by the guard")
    return ctypes.cast(error, ctypes.c_void_p).value or 0
