"""A limit on the time that foreign code on the main thread takes, by SIGALRM (specs/namespace.md, R2)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

AGAIN_S = 0.05
"""Raised again so often: code may swallow the first."""


class OutOfTime(BaseException):
    """The time is over. Not an Exception, so that `except Exception` in that code does not swallow it."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block when it takes longer. On other threads nothing limits it.

    The user's own timer and handler are kept: what of the timer's time is left goes on afterwards.
    """
    if threading.get_ident() != threading.main_thread().ident:
        yield
        return
    over = False

    def ring(_signum: int, _frame: FrameType | None) -> None:
        if not over:
            raise OutOfTime

    began = monotonic()
    theirs = signal.signal(signal.SIGALRM, ring)
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, theirs if theirs is not None else signal.SIG_DFL)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, left - (monotonic() - began)), every)
