"""How many more executions an engine takes: what it is offered and what it runs (specs/store.md, S7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


def _nobody() -> None:
    """Nothing is offered by this process."""


class Slots:
    """Taken on the writer's thread for an offer, and on the loop for what begins there; given back on the loop."""

    def __init__(self, count: int) -> None:
        self.on_free: Callable[[], None] = _nobody
        """Called on the loop when one is free again after somebody found none."""
        self._count = count
        self._free: deque[None] = deque([None] * count)
        self._missed = False
        self._closed = False

    def free(self) -> bool:
        """Whether there is one; if not, `on_free` is called when there is."""
        if self._closed:
            return False
        if not self._free:
            self._missed = True
        return bool(self._free)  # looked at again: one that was given meanwhile may not have seen that it is missed

    def take(self) -> bool:
        """Hold one, if there is one."""
        if self._closed:
            return False
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give(self) -> None:
        """Give one back."""
        self._free.append(None)
        if self._missed:
            self._missed = False
            self.on_free()

    def close(self) -> None:
        """From now on there is none; those that are held are given back as before."""
        self._closed = True

    @property
    def count(self) -> int:
        """How many there are; 0 once they are closed."""
        return 0 if self._closed else self._count

    @property
    def left(self) -> int:
        """How many are free."""
        return 0 if self._closed else len(self._free)

    @property
    def held(self) -> int:
        """How many are held."""
        return self._count - len(self._free)
