"""The sessions of one engine: taking one over, running its cells, giving all back at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.protocol.output_rules import OutputRules
from durable.core.background import beside
from durable.core.definition_id import capability_id
from durable.core.errors import (
    BadArguments,
    Conflict,
    DurableError,
    EngineClosed,
    NotFound,
    NotServed,
    PoolExhausted,
    StoreRefused,
)
from durable.functions.failures import Rejection
from durable.functions.resonate import sdk
from durable.functions.resonate.sdk import PassTask, PlatformError
from durable.records.result import Texts
from durable.sessions.execution.cell import CellDone, CellHalted, CellParam, CellWaits, Died, Failed, Gone, Pass
from durable.sessions.execution.runner import LiveSession
from durable.sessions.output.live_output import Recent
from durable.sessions.ownership.admission import Entrance
from durable.sessions.ownership.eviction import Giving
from durable.sessions.ownership.lost_check import Looking
from durable.sessions.ownership.session_confinement import confinement_of
from durable.sessions.ownership.states import OwnerEvent, OwnerState
from durable.sessions.ownership.takeover import take_over
from durable.sessions.required_capabilities import not_known, own_capabilities
from durable.sessions.services import House


class SessionHost:
    """Owns sessions for one engine. `durable_execute` is the function that every cell's promise names."""

    def __init__(self, house: House) -> None:
        self._house = house
        house.forget = self._part
        self._live: dict[str, LiveSession] = {}
        self._looking = Looking(house.store, lambda: self._live, self._lost)
        self._entrance = Entrance()
        self._giving = Giving(house.launcher, lambda: [*self._live.values()], house.observer)
        house.rested = house.launcher.on_waiting = self._giving.soon
        self.epochs = house.epochs
        """The epoch under which each cell that runs here is run."""
        self._opening: dict[str, asyncio.Lock] = {}
        self.refused: dict[str, str] = {}
        """Sessions whose code may call what this engine does not know, and what that is."""
        self.fresh: set[str] = set()
        """Cells whose tasks were acquired in the commit that saw this engine own their session."""

    async def durable_execute(self, task: PassTask, args: list[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """One leaf of a cell: run it until its outcome or a wait. Holds nothing while the code waits."""
        promise_id = task.id
        (request,) = msgspec.convert(args, tuple[CellParam])
        leave: Callable[[], None] = _nowhere
        try:
            if request.session not in self._live:
                leave = await self._entrance.enter()
            session = await self.live(request.session)
            if promise_id in self.fresh:
                self.fresh.discard(promise_id)
            elif not await session.current_epoch():
                await self.forget(request.session)
                session = await self.live(request.session)
            try:
                turn = await session.run(promise_id, request, first=task.first, begun=leave)
            except EngineClosed:
                if session.ownership.state is not OwnerState.FORGOTTEN:
                    raise
                session = await self.live(request.session)  # the answer came as it was being forgotten
                turn = await session.run(promise_id, request, first=task.first, begun=leave)
        except (BadArguments, NotServed, EngineClosed, StoreRefused) as refused:
            # Not this engine's to run: it does not know a capability, another owner is alive, or it ends.
            raise PlatformError([sdk.HandedBack(str(refused))]) from None
        except DurableError as failed:
            raise PlatformError([sdk.ResonateError(str(failed))]) from None
        except Exception as failed:
            raise PlatformError([sdk.internal(f"take up session {request.session!r}", failed)]) from failed
        finally:
            leave()
        match turn:
            case CellDone(value):
                return value
            case Failed(document):
                raise Rejection(json.dumps(document))
            case CellWaits(promises):
                task.waits = list(promises)
                raise sdk.Suspended
            case Gone():
                raise PlatformError([sdk.ResonateError("settled by somebody else")])
            case Died(error):
                raise PlatformError([sdk.ResonateError(str(error))])
            case CellHalted(error):
                if isinstance(error, StoreRefused):
                    self._live.pop(request.session, None)
                    raise PlatformError([sdk.ResonateError(str(error))])
                if isinstance(error, PoolExhausted):
                    raise PlatformError([sdk.HandedBack(str(error))])
                raise PlatformError([sdk.HaltTask(error)])

    def let_pass(self, promise_id: str) -> None:
        """An attempt at a cell is over: nothing more of it is settled here."""
        self.epochs.pop(promise_id, None)
        self.fresh.discard(promise_id)

    async def live(self, name: str) -> LiveSession:
        """The session, owned by this engine: taken over when its owner is gone. StoreRefused 409 when it is not."""
        found = self._live.get(name)
        if found is not None and found.ownership.state is OwnerState.LOST:
            await self.forget(name)
            found = None
        if found is not None:
            return found
        async with self._opening.setdefault(name, asyncio.Lock()):
            found = self._live.get(name)
            if found is None:
                found = self._live[name] = await self._take(name)
        self._opening.pop(name, None)
        return found

    async def owned(self, name: str) -> LiveSession:
        """`live` for callers outside; Conflict says that another engine has it."""
        try:
            return await self.live(name)
        except StoreRefused as error:
            if error.status != 409:
                raise
            raise Conflict(f"session {name!r} belongs to another engine that is alive: {error.message}") from None

    async def _take(self, name: str) -> LiveSession:
        store, engine = self._house.store, self._house.engine_id
        row = (await store.request("session.get", {"session": name})).data
        options = row.get("options") or {}
        try:
            self.know(name, options)
        except NotServed as unknown:
            self.refused[name] = str(unknown)
            raise
        self.refused.pop(name, None)
        granted = self._house.capabilities.check(options.get("grants") or ())
        if "permissions" not in options:
            options = {**options, "grants": list(granted)}  # `input` among them, also where only its name is recorded
        confinement = confinement_of(store, name, options)
        epoch = await take_over(store, name, engine)
        rules = OutputRules.read(options.get("output") or {})
        return LiveSession(name, epoch, options, self._house, confinement, rules)

    def know(self, name: str, options: dict[str, Any]) -> None:
        """Learn what the session's code may call, and tell the store of what had to be looked for. NotServed."""
        needed = own_capabilities(options)
        learned = self._house.capabilities.learn(needed)
        if learned:
            served = {"engine": self._house.engine_id, "functions": [capability_id(each) for each in learned]}
            self._house.store.post("engine.serve", served)
        missing = self._house.capabilities.unknown(needed)
        if missing:
            raise not_known(name, missing)

    def printed(self, execution_id: str) -> Texts | None:
        """The stored output of an execution, when the whole of it ran here just now."""
        found = self._pass_of(execution_id)
        return found.printed() if found is not None and found.whole else None

    async def stopped(self, execution_id: str) -> Pass | None:
        """The pass of an execution that was stopped here just now, when its code has come to its end."""
        for session in self._live.values():
            found = session.current
            if found is not None and found.execution_id == execution_id:
                await session.stopped(found)
                return found
        return None

    def recent(self, execution_id: str) -> tuple[Recent | None, bool]:
        """The newest output of an execution that runs here, or came to its end here just now; and whether all that it
        prints comes here. Not so where the session was lost: another engine may run it once more."""
        found = self._pass_of(execution_id)
        if found is None or not found.lives:
            return None, False
        live = self._live.get(found.cell.session)
        return found.recent, found.open or (live is not None and not live.ownership.lost)

    def begun(self) -> asyncio.Future[None]:
        """Done when the next pass of a cell begins here."""
        return self._house.begun.next()

    def _pass_of(self, execution_id: str) -> Pass | None:
        passes = (session.current for session in self._live.values())
        return next((one for one in passes if one is not None and one.execution_id == execution_id), None)

    async def forget(self, name: str) -> None:
        """Drop what this engine remembers of a session: what is in the store counts again."""
        found = self._live.pop(name, None)
        if found is not None:
            await found.close()

    async def skip_checkpoint(self, checkpoint: int) -> None:
        """Forget a checkpoint that is refused, so that its session goes on from the one before. NotFound, Conflict."""
        try:
            session = (await self._house.store.request("checkpoint.drop", {"checkpoint": checkpoint})).data["session"]
        except StoreRefused as error:
            if error.status == 404:
                raise NotFound("checkpoint", str(checkpoint)) from None
            raise Conflict(error.message) from None
        await self.forget(session)

    async def _lost(self, session: LiveSession) -> None:
        """Drop a session that was closed, or is another engine's: nothing that is done with it here counts."""
        session.ownership.go(OwnerEvent.LOSE)
        if self._live.get(session.name) is session:
            await self.forget(session.name)

    def _part(self, name: str) -> None:
        """Its code waits, its worker is gone: hold nothing of it. It stays this engine's."""
        found = self._live.pop(name, None)
        if found is not None:
            beside(found.close())

    async def let_go(self, name: str) -> None:
        """End the session's worker and give up its ownership."""
        found = self._live.pop(name, None)
        if found is not None:
            await found.close()
            await self._house.store.request("session.give", {"session": name, "epoch": found.epoch})

    def here(self, name: str) -> bool:
        """Whether this engine has the session."""
        return name in self._live

    async def interrupted(self, name: str, promise_id: str) -> None:
        """The task of this cell was halted: stop its code, if it runs here."""
        found = self._live.get(name)
        if found is not None:
            await found.interrupt(promise_id)

    def look(self) -> None:
        """Something changed elsewhere: look whether cells that run here were halted, or sessions taken or closed."""
        self._looking.soon()

    def end_workers(self) -> None:
        """Kill every worker: others may own their sessions now. What is still ours is restored when it goes on."""
        for session in self._live.values():
            session.kill_worker()

    def forget_all(self) -> None:
        """Drop what this engine remembers of its sessions: what is in the store counts again."""
        sessions, self._live = list(self._live.values()), {}
        for session in sessions:
            beside(session.close())

    async def close(self) -> None:
        """End every worker, as a crash would."""
        self._looking.close()
        self._entrance.close()
        self._giving.close()
        sessions, self._live = list(self._live.values()), {}
        await asyncio.gather(*(session.close() for session in sessions))
        await self._house.performing.cancel()
        self._house.audit.flush()


def _nowhere() -> None:
    """Do nothing for a session that is here already and did not enter."""
