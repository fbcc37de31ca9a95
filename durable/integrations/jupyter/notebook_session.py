"""The durable session under a kernel: opened, asked for a front end, set aside by a restart and brought back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from bridge.protocol.messages import FrontEnd
from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import (
    BadArguments,
    Conflict,
    DurableError,
    NotFound,
    StoreError,
    StoreFull,
    StoreUnreachable,
    WorkerDied,
)
from durable.core.events import Event, SessionRestored, log_event
from durable.core.frozen_record import FrozenRecord
from durable.engine.engine import Engine
from durable.executions.states import OPEN
from durable.integrations.jupyter.notebook_name import is_set_aside, set_aside_name
from durable.records.result import Result
from durable.records.values import to_json
from durable.sessions.execution.cell import CellParam
from durable.sessions.output.follow import LiveReader
from durable.sessions.output.live_output import OutputEvent, Rewound
from durable.sessions.session import Session, unrecorded_result
from durable.store.changes import Changes, StoreChange
from durable.store.output_reader import OutputReader
from durable.store.rows import ExecutionRow, PromiseRow

SET_ASIDE_KEPT = 3
"""Restarts that can be undone; what is older is forgotten."""

PARKED_S = 3_600.0
"""A worker whose code waits for an answer is kept so long: its widgets live as long as it."""

HISTORY_ROWS_MAX = 1_000
"""Cells that are looked through for a front end's history."""


class CellValue(FrozenRecord, frozen=True):
    """The text of the value that a cell's code ended with, before that is recorded; empty where it has none."""

    text: str


