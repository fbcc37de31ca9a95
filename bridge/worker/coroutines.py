"""The coroutines that statements become: none outlives its execution (requirement P50)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from weakref import WeakSet


class Coroutines:
    """Those that are not finished, weakly held: what nobody refers to any more is no leak of ours."""

    def __init__(self) -> None:
        self._made: WeakSet[Coroutine[Any, Any, object]] = WeakSet()

    def __len__(self) -> int:
        return len(self._made)

    def track[C: Coroutine[Any, Any, object]](self, coroutine: C) -> C:
        """Remember one until `close`."""
        self._made.add(coroutine)
        return coroutine

    def close(self) -> None:
        """Close every one; afterwards there is none. User code runs in their `finally`."""
        while self._made:
            self._made.pop().close()
