"""A cell as an execution: what travels in its promise, its pass through a worker, and how that pass ends.

The states of a pass are in `states.py`, and in specs/session.md.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Literal

import msgspec

from bridge.protocol.messages import Error
from durable.core import ids
from durable.core.definition_id import CELL
from durable.core.errors import DurableError
from durable.core.frozen_record import FrozenRecord
from durable.functions.replay.matching import Journal
from durable.records.result import Texts
from durable.records.stored_output import CopyRow, StoredCopy, place
from durable.records.values import digest, pack
from durable.sessions.execution.states import ABANDONED, LIVING, OPEN, CellPassEvent, CellPassState, step
from durable.sessions.output.live_output import Recent
from durable.sessions.output.session_output import Earlier
from durable.store.protocol.requests import Record

FUNCTION = "durable_execute"
FUNCTION_ID = CELL


KEPT_CHARS_MAX = 2**20
"""Output of a running cell that is also kept in memory; more is in the store only."""


type Transaction = Literal["commit_always", "rollback_on_failure", "rollback_always"]


class CellParam(msgspec.Struct, frozen=True, kw_only=True):
    """The param of a cell's promise: what to run, in which session, under which rules."""

    code: str
    session: str
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    checkpoint: Literal["auto", "statement"] = "auto"
    transaction: Transaction = "commit_always"
    every_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        if self.every_s is None:
            del found["every_s"]  # a cell's arguments are compared: those of before it was there stay the same
        return found

    def promise(self, target: str, timeout_at: int, nonce: str = "") -> Record:
        """The promise of this cell, as the next execution of its session. nonce: tells it from others with its code."""
        arguments = self.to_json()
        return {
            "timeoutAt": timeout_at,
            "param": {"data": pack({"func": FUNCTION, "args": [arguments], "kwargs": {}, "version": 1})},
            "tags": {
                "resonate:scope": "global",
                "resonate:target": target,
                "resonate:origin": ids.ORIGIN,
                "durable:arguments": digest(arguments),
                **cell_tags(self.session, nonce),
            },
        }


def cell_tags(session: str, nonce: str = "") -> dict[str, str]:
    """The tags of a promise that make it one of a cell of this session."""
    return {"durable:session": session, "durable:function": FUNCTION_ID, "durable:nonce": nonce or uuid.uuid4().hex}


class CellDone(FrozenRecord, frozen=True):
    """The code ended; `value` is what the promise is resolved with."""

    value: dict[str, Any]


class Failed(FrozenRecord, frozen=True):
    """The code raised, or was given up; `document` is the error document the promise is rejected with."""

    document: dict[str, Any]


class CellWaits(FrozenRecord, frozen=True):
    """The code waits for these promises."""

    promises: tuple[str, ...]


class CellHalted(FrozenRecord, frozen=True):
    """The pass cannot go on, and nothing is settled: the task is halted with this error as its note."""

    error: DurableError


class Gone(FrozenRecord, frozen=True):
    """Somebody else settled the promise or halted its task (cancel, deadline, interrupt): nothing is left to do."""


class Died(FrozenRecord, frozen=True):
    """The worker ended by itself: the attempt is over, the store counts it and decides whether there is another."""

    error: DurableError


type Outcome = CellDone | Failed | CellHalted | Gone | Died
type Turn = Outcome | CellWaits


