"""Futures in this process that wait until a promise is settled, whatever kind of store it is in."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from durable.store.operations.halted_waits import Halt
from durable.store.protocol.requests import Record
from durable.store.rows import PromiseRow

type Waiter = asyncio.Future[PromiseRow]


class Follower(NamedTuple):
    """A pass that goes on while it waits for a promise: it is called as soon as the commit is known here."""

    settled: Callable[[Record], None]
    """The promise is settled, whatever this has."""
    execution: str = ""
    """The promise of the execution that the followed one stands for; "" for none."""
    held_up: Callable[[], None] | None = None
    """That execution is held up, by a halt."""


class Waiters:
    """Futures by the promise that each waits for. Used on the loop; `ids` and `halt_ids` from any thread."""

    def __init__(self) -> None:
        self._all: dict[str, set[Waiter]] = {}
        self._of_halts: dict[str, set[Waiter]] = {}
        self._impatient: dict[Waiter, float] = {}
        """With the monotonic time since which each waits."""
        self._followers: dict[str, Follower] = {}
        """One a promise: only the pass that made it follows it."""

    def __contains__(self, promise_id: str) -> bool:
        """Whether somebody waits for it."""
        return promise_id in self._all

    @property
    def ids(self) -> list[str]:
        """The promises that somebody waits for."""
        return [*self._all, *self._followers]

    @property
    def halt_ids(self) -> list[str]:
        """The promises of which somebody wants to hear as well that they are held up."""
        followed = [follower.execution for follower in [*self._followers.values()] if follower.execution]
        return [*self._of_halts, *followed]

    def hears_of_halts(self, promise_id: str) -> bool:
        """Whether somebody who waits for it wants to know that it is held up."""
        return promise_id in self._of_halts

    @contextmanager
    def entered(self, promise_id: str, *, halts: bool, patient: bool) -> Iterator[Waiter]:
        """A future that is told of the promise while the block runs; `outage` tells it where it is not patient."""
        future: Waiter = asyncio.get_running_loop().create_future()
        registers = (self._all, self._of_halts) if halts else (self._all,)
        for register in registers:
            register.setdefault(promise_id, set()).add(future)
        if not patient:
            self._impatient[future] = time.monotonic()
        try:
            yield future
        finally:
            self._impatient.pop(future, None)
            for register in registers:
                register[promise_id].discard(future)
                if not register[promise_id]:
                    del register[promise_id]
            if future.done() and not future.cancelled():
                future.exception()  # the block may have ended for another reason at the same time

    def follow(self, promise_id: str, follower: Follower) -> None:
        """Tell it of the promise until `unfollow`. What had happened before is not told."""
        self._followers[promise_id] = follower

    def unfollow(self, promise_id: str, follower: Follower) -> None:
        """Tell it no more."""
        if self._followers.get(promise_id) is follower:
            del self._followers[promise_id]

    def follower(self, promise_id: str) -> Follower | None:
        """The follower of the promise."""
        return self._followers.get(promise_id)

    def settled(self, row: PromiseRow) -> None:
        """Tell of a promise that is settled."""
        for future in self._all.get(row.id, ()):
            if not future.done():
                future.set_result(row)

    def halted(self, promise_id: str, halt: Halt) -> bool:
        """Tell those who want to know that a promise is held up; whether there was one."""
        for follower in [*self._followers.values()]:
            if follower.execution == promise_id and follower.held_up is not None:
                follower.held_up()
        return _fail(self._of_halts.get(promise_id, ()), halt.error)

    def refused(self, promise_id: str, error: Callable[[], Exception]) -> None:
        """Tell that a promise cannot be waited for."""
        _fail(self._all.get(promise_id, ()), error)

    def outage(self, error: Callable[[], Exception], at: float = math.inf) -> None:
        """Tell those who must not wait for ever, and waited already when it was seen (`at`, in monotonic seconds)."""
        _fail([future for future, since in self._impatient.items() if since <= at], error)

    def close(self, error: Callable[[], Exception]) -> None:
        """Tell everybody that nothing comes any more."""
        for waiting in self._all.values():
            _fail(waiting, error)


def _fail(waiting: Iterable[Waiter], error: Callable[[], Exception]) -> bool:
    """An error for each of its own: one that several raise would gather the traceback of all."""
    told = False
    for future in [*waiting]:
        if not future.done():
            future.set_exception(error())
            told = True
    return told
