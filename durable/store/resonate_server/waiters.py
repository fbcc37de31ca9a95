"""Futures in this process that wait for promises of a Resonate server."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from durable.core.errors import DurableError
from durable.store.operations.halted_waits import Halt
from durable.store.rows import PromiseRow

type Waiter = asyncio.Future[PromiseRow]


class Waiters:
    """Futures by the promise that each waits for. Used on the loop."""

    def __init__(self) -> None:
        self._all: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._of_halts: set[Waiter] = set()
        self._impatient: set[Waiter] = set()

    @property
    def ids(self) -> list[str]:
        """The promises that somebody waits for."""
        return [*self._all]

    def hears_of_halts(self, promise_id: str) -> bool:
        """Whether somebody who waits for it wants to know that it is halted."""
        return bool(self._of_halts & self._all.get(promise_id, set()))

    async def wait(self, promise_id: str, *, halts: bool, patient: bool) -> PromiseRow:
        """Wait until somebody tells of it."""
        future: Waiter = asyncio.get_running_loop().create_future()
        self._all[promise_id].add(future)
        if halts:
            self._of_halts.add(future)
        if not patient:
            self._impatient.add(future)
        try:
            return await future
        finally:
            self._of_halts.discard(future)
            self._impatient.discard(future)
            self._all[promise_id].discard(future)
            if not self._all[promise_id]:
                del self._all[promise_id]

    def settled(self, row: PromiseRow) -> None:
        """Tell of a promise that is settled."""
        for future in self._all.get(row.id, ()):
            if not future.done():
                future.set_result(row)

    def halted(self, halt: Halt) -> None:
        """Tell those who want to know that a promise is held up."""
        for future in self._of_halts & self._all.get(halt.awaited, set()):
            if not future.done():
                future.set_exception(halt.error())

    def refused(self, promise_id: str, error: DurableError) -> None:
        """Tell that a promise cannot be waited for."""
        self._fail(self._all.get(promise_id, set()), error)

    def outage(self, error: DurableError) -> None:
        """Tell those who must not wait for ever."""
        self._fail(self._impatient, error)

    def close(self, error: DurableError) -> None:
        """Tell everybody that nothing comes any more."""
        for waiting in self._all.values():
            self._fail(waiting, error)

    @staticmethod
    def _fail(waiting: set[Waiter], error: DurableError) -> None:
        for future in [*waiting]:
            if not future.done():
                future.set_exception(error)
