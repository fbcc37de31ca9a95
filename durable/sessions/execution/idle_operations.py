"""The operations on a session between its executions: namespace read and changed, checkpoints made on demand."""

from __future__ import annotations

import asyncio

from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import FrontEnd, FrontEndReply, Namespace, NamespaceReply
from durable.records.result import RestoreReport
from durable.sessions.checkpoints.checkpoint_writer import Saved
from durable.sessions.checkpoints.recompute import Recomputation
from durable.sessions.checkpoints.retention import Retention
from durable.sessions.checkpoints.states import NamespaceEvent, NamespaceState, step
from durable.sessions.execution.position import ExecutionPosition
from durable.sessions.ownership.session_worker import SessionWorker

COMPLETE_S = 1.0
"""For the user's own `__dir__` and `__getattr__`; then SIGINT."""

FRONT_END_S = 5.0
"""For what a front end asks while somebody types: Jedi is imported and reads libraries the first time. Then SIGINT."""

FRONT_END_AGAIN_S = 1.0
"""Between one SIGINT and the next: the first may have ended Jedi only, and what is tried instead may hang too."""


class Between:
    """Operations that wait for their turn, start a worker where there is none, and raise what that raises."""

    def __init__(
        self, busy: asyncio.Lock, worker: SessionWorker, saved: Saved, keeping: Retention, recomputation: Recomputation
    ) -> None:
        self.state = NamespaceState.SAVED
        self._busy = busy
        self._worker = worker
        self._saved = saved
        self._keeping = keeping
        self._recomputation = recomputation
        self.attached = False
        """Whether a notebook is open on it: what no checkpoint knows of, such as widgets, is to live on."""
        self._asking: WorkerSession | None = None
        """The worker that runs something for a front end."""

    def ran(self) -> None:
        """Unjournaled code runs, or what a cell left could not be captured."""
        self.state = step(self.state, NamespaceEvent.RUN)

    def saved(self) -> None:
        """The newest checkpoint has the namespace, but for what none can have."""
        self.state = step(self.state, NamespaceEvent.SAVE_PARTLY if self._saved.lost else NamespaceEvent.SAVE)

    async def namespace(self, request: Namespace) -> NamespaceReply:
        """Read or change it; what was changed is saved before this returns."""
        async with self._busy:
            worker = await self._worker.ready()
            reply = await worker.namespace(request)
            if request.action in ("update", "clear") and not reply.problem:
                await self._capture(None)
            return reply

    async def complete(self, text: str) -> list[str]:
        """The names that could stand for a dotted name in the live namespace; none while code runs or waits there."""
        if self._busy.locked():
            return []
        async with self._busy:
            worker = await self._worker.ready()
            late = asyncio.get_running_loop().call_later(COMPLETE_S, worker.interrupt)
            try:
                return await worker.complete(text)
            finally:
                late.cancel()

    async def front_end(self, request: FrontEnd, *, waits: bool) -> FrontEndReply | None:
        """Ask the worker on behalf of a notebook; None while code runs or waits there, unless this `waits` too."""
        if self._busy.locked() and not waits:
            return None
        async with self._busy:
            worker = await self._worker.ready()
            if request.what in ("comm", "expressions"):
                self.ran()
            late = None if waits else asyncio.create_task(_interrupt_when_late(worker))
            self._asking = worker
            try:
                return await worker.front_end(request)
            finally:
                self._asking = None
                if late is not None:
                    late.cancel()

    def interrupt_callbacks(self) -> bool:
        """Raise KeyboardInterrupt in what runs for a front end's message; False when nothing does."""
        if self._asking is None:
            return False
        self._asking.interrupt()
        return True

    def give_up_saving(self) -> None:
        """Let the checkpoint that waits for room on a full disk end without it."""
        self._saved.give_up()

    async def checkpoint(self, label: str | None) -> int:
        """Save the namespace now; the checkpoint's number."""
        async with self._busy:
            return await self._capture(label)

    async def _capture(self, label: str | None) -> int:
        worker = await self._worker.ready()
        made = await worker.checkpoint()
        try:
            kept = await self._saved.keep(made.data, label)
        except BaseException as error:
            worker.not_kept(made, error)
            raise
        self.saved()
        return kept

    async def begin_from(self, payload: bytes | memoryview, label: str | None = None) -> None:
        """Make a checkpoint of another session the first of this one."""
        async with self._busy:
            await self._saved.publish(payload, ExecutionPosition(), wait=True, label=label, kind="checkpoint.keep")

    async def restore(
        self, which: str | int, *, clear_existing: bool, override_environment: bool = False, recompute: bool = False
    ) -> RestoreReport:
        """Merge a checkpoint, by label or number, into the live namespace; then save what that made."""
        async with self._busy:
            worker = await self._worker.ready()
            stored = self._saved.stored
            opened = await stored.open((await stored.find(which))["id"])
            override = override_environment or self._keeping.override_environment
            asked = await worker.restore(opened.payload, clear_existing=clear_existing, override_environment=override)
            self._saved.build_on((opened.manifest, opened.table))
            report = RestoreReport.read(asked.report)
            if recompute:
                report = await self._recomputation.of(report, worker)
            await self._capture(None)
            return report


async def _interrupt_when_late(worker: WorkerSession) -> None:
    await asyncio.sleep(FRONT_END_S)
    while True:
        worker.interrupt()
        await asyncio.sleep(FRONT_END_AGAIN_S)
