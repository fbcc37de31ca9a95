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
        self._free: deque[None] = deque([None] * count)
        self._missed = False

    def free(self) -> bool:
        """Whether there is one; if not, `on_free` is called when there is."""
        if not self._free:
            self._missed = True
        return bool(self._free)  # looked at again: one that was given meanwhile may not have seen that it is missed

    def take(self) -> bool:
        """Hold one, if there is one."""
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
