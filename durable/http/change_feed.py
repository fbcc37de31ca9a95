"""The changes of a store for remote clients: commits, coalesced, and the promises that each one waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, fields

from durable.core.errors import DurableError, Halted, StoreRefused
from durable.core.limits import AWAITED_MAX, POLL_QUEUE_MAX
from durable.http.sse import encode
from durable.store.changes import StoreChange
from durable.store.direct_store import DirectStore
from durable.store.rows import PromiseRow


class Feed:
    """One client's changes. Those not sent yet become one, so that a slow client costs no more than a fast one."""

    def __init__(self, store: DirectStore) -> None:
        self.ready = asyncio.Event()
        self.closed = False
        self._store = store
        self._change: StoreChange | None = None
        self._settled: list[str] = []
        self._awaited: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()
        """The awaited promises whose halt the client is still to be told of."""
        self._unwatch = store.watch(self._changed)

    def wait_for(self, promise_ids: list[str], halts: Sequence[str] = ()) -> None:
        """Tell the client when these settle, or that they do not exist; of `halts`, once, also when they are held up.

        StoreRefused when they are too many.
        """
        new = [each for each in dict.fromkeys(promise_ids) if each not in self._awaited]
        if len(self._awaited) + len(new) > AWAITED_MAX:
            raise StoreRefused("settled.await", 400, f"a client waits for at most {AWAITED_MAX} promises (AWAITED_MAX)")
        again = {each for each in halts if each not in self._told} & self._awaited.keys()
        for each in again:
            self._awaited.pop(each).cancel()  # it waits without looking for halts
        self._told.update(halts)
        for each in (*new, *again):
            self._awaited[each] = asyncio.create_task(self._tell(each))

    def take(self) -> list[str]:
        """The settled promises first: whoever is woken by the change finds them."""
        taken, self._settled = self._settled, []
        change, self._change = self._change, None
        if change is not None:
            taken.append(encode({"change": {name: value for name, value in asdict(change).items() if value}}))
        if not self.closed:
            self.ready.clear()
        return taken

    def close(self) -> None:
        """Say nothing more."""
        if not self.closed:
            self.closed = True
            self._unwatch()
            for task in self._awaited.values():
                task.cancel()
            self.ready.set()

    async def _tell(self, promise_id: str) -> None:
        try:
            row = await self._row_of(promise_id)
        except StoreRefused as refused:
            self._say(encode({"missing": promise_id, "status": refused.status, "message": refused.message}))
        except DurableError:
            self.close()  # the store is closed: the client connects again, or learns that it cannot
        else:
            self._say(encode({"settled": row}))
        finally:
            if self._awaited.get(promise_id) is asyncio.current_task():
                self._awaited.pop(promise_id)
                self._told.discard(promise_id)

    async def _row_of(self, promise_id: str) -> PromiseRow:
        if promise_id in self._told:
            try:
                return await self._store.settled(promise_id, halts=True)
            except Halted:
                self._told.discard(promise_id)  # whoever waits anew asks anew
                self._say(encode({"halted": promise_id}))
        return await self._store.settled(promise_id)

    def _say(self, message: str) -> None:
        if len(self._settled) >= POLL_QUEUE_MAX:
            self.close()  # it does not read; it asks anew when it comes back
            return
        self._settled.append(message)
        self.ready.set()

    def _changed(self, change: StoreChange) -> None:
        self._change = change if self._change is None else merged(self._change, change)
        self.ready.set()


def merged(first: StoreChange, second: StoreChange) -> StoreChange:
    """Both changes as one."""
    sets = [each.name for each in fields(StoreChange) if each.default == frozenset()]
    return StoreChange(
        foreign=first.foreign or second.foreign,
        lapsed=first.lapsed or second.lapsed,
        regressed=first.regressed or second.regressed,
        **{name: getattr(first, name) | getattr(second, name) for name in sets},
    )
