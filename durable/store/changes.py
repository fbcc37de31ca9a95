"""Waiting for the store to change, by anyone: whoever looks again takes the future before the look."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from durable.core.frozen_record import FrozenRecord


class StoreChange(FrozenRecord, frozen=True):
    """The changes that a commit made, coarsely. A foreign one says only that another process committed something."""

    foreign: bool
    settled: frozenset[str] = frozenset()
    """External promises settled, by id."""
    output: frozenset[str] = frozenset()
    """Execution ids (without `exec:`) that printed, or whose output was cut."""
    stopped: frozenset[str] = frozenset()
    """Tasks that were suspended or halted, by id."""
    halted: frozenset[tuple[str, str]] = frozenset()
    """The stopped tasks that were halted, by id, and why."""
    cancelled: frozenset[str] = frozenset()
    """Functions that are to end, by promise id: they may clean up first."""
    prompts: frozenset[str] = frozenset()
    """Questions that were asked, by promise id."""
    expired: frozenset[str] = frozenset()
    """Questions whose deadline passed, by promise id."""
    sessions: frozenset[str] = frozenset()
    """Sessions whose owner, cells or checkpoints changed."""
    policies: frozenset[str] = frozenset()
    """Sessions whose permissions changed, or `*` for everybody's."""
    streams: frozenset[str] = frozenset()
    """Executions that wrote to a stream or published a value, by promise id."""
    posts: bool = False
    """Messages for listeners at URLs wait to be sent."""
    lapsed: bool = False
    """The store could not be reached for a lease: what this engine holds may be others' by now."""
    regressed: bool = False
    """The store has lost commits that it had acknowledged: what is remembered of sessions may be of them."""


class NextChange(asyncio.Future[None]):
    """Shared by all who wait now: an awaiting task that is cancelled takes it from nobody else.

    A task cancels the future that it awaits, so each awaits one of its own. Cancelled by hand, it wakes everybody: to
    look once more does no harm.
    """

    def __await__(self) -> Generator[Any, None, None]:
        if self.done():
            return
        own: asyncio.Future[None] = self.get_loop().create_future()

        def wake(_: asyncio.Future[None]) -> None:
            if not own.done():
                own.set_result(None)

        self.add_done_callback(wake)
        try:
            yield from own
        finally:
            self.remove_done_callback(wake)

    __iter__ = __await__


class Changes:
    """One future for all who wait now, made when somebody does."""

    def __init__(self) -> None:
        self._next: NextChange | None = None

    def next(self) -> asyncio.Future[None]:
        """Done at the next change."""
        if self._next is None or self._next.done():
            self._next = NextChange(loop=asyncio.get_running_loop())
        return self._next

    def tell(self) -> None:
        """Tell that it changed, or was closed."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