class Pass(msgspec.Struct, eq=False):
    """One pass of a cell through a worker: what it printed, which calls are open, what the leaf is to be told."""

    promise_id: str
    cell: CellParam
    journal: Journal
    copy: StoredCopy
    open_calls: dict[int, str] = msgspec.field(default_factory=dict)
    kept_max: int = KEPT_CHARS_MAX
    rows: list[CopyRow] = msgspec.field(default_factory=list)
    recent: Recent = msgspec.field(default_factory=Recent)
    whole: bool = True
    state: CellPassState = CellPassState.RUNNING
    earlier: str = ""
    """Text that threads and tasks printed before it, since the execution before."""
    failures: list[str] = msgspec.field(default_factory=list)
    """Threads and tasks that ended with an error since then."""
    not_saved: str = ""
    """Why the namespace could not be captured at its end."""
    end: Error | None = None
    """How its code ended, where it was stopped."""
    outcome: Outcome | None = None
    """What it came to; None while it is open, and where it was let go."""
    begun_at: tuple[bool, int, int, int] = (False, 0, 0, 0)
    """How far the code was where this pass began (`Position.reached`): a checkpoint beyond it is progress."""
    history: bool = True
    """Whether unjournaled code is a cell of `In` and `Out`, with a number."""
    traceparent: str = ""
    """The trace context that its code is run in, where somebody traces."""
    execution_id: str = ""
    _turn: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.execution_id = self.promise_id.removeprefix("exec:")

    def keep(self, rows: list[CopyRow]) -> None:
        """Keep what is stored of the output for a result that is read here; much is read from the store instead."""
        if self.whole:
            for row in rows:
                place(self.rows, row)
            if self.copy.kept > self.kept_max:
                self.whole = False
                self.rows.clear()

    def begin_after(self, earlier: Earlier) -> None:
        """Begin: what happened since the execution before is told with its outcome."""
        self.earlier, self.failures = earlier.text, list(earlier.failures)

    def printed(self) -> Texts:
        """The stored output, when `whole`."""
        return Texts.of(self.rows)

    @property
    def open(self) -> bool:
        """Whether it still comes to something."""
        return self.state in OPEN

    @property
    def lives(self) -> bool:
        """Whether a leaf can attach to this pass: it is open, or has its code's outcome."""
        return self.state in LIVING

    @property
    def runs(self) -> bool:
        """Whether its code runs, or is about to."""
        return self.state is CellPassState.RUNNING

    @property
    def waits(self) -> bool:
        """Whether its code can do nothing until one of its calls is answered."""
        return self.state in (CellPassState.WAITING, CellPassState.PARKED)

    @property
    def parked(self) -> bool:
        """Whether its code waits, and its leaf has gone: somebody's answer brings the next one."""
        return self.state is CellPassState.PARKED

    @property
    def worker_ends(self) -> bool:
        """Whether its worker ends with it, whose namespace may be past what is recorded."""
        return self.state in (CellPassState.INTERRUPTED, CellPassState.LET_GO)

    def takes_checkpoint(self, *, final: bool) -> bool:
        """Whether a checkpoint of its code counts. Of one that is stopped, that at its end does."""
        return self.state not in ABANDONED or (self.state is CellPassState.STOPPED and final)

    def finish(self, outcome: CellDone | Failed | CellHalted | Died) -> None:
        """End with this; only the first outcome counts."""
        if self.open and isinstance(outcome, CellDone):
            self.recent.end(str(outcome.value.get("repr") or ""))
        self._end(_EVENT_OF[type(outcome)], outcome)

    def stop(self) -> None:
        """End: somebody else has settled the promise, and the code is being stopped."""
        self._end(CellPassEvent.STOP, Gone())

    def interrupt(self) -> None:
        """End: somebody has halted the task, whose code runs."""
        self._end(CellPassEvent.INTERRUPT, Gone())

    def close(self) -> None:
        """End with the session."""
        self._end(CellPassEvent.CLOSE, Gone())

    def _end(self, event: CellPassEvent, outcome: Outcome) -> None:
        if self.open:
            self.outcome = outcome
        self._go(event)

    def wait(self) -> None:
        """The code can do nothing until one of its open calls is answered."""
        self._go(CellPassEvent.WAIT)

    def park(self) -> None:
        """The leaf goes: somebody's answer brings the next one."""
        self._go(CellPassEvent.PARK)

    def go_on(self) -> None:
        """A call was answered: the code runs again."""
        self._go(CellPassEvent.ANSWER)

    def let_go(self) -> None:
        """The worker is gone for good as far as this pass is concerned."""
        self._go(CellPassEvent.LET_GO)

    def _go(self, event: CellPassEvent) -> None:
        self.state = step(self.state, event)
        if self.state is CellPassState.RUNNING:
            self._turn.clear()
        else:
            self._turn.set()

    async def turn(self) -> Turn | None:
        """The next thing the leaf has to act on; None when the pass was let go."""
        await self._turn.wait()
        if self.state is CellPassState.LET_GO:
            return None
        return self.outcome or CellWaits(tuple(dict.fromkeys(self.open_calls.values())))


_EVENT_OF: dict[type[Outcome], CellPassEvent] = {
    CellDone: CellPassEvent.END,
    Failed: CellPassEvent.END,
    CellHalted: CellPassEvent.HALT,
    Died: CellPassEvent.DIE,
}
