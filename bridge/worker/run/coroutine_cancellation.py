"""Cancelling the code of the execution in flight, and nothing else (requirement P51; specs/session.md E11)."""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections.abc import Callable
from time import time

INTERRUPT = "interrupt"
"""The reason whose cancellation arrives as KeyboardInterrupt."""

SNIPPET_CHARS = 80


class Cancellation:
    """`cancel_current` may be called from any thread and from a signal handler.

    `requested` calls, of which `effective` stopped a coroutine and `noop` found none to stop.
    """

    def __init__(self) -> None:
        self.requested = 0
        self.effective = 0
        self.noop = 0
        self._lock = threading.RLock()
        self._context: dict[str, str] | None = None
        self._cancel: Callable[[str], None] | None = None
        self._early: str | None = None
        self._issued: tuple[str, float] | None = None

    def begin(self, execution_id: str, code: str) -> None:
        """An execution starts: a cancel is kept from here on until its coroutine is there."""
        with self._lock:
            self._context = {"execution": execution_id, "mode": "unknown", "code": _snippet(code)}
            self._early = self._issued = None

    def is_of(self, mode: str) -> None:
        """Its mode is known."""
        if self._context is not None:
            self._context["mode"] = mode

    def register(self, cancel: Callable[[str], None]) -> None:
        """Its coroutine is a task now, which `cancel(reason)` cancels; at once when that was asked for before."""
        with self._lock:
            self._cancel = cancel
            early, self._early = self._early, None
            if early is not None:
                cancel(early)

    def unregister(self) -> None:
        """The task ended."""
        with self._lock:
            self._cancel = None

    def end(self) -> None:
        """The execution ended; a cancel that met no coroutine of it did nothing."""
        with self._lock:
            if self._early is not None:
                self.noop += 1
            self._context = self._early = self._issued = None

    def cancel_current(self, reason: str) -> bool:
        """Cancel the top-level coroutine in flight; its user's own tasks go on. False when no execution is."""
        with self._lock:
            self.requested += 1
            if self._context is None:
                self.noop += 1
                return False
            self._issued = reason, time()
            if self._cancel is None:
                self._early = reason
            else:
                self._cancel(reason)
            return True

    def explain(self, error: BaseException) -> None:
        """Note on what ended the execution which cancellation it was, when it was one."""
        with self._lock:
            issued, context = self._issued, self._context
            stopped = isinstance(error, KeyboardInterrupt | CancelledError)
            if issued is None or context is None or not stopped:
                return
            self._issued = None
            self.effective += 1
        what = ", ".join(f"{name} {text}" for name, text in context.items())
        error.add_note(f"cancelled: {issued[0]} at {issued[1]:.3f} ({what})")


def _snippet(code: str) -> str:
    text = " ".join(code.split())
    return repr(text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…")
