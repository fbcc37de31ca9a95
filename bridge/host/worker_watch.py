"""Looks at a worker as long as it lives (specs/session.md, Vitals)."""

from __future__ import annotations

import asyncio
from time import monotonic

from bridge.host.proc_vitals import STOPPED, TRACED, Vitals, cpu_seconds, memory_now, why_stuck
from bridge.host.worker_session import WorkerSession
from bridge.protocol.states import WorkerState
from durable.core.errors import DurableError
from durable.core.events import Observer, WorkerBeat, WorkerStuck

HALF_S_MAX = 60.0
"""A worker that uses no CPU time ends the messages that it began before this. What it sends later would be taken for
the rest of one, its own result too, and whoever waits for that would wait for ever."""

BEAT_S = 5.0
"""Seconds between two looks at a worker (requirement P35)."""

IDLE_PERCENT = 1.0
PAUSED = (STOPPED, TRACED)

ASK_S = 0.5
"""Seconds for a worker whose code does not run to say whether something else does; it takes less than a millisecond."""


class Pulse:
    """Looks at a worker every `BEAT_S` until it ends, and says so: a `WorkerBeat` each time, `WorkerStuck` once for
    each reason that held at two looks in a row without any CPU time used in between.
    """

    def __init__(self, worker: WorkerSession, observer: Observer, beat_s: float = BEAT_S) -> None:
        self._worker = worker
        self._observer = observer
        self._beat_s = beat_s
        self._cpu = cpu_seconds(worker.pid) or 0.0
        self._looked_at = self._used_at = monotonic()
        self._names: int | None = None
        self._background = 0
        self._asking: asyncio.Task[None] | None = None
        self._suspected = self._named = ""
        self._half_at = 0.0
        self._half_beats = 0

    async def run(self) -> None:
        """Look at the worker until it has ended."""
        while not self._worker.ended.is_set():
            try:
                async with asyncio.timeout(self._beat_s):
                    await self._worker.ended.wait()
            except TimeoutError:
                self._beat()
        if self._asking is not None:
            await asyncio.wait([self._asking])

    def look(self) -> Vitals | None:
        """The worker's vitals now; None when it has ended."""
        now, pid = monotonic(), self._worker.pid
        cpu, memory = cpu_seconds(pid), memory_now(pid)
        if cpu is None or memory is None:
            return None
        used, passed = cpu - self._cpu, max(now - self._looked_at, 1e-3)
        if used > 0:
            self._used_at = now
        self._cpu, self._looked_at = cpu, now
        stuck = why_stuck(pid)
        return Vitals(pid, memory, round(100 * used / passed, 1), self._names, round(now - self._used_at, 3), stuck)

    def _beat(self) -> None:
        found = self.look()
        if found is None:
            return
        if found.cpu > 0 or found.stuck != self._suspected:
            self._named = ""
        elif found.stuck and found.stuck != self._named:
            self._named = found.stuck
            self._observer(WorkerStuck(self._worker.name, found.pid, found.stuck))
        self._suspected = found.stuck
        self._half(found)
        self._observer(WorkerBeat(self._worker.name, found.pid, found.memory, found.cpu, found.names))
        if self._worker.state in (WorkerState.READY, WorkerState.IDLE, WorkerState.BUSY):
            self._asked()

    def _half(self, found: Vitals) -> None:
        """Beats are counted, not seconds: an engine that stood still has not looked."""
        half_at = self._worker.half_at
        waits = half_at > 0 and half_at == self._half_at and found.cpu < IDLE_PERCENT and found.stuck not in PAUSED
        self._half_at, self._half_beats = half_at, self._half_beats + 1 if waits else 0
        if self._half_beats * self._beat_s >= HALF_S_MAX:
            self._worker.give_up_half(HALF_S_MAX)

    async def background(self) -> int | None:
        """How much of the user's is alive in an idle worker; None when it does not answer. 0 when it has ended."""
        asked = self._asked()
        done, _ = await asyncio.wait([asked], timeout=ASK_S)
        return self._background if done else None

    def _asked(self) -> asyncio.Task[None]:
        """The open question to the worker, which answers when its code lets it read and is not asked again before."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return self._asking

    async def _ask(self) -> None:
        try:
            said = await self._worker.heartbeat()
            self._names, self._background = said.namespace_size, said.background
        except DurableError:
            self._background = 0  # it is ending, and everybody hears of that
        finally:
            self._asking = None
