"""One write transaction: the connection, the time, the memory of what the commit will mean, and who is at hand.

Everything that the rest of the world must learn of a commit (answers, pushed messages, woken waiters, peers to notify)
is collected in `Effects` and happens only after the commit; a rolled back transaction leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from durable.core.clock import TIME_MAX_MS
from durable.store.operations.execution_slots import Slots
from durable.store.operations.halted_waits import Halt
from durable.store.operations.leases import EngineLeases
from durable.store.protocol.requests import Record
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.records import Row


@dataclass(slots=True)
class MessageEnd:
    """A connection of this process that takes messages: an engine's, or a client's."""

    engine: str
    group: str
    address: str
    push: Callable[[str], None]
    slots: Slots | None = None
    """The room that its engine has for offers; None for one elsewhere, which is not counted."""

    def addresses(self) -> tuple[str, str, str]:
        """Every address whose messages this connection takes."""
        return (self.address, f"poll://any@{self.group}", f"poll://any@{self.group}/{self.engine}")


class EngineServes(NamedTuple):
    """The functions that an engine says it serves when it joins, and whether it serves sessions."""

    functions: frozenset[str]
    sessions: bool


@dataclass(slots=True)
class Effects:
    """The effects of a commit on others."""

    settled: dict[str, Record] = field(default_factory=dict)
    """External promises settled, by id."""
    internal: dict[str, Record] = field(default_factory=dict)
    """The others, by id: nobody but waiters of this process is told at once."""
    ready: list[str] = field(default_factory=list)
    """Tasks that became due."""
    unblocked: list[tuple[str, Record]] = field(default_factory=list)
    """Listeners' addresses and the promise each waited for."""
    pushes: list[tuple[MessageEnd, str]] = field(default_factory=list)
    """Messages for connections of this process."""
    output: set[str] = field(default_factory=set)
    """Executions that printed."""
    stopped: set[str] = field(default_factory=set)
    """Tasks that were suspended or halted."""
    halted: dict[str, str] = field(default_factory=dict)
    """The stopped tasks that were halted, and why."""
    cancelled: set[str] = field(default_factory=set)
    """Functions that are to end: they may clean up first."""
    halts: dict[str, Halt] = field(default_factory=dict)
    """Halts of promises that somebody waits for here, by the promises' ids; looked at after the commit."""
    prompts: set[str] = field(default_factory=set)
    """Questions that were asked."""
    sessions: set[str] = field(default_factory=set)
    """Sessions whose owner, worker or cells changed."""
    dead: list[tuple[str, int]] = field(default_factory=list)
    """Engines found dead, and how many tasks each held."""
    rescan: bool = False
    """Tasks that were not offered before may be now: an engine came or a session got free."""
    peers: bool = False
    """Other processes should look."""

    def changed(self) -> bool:
        """Whether watchers have anything to look at."""
        return bool(
            self.cancelled
            or self.settled
            or self.ready
            or self.dead
            or self.output
            or self.prompts
            or self.stopped
            or self.sessions
        )


class Tx:
    """A transaction in progress. Made anew for each try; used by the writer thread only."""

    __slots__ = (
        "connection",
        "debug",
        "effects",
        "ends",
        "leases",
        "liveness",
        "next_deadline",
        "now",
        "served",
        "taken",
    )

    def __init__(
        self,
        connection: sqlite3.Connection,
        now: int,
        ends: dict[str, MessageEnd],
        served: dict[str, EngineServes],
        liveness: Liveness,
        leases: EngineLeases,
        *,
        debug: bool = False,
    ) -> None:
        self.connection = connection
        self.now = now
        self.ends = ends
        self.liveness = liveness
        self.leases = leases
        self.served = served
        # The contract suite's model is the protocol's: it keeps deadlines, but gives up nothing and fires nothing.
        self.debug = debug
        self.effects = Effects()
        self.next_deadline = TIME_MAX_MS
        self.taken: list[Slots] = []
        """One for each offer, to be given back where nothing is committed."""

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run one statement; the connection caches its preparation by text."""
        return self.connection.execute(sql, parameters)

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> Row | None:
        """The first row, or None."""
        return self.connection.execute(sql, parameters).fetchone()  # type: ignore[no-any-return]

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """All rows, fetched: no cursor stays open over a write."""
        return self.connection.execute(sql, parameters).fetchall()

    def wake_at(self, time_ms: int) -> None:
        """The deadlines must be looked at then, at the latest."""
        if time_ms < self.next_deadline:
            self.next_deadline = time_ms
