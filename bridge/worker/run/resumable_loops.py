"""Resumable loops of cells: where one is, and the boundaries between its iterations (specs/checkpoint.md, Loops)."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType

from bridge.worker.run.compiler import Statement
from checkpoint.resumable import install, own_loop


class Loops:
    """The loop of the statement that runs, if it is a resumable one. `boundary` is called after each iteration."""

    def __init__(self) -> None:
        self.boundary: Callable[[int], None] = lambda _iterations: None
        self._statement: Statement | None = None
        self._done = 0
        self._running = False
        install(self)

    def enter(self, statement: Statement, done: int) -> None:
        """A statement begins, or goes on after `done` iterations of its loop."""
        self._statement = statement if statement.loops else None
        self._done = done
        self._running = False

    def begins(self, frame: FrameType) -> int | None:
        """See checkpoint.resumable.Boundaries."""
        statement = self._statement
        if statement is None or frame.f_code is not statement.code or frame.f_lasti != own_loop(statement.code):
            return None
        self._running = True
        return self._done

    def within(self) -> bool:
        """See checkpoint.resumable.Boundaries."""
        return self._running

    def finished(self, iterations: int) -> None:
        """See checkpoint.resumable.Boundaries."""
        if self._running:
            self.boundary(iterations)

    def ended(self) -> None:
        """See checkpoint.resumable.Boundaries."""
        self._running = False
