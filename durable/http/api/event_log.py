"""The log of a server's events: what became of executions and questions, numbered, so that a client that comes back
gets all that it missed (specs/http-api.md, Events).

The store tells that something changed, not always what: other processes commit, too. So the log looks at what has not
ended and compares it with its last look. What changed in between is one event, with the state that it came to.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import DurableError
from durable.core.events import BackgroundFailed, Observer
from durable.engine.views import iso
from durable.http.api.event_stream import StreamEvent
from durable.store.changes import Changes
from durable.store.direct_store import DirectStore
from durable.store.rows import ExecutionRow

EVENTS_KEPT_MAX = 100_000
"""Events that a client may have missed: some minutes of a busy store, in some 40 MB."""

LOOK_COST_FACTOR = 9
"""Between two looks passes this many times what a look took: a tenth of the reader's time at most."""

LOOK_REST_S = 0.02
"""Between two looks at a store that changes all the time."""

LOOK_AGAIN_S = 5.0
"""A store that could not be read is looked at again so soon."""

OVERLAP_MS = 5_000
"""How late an execution may be committed after the time in its record: by then a look has passed that time."""


class EventDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of an execution or a question. `at`: when it was seen."""

    execution: str
    at: str
    state: str = ""
    function: str = ""
    session: str | None = None
    prompt: str | None = None


@dataclass(slots=True)
class _Seen:
    """The last look: the state of each execution that had not ended, open questions, and what was made lately."""

    unfinished: dict[str, str] = field(default_factory=dict)
    prompts: frozenset[str] = frozenset()
    lately: dict[str, int] = field(default_factory=dict)
    """Executions by when they were made (ms), so that those that began and ended between two looks are told once."""
    until: int = 0
    """When the newest of them was made."""


class EventLog:
    """The events of one server since the first client asked for them."""

    def __init__(self, store: DirectStore, observe: Observer) -> None:
        self._store = store
        self._observe = observe
        self._name = os.urandom(6).hex()
        self._kept: deque[StreamEvent] = deque(maxlen=EVENTS_KEPT_MAX)
        self._count = 0
        """Of all events so far; the last one has this number."""
        self._news = Changes()
        self._changes = Changes()
        self._unwatch = store.watch(lambda _: self._changes.tell())
        self._seen = _Seen()
        self._begun = asyncio.ensure_future(self._begin())
        self._looking = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        self._unwatch()
        for task in (self._begun, self._looking):
            task.cancel()
            await asyncio.wait([task])

    async def follow(self, last: str | None) -> AsyncIterator[StreamEvent]:
        """The events behind the one with the id `last`, from now on where there is none.

        `reset` comes first where those are not kept any more, or were another server's: the client has to look anew.
        """
        await asyncio.shield(self._begun)
        place = self._place(last)
        if place is None:
            place = self._count
            yield StreamEvent("reset", {"at": iso(now_ms())}, self._id(place))
        elif last is None:
            yield StreamEvent("ready", {"at": iso(now_ms())}, self._id(place))
        while True:
            news = self._news.next()
            first = self._count - len(self._kept)
            if place < first:
                place = self._count
                yield StreamEvent("reset", {"at": iso(now_ms())}, self._id(place))
            for event in [self._kept[n] for n in range(place - first, len(self._kept))] if place < self._count else ():
                place += 1
                yield event
            if place == self._count:
                await news

    def _place(self, last: str | None) -> int | None:
        """How many events the client has had; None where it cannot go on from there."""
        if last is None:
            return self._count
        name, _, number = last.partition("-")
        if name != self._name or not number.isdecimal() or len(number) > 18:
            return None
        count = int(number)
        return count if self._count - len(self._kept) <= count <= self._count else None

    def _id(self, count: int) -> str:
        return f"{self._name}-{count}"

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """The first look tells nothing: whoever begins lists what there is."""
        reads, seen = self._store.reads, self._seen
        newest = await reads.list_executions(limit=1, whole=False)
        seen.until = newest[0].created_at if newest else 0
        seen.lately = await reads.made_since(max(0, seen.until - OVERLAP_MS))
        seen.unfinished = await reads.unfinished()
        seen.lately |= dict.fromkeys(seen.unfinished.keys() - seen.lately.keys(), seen.until)
        seen.prompts = frozenset(await reads.open_prompts())

    async def _run(self) -> None:
        while True:
            change, began = self._changes.next(), time.monotonic()
            try:
                await asyncio.shield(self._begun)
                await self._look()
            except DurableError as error:
                self._observe(BackgroundFailed("looking for events", str(error)))
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            cost = time.monotonic() - began
            await change
            await asyncio.sleep(max(LOOK_REST_S, LOOK_COST_FACTOR * cost))

    async def _look(self) -> None:
        """Compare what there is with the last look, and tell what changed."""
        reads, seen = self._store.reads, self._seen
        # What is made after the first read is found by the next look; what ended before the second, by its creation.
        made = await reads.made_since(max(0, seen.until - OVERLAP_MS))
        unfinished = await reads.unfinished()
        prompts = frozenset(await reads.open_prompts())
        changed = [id for id, state in unfinished.items() if seen.unfinished.get(id) != state]
        ended = [id for id in seen.unfinished if id not in unfinished]
        passed = [id for id in made if id not in seen.lately and id not in unfinished]
        for id in dict.fromkeys([*changed, *ended, *passed]):
            row = await reads.get_execution(id)
            if row is None:
                seen.unfinished.pop(id, None)  # closed with its session, or forgotten
            else:
                self._tell_execution(row)
        for prompt in sorted(prompts - seen.prompts):
            self._tell_prompt("prompt.asked", prompt)
        for prompt in sorted(seen.prompts - prompts):
            self._tell_prompt("prompt.settled", prompt)
        seen.prompts = prompts
        seen.until = max([seen.until, *made.values()])
        kept = ((id, at) for id, at in (made | seen.lately).items() if at >= seen.until - 2 * OVERLAP_MS)
        seen.lately = dict(kept)

    def _tell_execution(self, row: ExecutionRow) -> None:
        """Tell how it stands, which may be later than the look that found it; the next look compares with that."""
        seen = self._seen
        if row.id not in seen.unfinished and row.id not in seen.lately:
            self._tell("execution.created", _of(row, "pending"))
        if row.settled_at is not None:
            seen.unfinished.pop(row.id, None)
            self._tell("execution.settled", _of(row, row.state))
        elif seen.unfinished.get(row.id) != row.state:
            seen.unfinished[row.id] = row.state
            if row.state != "pending":
                self._tell(f"execution.{row.state}", _of(row, row.state))
        seen.lately[row.id] = max(row.created_at, seen.until)

    def _tell_prompt(self, kind: str, prompt: str) -> None:
        self._tell(kind, EventDocument(execution=ids.execution_of(prompt), prompt=prompt, at=_now()))

    def _tell(self, kind: str, document: Any) -> None:
        self._count += 1
        self._kept.append(StreamEvent(kind, document, self._id(self._count)))
        self._news.tell()


def _of(row: ExecutionRow, state: str) -> EventDocument:
    return EventDocument(execution=row.id, state=state, function=row.function, session=row.session, at=_now())


def _now() -> str:
    return iso(now_ms()) or ""
