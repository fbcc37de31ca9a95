"""A flag that a thread waits for, and that an interrupt in whoever sets it cannot leave unusable."""

from __future__ import annotations

import threading


class WakeFlag:
    """As `threading.Event`, of which a KeyboardInterrupt in `set` can leave the lock held for ever: nobody could set it
    again. Here every change is one call of C code. One thread waits."""

    def __init__(self) -> None:
        self._unset = threading.Lock()  # held while it is not set
        self._unset.acquire()

    def is_set(self) -> bool:
        """Whether it is set."""
        return not self._unset.locked()

    def set(self) -> None:
        """Wake whoever waits; from any thread."""
        try:
            self._unset.release()
        except RuntimeError:
            pass  # it was set

    def wait(self) -> None:
        """Return as soon as it is set."""
        self._unset.acquire()
        self.set()

    def clear(self) -> None:
        """Unset it."""
        self._unset.acquire(blocking=False)
