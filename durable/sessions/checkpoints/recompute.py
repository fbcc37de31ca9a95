"""Executions run again for the names that a restore could not bring back (specs/checkpoint.md, Made again)."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, override

import msgspec

from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import Call, CallResult
from capabilities.capability import Capability
from durable.core.errors import CheckpointError, Denied, DurableError, NonDeterminism
from durable.core.ids import execution_promise
from durable.functions.replay.matching import Journal
from durable.functions.replay.recorded_promises import recorded
from durable.records.result import Lost, RestoreReport
from durable.records.stored_output import StoredCopy
from durable.sessions.calls.call_results import failed
from durable.sessions.calls.journaled_calls import Answers, CallArguments, JournaledCalls
from durable.sessions.calls.session_policy import Permits
from durable.sessions.execution.cell import FUNCTION_ID, CellDone, CellParam, Failed, Pass
from durable.store.rows import ExecutionRow

SETTLED = ("completed", "failed")
"""Executions whose code came to its end. One that was stopped before is not run past that."""


class RecordedCalls(JournaledCalls):
    """Answers calls from an execution's record, and only from there: nothing is asked, done or recorded again."""

    @override
    async def answer(self, call: Call) -> CallResult:
        try:
            return await super().answer(call)
        except (NonDeterminism, Denied) as error:
            return failed(call.call, "denied", "PermissionError", str(error))

    @override
    async def _recorded(
        self,
        call: Call,
        capability: Capability,
        said: CallArguments,
        promise_id: str,
        *,
        new: bool,
    ) -> dict[str, Any]:
        promise: dict[str, Any] = {}
        if not new:
            promise = (await self.house.store.request("promise.get", {"id": promise_id})).data["promise"]
        if new or promise["state"] == "pending":
            raise Denied(f"{promise_id} has no recorded answer, and {self.found.execution_id} is only run again")
        return promise

    @override
    async def settled(self, number: int, promise_id: str) -> dict[str, Any]:
        raise Denied(f"{promise_id} has not ended, and {self.found.execution_id} is only run again")


type Run = Callable[[Pass, Answers, list[str]], Awaitable[CellDone | Failed]]
"""Runs a pass in the session's worker; of what it makes only those names stay."""


class Recomputation:
    """The names that a restore lost, made again by the executions that made them.

    `sessions`: whose executions may be run, this one's and those that it was forked from: a worker names the makers,
    and an execution's recorded answers are its session's.
    """

    def __init__(self, permits: Permits, epoch: int, sessions: tuple[str, ...], run: Run) -> None:
        self._permits = permits
        self._store = permits.house.store
        self._epoch = epoch
        self._sessions = sessions
        self._run = run

    async def of(self, report: RestoreReport, worker: WorkerSession) -> RestoreReport:
        """The report with what was made again, and why the rest was not.

        All or nothing: what ends the worker, or fails here, ends it, and the newest checkpoint is as it was.
        """
        try:
            return await self._of(report, worker)
        except BaseException:
            worker.kill()
            await worker.wait_ended()
            raise

    async def _of(self, report: RestoreReport, worker: WorkerSession) -> RestoreReport:
        rows: list[ExecutionRow] = []
        why: dict[str, str] = {}
        for execution in {
            entry.execution: None for entry in report.lost if entry.execution and entry.name.isidentifier()
        }:
            row = await self._store.reads.get_execution(execution)
            if row is None or row.function != FUNCTION_ID or row.session not in self._sessions:
                why[execution] = f"{execution} is no execution of this session"
            elif row.state not in SETTLED:
                why[execution] = f"{execution} is {row.state}"
            else:
                rows.append(row)
        made: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: (row.created_at, row.n or 0)):
            execution, found = row.id, await self._pass(row)
            wanted = [entry.name for entry in report.lost if entry.execution == execution and entry.name.isidentifier()]
            outcome = await self._run(found, RecordedCalls(found, self._epoch, self._permits).answer, wanted)
            if worker.ended.is_set():
                raise CheckpointError(f"running {execution} again ended the worker; nothing was restored")
            made |= dict.fromkeys(_recomputed(outcome), execution)
            why[execution] = f"run again, {execution} {_why(outcome)}"
        return dataclasses.replace(
            report,
            lost=tuple(_told(entry, why.get(entry.execution, "")) for entry in report.lost if entry.name not in made),
            recomputed=tuple(made.items()),
        )

    async def _pass(self, row: ExecutionRow) -> Pass:
        try:
            cell = msgspec.convert(row.param["args"][0], CellParam)
        except (msgspec.ValidationError, LookupError, TypeError) as error:
            raise DurableError(f"the record of {row.id} cannot be read: {error}") from None
        cell = msgspec.structs.replace(cell, transaction="rollback_always")
        journal = Journal(execution_promise(row.id))
        for promise in await recorded(self._store, journal.execution):
            journal.load(promise["id"], promise.get("tags") or {})
        return Pass(journal.execution, cell, journal, StoredCopy(0), kept_max=0)


def _recomputed(outcome: CellDone | Failed) -> list[str]:
    told = (outcome.value if isinstance(outcome, CellDone) else outcome.document).get("rollback") or {}
    return list(told.get("recomputed", ()))


def _why(outcome: CellDone | Failed) -> str:
    """Why names are still not there after a run."""
    if isinstance(outcome, CellDone):
        return "did not make it"
    return f"raised {outcome.document.get('exception_type')}: {outcome.document.get('exception_message')}"


def _told(entry: Lost, why: str) -> Lost:
    return dataclasses.replace(entry, reason=f"{entry.reason}; not made again: {why}") if why else entry
