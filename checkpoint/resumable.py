"""`durable.resumable(iterable)`: a loop that goes on at its iteration after a crash (specs/checkpoint.md, Loops).

Between two iterations of such a loop the worker may save the namespace with the number of finished ones; the statement
then begins again with the iterable anew, without those. The worker puts itself into `install`; anywhere else the
iterable is iterated as it is.
"""

from __future__ import annotations

import dis
import io
import sys
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any, Protocol


class Boundaries(Protocol):
    """The saver of loops: the executor of the worker."""

    def begins(self, frame: FrameType) -> int | None:
        """The finished iterations (0 for a fresh start) when the frame runs the statement's own loop; else None."""

    def within(self) -> bool:
        """Whether a resumable loop is running: one inside it is iterated as it is."""

    def finished(self, iterations: int) -> None:
        """So many iterations are done: a place to save."""

    def ended(self) -> None:
        """The loop is over."""


_boundaries: Boundaries | None = None


def install(boundaries: Boundaries) -> None:
    """Let these loops save. Once, by the worker."""
    global _boundaries
    _boundaries = boundaries


class Resumable[T]:
    """The result of `resumable`: an iterable for one `for` or `async for` statement at the top level of a cell."""

    def __init__(self, iterable: Iterable[T] | AsyncIterable[T]) -> None:
        self._iterable = iterable

    def __iter__(self) -> Iterator[T]:
        iterable = self._iterable
        if not isinstance(iterable, Iterable):
            raise TypeError(f"{type(iterable).__name__!r} is iterated by `async for` only")
        frame = sys._getframe(1)
        done = self._done(frame)
        if done is None or _boundaries is None:
            return iter(iterable)
        return _loop(self._from(iterable, done, frame), done, _boundaries)

    def __aiter__(self) -> AsyncIterator[T]:
        frame = sys._getframe(1)
        done = self._done(frame)
        return _loop_async(self._iterable, 0 if done is None else self._skips(done, frame), done, _boundaries)

    def _done(self, frame: FrameType) -> int | None:
        if _boundaries is None or _boundaries.within():
            return None
        if isinstance(self._iterable, set | frozenset):
            why = "a set has another order in another process; sort it"
        else:
            done = _boundaries.begins(frame)
            if done is not None:
                return done
            why = "it is not the loop of a `for` statement at the top level of a cell, whose variables are saved"
        warnings.warn(f"this loop cannot be resumed at its iteration: {why}", RuntimeWarning, stacklevel=3)
        return None

    def _skips(self, done: int, frame: FrameType) -> int:
        """How many items to pass over: none when the iterator is a variable, which came back where it was."""
        iterable = self._iterable
        iterates = isinstance(iterable, Iterator | AsyncIterator)
        kept = iterates and any(value is iterable or value is self for value in frame.f_globals.values())
        return 0 if kept else done

    def _from(self, iterable: Iterable[T], done: int, frame: FrameType) -> Iterator[T]:
        if isinstance(iterable, io.IOBase):
            lines: Any = iterable
            found: Iterator[Any] = iter(lines.readline, "" if isinstance(iterable, io.TextIOBase) else b"")
        else:
            found = iter(iterable)
        skips = self._skips(done, frame)
        if type(found) in _POSITIONED and skips:
            found.__setstate__(skips)  # type: ignore[attr-defined]
            return found
        for _ in range(skips):
            next(found, None)
        return found

    def __reduce__(self) -> tuple[object, tuple[object]]:
        return resumable, (self._iterable,)

    def __repr__(self) -> str:
        return f"durable.resumable({self._iterable!r})"


_EMPTY: tuple[Iterable[object], ...] = ([], (), "", b"", range(0))
_POSITIONED = {type(iter(value)) for value in _EMPTY}
"""Iterators that can be set to an index."""


def resumable[T](iterable: Iterable[T] | AsyncIterable[T]) -> Resumable[T]:
    """Iterate so that, in a session, a crash goes on at the iteration in flight, with the variables as they were then.

    for epoch in durable.resumable(range(100)): ...

    The loop has to be a statement of its own at the top level of a cell; elsewhere a RuntimeWarning says why it cannot
    be resumed. The iterable's expression is evaluated again; what was done is passed over, by index where there is one.
    An iterator or a file that is a variable goes on where it was. Of loops inside the loop nothing is kept: the outer
    iteration in flight runs again, with the answers that its calls got.
    """
    return Resumable(iterable)


def _loop[T](found: Iterator[T], done: int, boundaries: Boundaries) -> Iterator[T]:
    try:
        for item in found:
            yield item
            done += 1
            boundaries.finished(done)
    finally:
        boundaries.ended()


async def _loop_async[T](
    iterable: Iterable[T] | AsyncIterable[T], skips: int, done: int | None, boundaries: Boundaries | None
) -> AsyncIterator[T]:
    found = aiter(iterable) if isinstance(iterable, AsyncIterable) else _asynchronous(iterable)
    try:
        for _ in range(skips):
            await anext(found, None)
        async for item in found:
            yield item
            if done is not None and boundaries is not None:
                done += 1
                boundaries.finished(done)
    finally:
        if done is not None and boundaries is not None:
            boundaries.ended()


async def _asynchronous[T](iterable: Iterable[T]) -> AsyncIterator[T]:
    for item in iterable:
        yield item


def own_loop(code: CodeType) -> int:
    """Where the code of a `for` statement takes the iterator of that statement (an instruction's offset), or -1.

    A loop takes its iterator and goes on with it at once; a comprehension or generator expression, of which there may
    be some in the iterable's expression, does something else first.
    """
    instructions = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    for step, following in pairwise(instructions):
        if (step.opname, following.opname) in (("GET_ITER", "FOR_ITER"), ("GET_AITER", "GET_ANEXT")):
            return step.offset
    return -1
