"""Waiting for the store to change, by anyone: whoever looks again takes the future before the look."""

from __future__ import annotations

import asyncio


class Changes:
    """One future for all who wait now, made when somebody does."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def next(self) -> asyncio.Future[None]:
        """Done at the next change."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def tell(self) -> None:
        """Tell that it changed, or was closed."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