class NotebookSession:
    """One notebook's session on an open engine."""

    def __init__(self, engine: Engine, session: Session, beside: OutputReader) -> None:
        self.engine = engine
        self.session = session
        self.beside = beside
        self._printed = Changes()
        own, store = ids.session_output(self.name), engine.store

        def look(change: StoreChange) -> None:
            if change.foreign or own in change.output or store.local is None:
                self._printed.tell()

        store.watch(look)

    @classmethod
    async def open(
        cls,
        store: str,
        name: str,
        *,
        profile: Any = None,
        observer: Callable[[Event], None] = log_event,
    ) -> NotebookSession:
        """Open the store and the session. StoreError and its kin, Conflict, Unenforceable."""
        engine = Engine(store, parked=PARKED_S, observer=observer)
        if profile != "isolated":
            engine.start_worker()
        try:
            await engine.open()
            session = await engine.session(name, profile=profile)
            if session.language != "python":
                raise Conflict(f"session {name!r} speaks {session.language}; a notebook's cells are Python")
            found = cls(engine, session, OutputReader(ids.session_output(name)))
            await found._skip_beside()
        except BaseException:
            await engine.close()
            raise
        return found

    async def _skip_beside(self) -> None:
        reads = self.engine.store.reads
        await self.beside.begin(reads)
        async for _ in self.beside.look(reads):
            pass

    @property
    def name(self) -> str:
        """The session's."""
        return self.session.name

    async def restored(self) -> bool:
        """Start its worker, with what the session had; False where another kernel has it."""
        try:
            await self.ask("count", {})
        except Conflict:
            return False
        return True

    async def ask(self, what: Any, arguments: dict[str, Any], *, waits: bool = False) -> Any:
        """The worker's answer for a front end; None while code runs, unless this `waits`. Conflict: another has it."""
        live = await self.engine.live(self.name)
        live.between.attached = True
        reply = await live.between.front_end(FrontEnd(what=what, arguments=arguments), waits=waits)
        if reply is None:
            return None
        if reply.problem:
            raise BadArguments(reply.problem)
        return reply.value

    async def interrupt_callbacks(self) -> bool:
        """Interrupt what runs for a message of a widget; False when nothing does."""
        try:
            return (await self.engine.live(self.name)).between.interrupt_callbacks()
        except DurableError:
            return False

    async def give_up_saving(self) -> None:
        """Let a cell end whose variables wait for room on a full disk: it is not saved."""
        try:
            (await self.engine.live(self.name)).between.give_up_saving()
        except DurableError:
            pass  # another kernel has it

    async def submit(self, code: str) -> str:
        """Record a cell as the session's next execution, which begins at once where nothing is before it; its id.

        Whoever sent it learns of it by its outcome: of the two commits the second one's sync serves for both, or one
        that follows shortly (store.md, W4).
        """
        to_json(code, "the code")
        cell = CellParam(code=code, session=self.name)
        request: dict[str, Any] = {"promise": cell.promise(self.engine.cell_target(), TIME_MAX_MS)}
        if self.engine.store.local is not None:
            request["sync_later"] = True
        return ids.execution_of((await self.engine.submit(self.name, request))["id"])

    async def run_unrecorded(self, code: str) -> Result:
        """Run code that a front end wants for itself: no record, no checkpoint, no number."""
        to_json(code, "the code")
        live = await self.engine.live(self.name)
        found = live.unrecorded(code, {})
        found.history = False
        return unrecorded_result(found, await live.execute(found))

    async def follow(
        self, execution: str, *, fresh: bool = False
    ) -> AsyncIterator[OutputEvent | Rewound | CellValue | PromiseRow | StoreError | None]:
        """A cell's output as it comes, None where nothing more is there for now; its settled promise last. Halted.

        Before that its value, where its code runs here.

        fresh: it was recorded just now.

        An error, again and again, while the store takes nothing: the cell goes on when it does.
        """

        def end() -> asyncio.Future[PromiseRow]:
            promise = ids.execution_promise(execution)
            return asyncio.ensure_future(self.engine.store.settled(promise, halts=True, patient=False, fresh=fresh))

        settled, valued = end(), False
        reader = LiveReader(self.engine, execution, fresh=fresh)
        try:
            while True:
                news, done = reader.news(), settled.done()
                async for event in reader.look():
                    valued = valued and not isinstance(event, Rewound)
                    yield event
                yield None
                if not valued and (value := reader.value) is not None:
                    valued = True
                    await asyncio.sleep(
                        0
                    )  # the cell's end, where it came with the value, is posted before that is told
                    yield CellValue(value)
                if done:
                    try:
                        yield settled.result()
                        return
                    except (StoreFull, StoreUnreachable) as error:
                        yield error
                        settled = end()
                await asyncio.wait({settled, *news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()

    def may_have_printed(self) -> asyncio.Future[None]:
        """Done when there may be more for `printed_beside`: ask before that."""
        return self._printed.next()

    async def printed_beside(self) -> AsyncIterator[OutputEvent]:
        """The output that came while no cell ran, since this was asked last."""
        async for page in self.beside.look(self.engine.store.reads):
            for chunk in page.chunks:
                yield OutputEvent(chunk.stream, chunk.text, chunk.offset, chunk.dropped, chunk.end)

    async def cells(self, limit: int = HISTORY_ROWS_MAX) -> list[ExecutionRow]:
        """The newest cells, oldest first."""
        rows = await self.engine.store.reads.list_executions(session=self.name, limit=limit)
        return sorted(rows, key=lambda row: row.n or 0)

    async def unfinished(self) -> list[ExecutionRow]:
        """Cells that have not ended, oldest first."""
        return [row for row in await self.cells() if row.state in OPEN]

    async def owner_pid(self) -> int | None:
        """The process of the engine that has the session, where that is another one."""
        row = (await self.engine.store.request("session.get", {"session": self.name})).data
        owner = row.get("owner")
        engines = {one.engine: one.pid for one in await self.engine.store.reads.engines()}
        if owner is None or owner == self.engine.engine_id or not self.engine.store.engine_alive(owner):
            return None
        return engines.get(owner)

    # -- restart, undo ------------------------------------------------------------------------------------------

    async def set_aside(self) -> str | None:
        """Make the session empty; returns the name of the session that has what it had, None where it had nothing."""
        rows = [row for row in await self.engine.store.reads.sessions() if not row.closed]
        saved = None
        if await self.session.checkpoints():
            saved = set_aside_name(self.name, {row.name for row in rows})
            await self.engine.fork(self.name, saved)
            await self.engine.host.let_go(saved)
        await self._anew()
        old = sorted((row for row in rows if is_set_aside(row.name, self.name)), key=lambda row: row.created_at)
        for row in old[: max(0, len(old) + 1 - SET_ASIDE_KEPT)]:
            await Session(self.engine, row.name, ()).close()
        return saved

    async def _anew(self) -> None:
        options = (await self.engine.store.request("session.get", {"session": self.name})).data.get("options") or {}
        await self.session.close()
        await self.engine.store.request("session.open", {"session": self.name, "engine": None, "options": options})

    async def undo(self) -> str:
        """Bring back what the session had before the last restart, and set aside what it has; the name it came from."""
        rows = [row for row in await self.engine.store.reads.sessions() if not row.closed]
        aside = sorted((row for row in rows if is_set_aside(row.name, self.name)), key=lambda row: row.created_at)
        if not aside:
            raise NotFound("restart", self.name, "only what a restart set aside can be brought back")
        await self.take_from(aside[-1].name)
        await Session(self.engine, aside[-1].name, ()).close()
        return aside[-1].name

    async def take_from(self, other: str) -> None:
        """Let the session have what another one has; what it had is set aside."""
        if all(row.name != other or row.closed for row in await self.engine.store.reads.sessions()):
            raise NotFound("session", other, "`durable session list` has them all")
        await self.set_aside()
        await self.session.close()
        await self.engine.fork(other, self.name)

    async def close(self, *, forget: bool) -> None:
        """End the worker and close the engine; `forget` the session too."""
        if forget:
            await self.session.close()
        await self.engine.close()


def default_store(directory: Path) -> str:
    """Where the commands of that directory look, too."""
    return os.environ.get("DURABLE_STORE") or str(directory / ".durable" / "state.db")


def is_restore(event: Event, session: str) -> bool:
    """Whether it tells of this session's restore."""
    return isinstance(event, SessionRestored) and event.session == session


__all__ = ["NotebookSession", "WorkerDied", "default_store", "is_restore"]
