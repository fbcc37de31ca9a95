"""The worker of a session: started and restored when there is none, ended as a crash would end it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from bridge.confine.confinement import Confinement
from bridge.host.worker_session import WorkerSession
from bridge.host.worker_watch import Pulse
from bridge.protocol.messages import Call, CallResult, Checkpoint, Output, Waiting
from bridge.protocol.output_rules import OutputRules
from durable.core.background import beside
from durable.core.errors import EngineClosed
from durable.core.events import BackgroundFailed, SessionRestored
from durable.records.result import RestoreReport
from durable.sessions.checkpoints.checkpoint_writer import Saved
from durable.sessions.language import Language
from durable.sessions.ownership.javascript_image import NAME
from durable.sessions.ownership.session_confinement import launcher_of
from durable.sessions.ownership.states import Ownership
from durable.sessions.services import House

STATE = "process state"
"""The kind of what is lost of the process itself."""


class SessionWorker:
    """At most one process at a time, with the session's newest namespace in it (O6)."""

    def __init__(
        self,
        name: str,
        epoch: int,
        house: House,
        confinement: Confinement,
        rules: OutputRules,
        saved: Saved,
        ownership: Ownership,
        *,
        on_call: Callable[[Call], Awaitable[CallResult | None]],
        on_checkpoint: Callable[[Checkpoint], Awaitable[None]],
        on_output: Callable[[Output], None],
        on_waiting: Callable[[Waiting], None],
        functions: Callable[[], Awaitable[list[str | dict[str, Any]]]],
        language: Language = "python",
    ) -> None:
        self.current: WorkerSession | None = None
        """The one that runs, or ran last and was not lost or ended."""
        self.pulse: Pulse | None = None
        """That of the newest one."""
        self.lost_state: list[str] = []
        """The state of the process that the restore of the newest worker could not bring back, as sentences."""
        self._name = name
        self._epoch = epoch
        self._house = house
        self._confinement = confinement
        self._rules = rules
        self._saved = saved
        self._ownership = ownership
        self._on_call = on_call
        self._on_checkpoint = on_checkpoint
        self._on_output = on_output
        self._on_waiting = on_waiting
        self._functions = functions
        self._language = language

    async def ready(self) -> WorkerSession:
        """The worker, started and restored when there is none. EngineClosed, WorkerDied, CheckpointError."""
        if self.current is not None and not self.current.ended.is_set():
            return self.current
        if not self._ownership.starts_workers:
            raise EngineClosed(f"session {self._name!r} was closed")
        worker = WorkerSession(
            self._name,
            on_call=self._on_call,
            on_checkpoint=self._on_checkpoint,
            on_chunks=self._saved.arrivals.take,
            on_output=self._on_output,
            on_waiting=self._on_waiting,
            observer=self._house.observer,
            confinement=self._confinement,
            output=self._rules,
            launcher=launcher_of(self._confinement, self._house.launcher),
        )
        worker.capabilities = await self._functions()
        await worker.start()
        try:
            if self._language == "javascript":
                await self._lend(worker)
            await self._restored(worker)
        except BaseException:
            worker.kill()
            await worker.wait_ended()
            raise
        self.current = worker
        self.pulse = Pulse(worker, self._house.observer)
        beside(self.pulse.run())
        return worker

    async def _lend(self, worker: WorkerSession) -> None:
        """Lend the worker what it would otherwise have to compile by itself."""
        file = await self._house.images.get(sparing=self._confinement.limits.memory is not None)
        problem = "" if file is None else await worker.lend(NAME, file)
        if problem:
            self._house.observer(BackgroundFailed(f"lending to session {self._name}", problem))

    async def _restored(self, worker: WorkerSession) -> None:
        recorded = {"session": self._name, "epoch": self._epoch, "pid": worker.pid, "start": worker.start_time}
        await self._house.store.request("session.worker", recorded)
        self.lost_state = []
        payload = await self._saved.payload()
        if payload is None:
            return
        began, override = monotonic(), self._house.keeping.override_environment
        report = RestoreReport.read((await worker.restore(payload, override_environment=override)).report)
        lost = tuple(item.name for item in report.lost)
        reasons = tuple(item.reason for item in report.lost)
        state = [item for item in report.lost if item.kind == STATE]
        self.lost_state = [f"lost process state: {item.name}: {item.reason}" for item in state]
        checkpoint = str(self._saved.latest_id)
        took_ms = (monotonic() - began) * 1000
        restored = len(report.restored)
        self._house.observer(
            SessionRestored(self._name, checkpoint, restored, lost, reasons, report.rebuilt, took_ms=took_ms)
        )

    def lost(self) -> None:
        """Forget the worker, which died: the next one is another."""
        self.current = self.pulse = None

    def kill(self) -> None:
        """End it as a crash would; whatever uses it hears of that."""
        if self.current is not None:
            self.current.kill()

    async def end(self) -> None:
        """Kill it, and return when its process has ended."""
        worker, self.current, self.pulse = self.current, None, None
        if worker is not None:
            worker.kill()
            await worker.wait_ended()
