"""`engine.session(name)`: run code in a session, follow what it prints."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from capabilities.permissions.levels import Level
from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.durations import seconds
from durable.core.errors import BadArguments, Busy, Conflict, ExecutionError, ExecutionTimedOut, StoreRefused
from durable.core.value_codec import opened
from durable.executions.handle import Execution
from durable.functions.failures import read_document, rebuild
from durable.records.result import RestoreReport, Result, Texts
from durable.records.stored_output import CopyRow
from durable.records.values import code_to_json, digest, unpack
from durable.sessions import namespace
from durable.sessions.execution.cell import CellDone, CellParam, Failed, Pass, Transaction
from durable.sessions.language import Language
from durable.sessions.output.live_output import DisplayEvent, Event, OutputEvent
from durable.sessions.output.session_output import read_output
from durable.sessions.ownership.session_confinement import forget_directory
from durable.sessions.permissions import Permissions, load_permissions

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.sessions.checkpoints.export import Exported
    from durable.sessions.checkpoints.history import Change, CheckpointInfo
    from durable.sessions.namespace import NamespaceLimits, Sources, Strategy, Variable


type OnBusy = Literal["queue", "error"]
"""What a cell meets when another of its session has not ended."""

SNIPPET_CHARS = 80
"""Of an execution's code in what is said of it."""

STATUS_BUSY = 423
"""How the store says that."""


class Session:
    """A named interpreter state. It outlives this object, its worker and this process."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        grants: tuple[str, ...],
        language: Language = "python",
        needs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.grants = grants
        self.language = language
        self._engine = engine
        self._needs = needs

    async def submit(
        self,
        code: str,
        *,
        inputs: dict[str, Any] | None = None,
        timeout: float | timedelta | None = None,
        checkpoint: Literal["auto", "statement"] | float | timedelta = "auto",
        transaction: Transaction = "commit_always",
        on_busy: OnBusy = "queue",
        id: str | None = None,
    ) -> Execution[Any]:
        """Record a cell as the session's next execution and return at once; cells run one at a time, in order.

        It is recorded also where no engine that is alive knows the session's own capabilities, and waits for one.
        on_busy="error": Busy when one has not ended, and nothing is recorded. id: as in `execute`.
        """
        execution_id = await self._submit(
            code,
            inputs=inputs,
            timeout=timeout,
            checkpoint=checkpoint,
            transaction=transaction,
            on_busy=on_busy,
            id=id,
        )
        return Execution(self._engine, execution_id)

    async def _submit(
        self,
        code: str,
        *,
        inputs: dict[str, Any] | None,
        timeout: float | timedelta | None,
        checkpoint: Literal["auto", "statement"] | float | timedelta,
        transaction: Transaction,
        on_busy: OnBusy,
        id: str | None,
        sync_later: bool = False,
    ) -> str:
        """`submit`: the execution's id. sync_later: whoever asks is told of it with its outcome only (store.md, W4)."""
        suffix = None if id is None else ids.check_cell_id(id)
        _check_transaction(transaction, checkpoint)
        given = code_to_json(code, inputs)
        limit = seconds(timeout)
        every_s = None if isinstance(checkpoint, str) else seconds(checkpoint)
        if every_s is not None and not every_s > 0:
            raise BadArguments(f"checkpoint={checkpoint!r}: seconds between two checkpoints are more than 0")
        mode: Literal["auto", "statement"] = checkpoint if isinstance(checkpoint, str) else "auto"
        cell = CellParam(
            code=code, session=self.name, inputs=given, checkpoint=mode, every_s=every_s, transaction=transaction
        )
        timeout_at = TIME_MAX_MS if limit is None else now_ms() + int(limit * 1000)
        request: dict[str, Any] = {"promise": cell.promise(self._engine.cell_target(), timeout_at)}
        if on_busy == "error":
            request["alone"] = True
        if suffix is not None:
            request["id"] = suffix
        if sync_later and self._engine.store.local is not None:
            request["sync_later"] = True
        try:
            answer = await self._engine.submit(self.name, request)
        except StoreRefused as error:
            if error.status != STATUS_BUSY:
                raise
            raise Busy(f"{error.message}; wait for it, interrupt it, or submit with on_busy='queue'") from None
        _check_same(answer, cell.to_json())
        return ids.execution_of(answer["id"])

    async def execute(
        self,
        code: str,
        *,
        inputs: dict[str, Any] | None = None,
        timeout: float | timedelta | None = None,
        checkpoint: Literal["auto", "statement"] | float | timedelta = "auto",
        journal: bool = True,
        transaction: Transaction = "commit_always",
        on_busy: OnBusy = "queue",
        wait_through_halts: bool = False,
        id: str | None = None,
    ) -> Result:
        """Run code and return its Result; `.error` is set when the code raised.

        inputs: variables set first, JSON values. timeout: a deadline in seconds, none by default. checkpoint: "auto",
        "statement" for after every statement, or seconds of work between two of them. journal=False: no promise, no
        checkpoint, not resumable, and faster; it waits while a cell of the session runs or waits in its worker.
        Cancelled, or past its deadline, its code is stopped as by an interrupt; what it did until then stays.
        transaction: "rollback_on_failure" or "rollback_always" put the namespace back as it was, see Result.rollback;
        without checkpoints inside. on_busy: "queue" behind what has not ended, or "error": Busy. id: the execution is
        `<session>@<id>`; one that exists is not run again, its Result is returned, or Conflict raised where its code or
        options are others. Waits as long as the code waits for people. Halted as soon as it, or a cell that it is
        queued behind, is halted; wait_through_halts: wait on. NotServed when no engine that is alive knows the
        session's own capabilities.
        """
        if not journal:
            if id is not None:
                raise BadArguments("code with journal=False has no id: nothing of it is recorded")
            return await self._quick(code, inputs or {}, transaction, on_busy, seconds(timeout))
        await self._engine.require_known(self.name, self._needs)
        execution_id = await self._submit(
            code,
            inputs=inputs,
            timeout=timeout,
            checkpoint=checkpoint,
            transaction=transaction,
            on_busy=on_busy,
            id=id,
            sync_later=True,
        )
        return await self.result(execution_id, wait_through_halts=wait_through_halts)

    async def _quick(
        self, code: str, inputs: dict[str, Any], transaction: Transaction, on_busy: OnBusy, limit: float | None
    ) -> Result:
        _check_transaction(transaction, "auto")
        live = await self._engine.live(self.name)
        if on_busy == "error" and live.busy:
            raise Busy(f"session {self.name!r} has an execution that has not ended")
        given = code_to_json(code, inputs)
        found = live.unrecorded(code, given, transaction)
        if limit is None:
            return unrecorded_result(found, await live.execute(found))
        try:
            async with asyncio.timeout(limit) as deadline:
                return unrecorded_result(found, await live.execute(found))
        except TimeoutError:
            if not deadline.expired():
                raise
            error = ExecutionTimedOut(f"the code passed its deadline of {limit:g} s", execution_id=self.name)
            note_stopped(error, code, limit, found)
            about = {} if found.end is None else {"execution_time": found.end.execution_time, "mode": found.end.mode}
            return Result.failed("", error, found.printed(), about)

    async def result(self, execution_id: str, *, wait_through_halts: bool = False) -> Result:
        """The Result of one of this session's executions, waiting for it.

        Halted as soon as it, or a cell that it is queued behind, is halted; wait_through_halts: wait on.
        """
        promise_id = ids.execution_promise(execution_id)
        row = await self._engine.store.settled(promise_id, halts=not wait_through_halts, patient=False)
        stopped = row.state in ("rejected_timedout", "rejected_canceled")
        found = await self._engine.host.stopped(execution_id) if stopped else None
        printed = await self._printed(execution_id)
        value = opened(row.value)
        if row.state == "resolved":
            return Result.from_record(value, printed)
        error = rebuild(row.state, value, execution_id)
        record = read_document(value)
        if stopped:
            record = {**record, **await self._how_it_was_stopped(error, execution_id, found)}
        return Result.failed(execution_id, error, printed, record)

    async def _how_it_was_stopped(self, error: ExecutionError, execution_id: str, found: Pass | None) -> dict[str, Any]:
        """The facts of code that somebody else stopped: told in notes of the error (P53); fields of a record."""
        row = await self._engine.store.reads.get_execution(execution_id)
        cell = row.param["args"][0] if row is not None and isinstance(row.param, dict) else {}
        took = (row.settled_at - row.created_at) / 1000 if row is not None and row.settled_at is not None else 0.0
        about: dict[str, Any] = {"execution_time": took}
        limit = None
        if row is not None and row.timeout_at < TIME_MAX_MS:
            limit = (row.timeout_at - row.created_at) / 1000
        if found is not None and found.end is not None:
            about |= {"execution_time": found.end.execution_time, "mode": found.end.mode}
        note_stopped(error, str(cell.get("code", "")), limit, found)
        return about

    async def _printed(self, execution_id: str) -> Texts:
        local = self._engine.host.printed(execution_id)
        if local is not None:
            return local
        chunks = await self._engine.store.reads.output(execution_id, 0, limit=2**31)
        return Texts.of(CopyRow(chunk.offset, chunk.stream, chunk.text, chunk.chars) for chunk in chunks)

    async def stream(
        self, code: str, *, wait_through_halts: bool = False, **options: Any
    ) -> AsyncIterator[Event | Result]:
        """Run code; yields OutputEvents and DisplayEvents as they come (and Rewound, where some count no more).

        The Result is last. A reader that keeps up gets all that is printed, not only what is stored. Halted as soon as
        it, or a cell that it is queued behind, is halted; wait_through_halts: wait on. options: those of `submit`.
        """
        await self._engine.require_known(self.name, self._needs)
        execution = await self.submit(code, **options)
        async for event in self._engine.follow(execution.id, wait_through_halts=wait_through_halts):
            yield event
        yield await self.result(execution.id, wait_through_halts=wait_through_halts)

    async def output(self) -> list[OutputEvent | DisplayEvent]:
        """The text and displays of its cells' threads and tasks while none ran, oldest first.

        What came between two cells is also in the later one's `Result.earlier`. Events of stream "failure" say which
        thread or task ended with an error.
        """
        return [event async for event in read_output(self._engine.store.reads, self.name)]

    async def interrupt(self, *, raises: bool = False) -> bool:
        """Interrupt the execution that runs or waits here, as `engine.interrupt` does; False when there is none."""
        for row in await self._engine.store.reads.list_executions(session=self.name):
            if row.state in ("running", "waiting"):
                return await self._engine.interrupt(row.id, raises=raises)
        return False

    async def namespace(self, *names: str) -> dict[str, Any]:
        """The values of these variables; of all that are plain JSON when none are named. Waits for its turn.

        BadArguments for a name that is not there or whose value is not plain JSON.
        """
        return await namespace.values(await self._engine.live(self.name), names)

    async def update_namespace(
        self,
        updates: Mapping[str, Any],
        *,
        source: str = "user",
        strategy: Strategy = "overwrite",
        limits: NamespaceLimits | None = None,
    ) -> dict[str, Any]:
        """Set variables, JSON values, and save that; the names whose value really changed, with the new one.

        strategy: "overwrite"; "preserve" sets only new names; "smart" keeps a value from None and from what is empty.
        limits: none by default. All or nothing: BadArguments for the engine's names (`_`, `In`…), which only
        source="engine" may set, ResourceExceeded for what is over a limit. Waits for its turn.
        """
        return await namespace.update(await self._engine.live(self.name), updates, source, strategy, limits)

    async def clear_namespace(self) -> tuple[str, ...]:
        """Remove the user's variables and save that; their names. The history stays. Waits for its turn."""
        return await namespace.clear(await self._engine.live(self.name))

    async def variables(self) -> list[Variable]:
        """The user's variables by name, with type, short repr and size. Waits for its turn."""
        return await namespace.variables(await self._engine.live(self.name))

    async def sources(self) -> Sources:
        """The text of functions and classes that cells defined, and what was imported. Waits for its turn."""
        return await namespace.sources(await self._engine.live(self.name))

    async def complete(self, text: str) -> list[str]:
        """Dotted names that could stand for `text`, from the live namespace; none while code runs or waits there."""
        return await (await self._engine.live(self.name)).between.complete(text)

    async def checkpoint(self, label: str | None = None) -> int:
        """Save the namespace now; returns the checkpoint's number. A labelled one is kept until the session is closed.

        Waits for the execution that runs. Raises Conflict when another engine has the session.
        """
        return await (await self._engine.live(self.name)).between.checkpoint(label)

    async def restore(
        self,
        which: str | int,
        *,
        clear_existing: bool = False,
        override_environment: bool = False,
        recompute: bool = False,
    ) -> RestoreReport:
        """Merge a checkpoint, by label or number, into the namespace; names that it does not have stay.

        clear_existing removes the user's names first. override_environment: also where Python or a package is another
        one than it was made with; what cannot be loaded is then lost, and named. recompute: run again what made lost
        names, with the recorded answers to its calls; only the lost names stay of that, and the report says why
        others are not there. What the code does to files and others by itself it does again. A refused checkpoint
        changes nothing: CheckpointError, CheckpointTampered, NotFound; nor does a recomputation that ends the worker:
        WorkerDied, CheckpointError.
        """
        return await (await self._engine.live(self.name)).between.restore(
            which, clear_existing=clear_existing, override_environment=override_environment, recompute=recompute
        )

    async def checkpoints(self) -> list[CheckpointInfo]:
        """The checkpoints that are kept, oldest first: the labelled ones and the newest of the others."""
        return await self._engine.checkpoints_of(self.name).listing()

    async def diff(self, before: str | int, after: str | int) -> list[Change]:
        """The names that differ between two checkpoints, by number or label, with short reprs of both sides."""
        return await self._engine.checkpoints_of(self.name).diff(before, after)

    async def export(self, which: str | int, path: str | os.PathLike[str]) -> Exported:
        """Write a checkpoint, by number or label, to one new file: `engine.import_checkpoint` makes a session of it."""
        return await self._engine.checkpoints_of(self.name).export(which, Path(path))

    async def label(self, which: str | int, label: str | None) -> None:
        """Give a checkpoint a label, by which it is found and kept, or take it away."""
        await self._engine.checkpoints_of(self.name).label(which, label)

    async def drop(self, which: str | int) -> None:
        """Forget a checkpoint. Conflict for the newest while the session's worker lives."""
        await self._engine.checkpoints_of(self.name).drop(which)

    async def fork(self, name: str, *, checkpoint: str | int | None = None) -> Session:
        """`engine.fork` of this session."""
        return await self._engine.fork(self.name, name, checkpoint=checkpoint)

    async def grant(self, grant: str, *, seconds: float | None = None, by: str | None = None) -> None:
        """Allow more from the next call on: `name` or `name:resource`, for so many seconds or until it is revoked.

        A capability that the code did not have becomes a function of it with the next cell. BadArguments; Conflict
        where it would change nothing, since a revocation or the manifest's `block` comes first.
        """
        await self._engine.permissions().grant(self.name, grant, seconds=seconds, by=by)

    async def revoke(self, grant: str, *, by: str | None = None) -> None:
        """Allow it no more, whatever else says so: no call that is recorded after this returns was allowed by it."""
        await self._engine.permissions().revoke(self.name, grant, by=by)

    async def elevate(self, level: Level, *, seconds: float = 60.0, by: str | None = None) -> None:
        """Let a higher level hold for a while."""
        await self._engine.permissions().grant(self.name, f"level:{level}", seconds=seconds, by=by)

    async def reload(self, permissions: Permissions, *, by: str | None = None) -> None:
        """Let another manifest hold from the next call on. BadArguments says what is wrong with it."""
        manifest = load_permissions(permissions, None)
        assert manifest is not None
        await self._engine.permissions().reload(self.name, manifest, by=by)

    async def close(self) -> None:
        """End the worker and forget the session: its name can be made anew, its numbers are never reused.

        Executions that have not ended are cancelled.
        """
        await self._engine.store.request("session.close", {"session": self.name})
        await self._engine.host.forget(self.name)
        await asyncio.to_thread(forget_directory, self._engine.store, self.name)

    def __repr__(self) -> str:
        return f"<session {self.name}>"


def _check_same(answer: dict[str, Any], cell: dict[str, Any]) -> None:
    """Check that what exists under the id is this cell. Conflict shows both."""
    promise = answer["promise"]
    if not answer.get("existed") or promise["tags"].get("durable:arguments") == digest(cell):
        return
    found = unpack((promise.get("param") or {}).get("data"))
    other = found["args"][0] if isinstance(found, dict) and found.get("args") else found
    raise Conflict(
        f"execution {ids.execution_of(answer['id'])!r} exists as {_shown(other)}, not as {_shown(cell)}; use another id"
    )


def _shown(cell: Any) -> str:
    if not isinstance(cell, dict):
        return repr(cell)[:500]
    return ", ".join(f"{name}={value!r}"[:500] for name, value in cell.items() if name != "session" and value != {})


def note_stopped(error: ExecutionError, code: str, limit: float | None, found: Pass | None) -> None:
    """Say of an execution that was stopped what it was, its limit in seconds, and where its code was (P53)."""
    end = None if found is None else found.end
    text = " ".join(code.split())
    shown = text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…"
    mode = "unknown" if end is None else end.mode
    error.add_note(f"mode {mode}, " + ("" if limit is None else f"limit {limit:g} s, ") + f"code {shown!r}")
    if end is not None and end.traceback:
        error.traceback = end.traceback
        error.add_note(f"Traceback where it was stopped:\n{end.traceback.rstrip()}")


def unrecorded_result(found: Pass, outcome: CellDone | Failed) -> Result:
    """The Result of code that ran without a promise."""
    if isinstance(outcome, Failed):
        error = rebuild("rejected", {"message": json.dumps(outcome.document)}, found.cell.session)
        return Result.failed("", error, found.printed(), outcome.document)
    return Result.from_record({**outcome.value, "id": ""}, found.printed())


def _check_transaction(transaction: str, checkpoint: str | float | timedelta) -> None:
    if transaction not in ("commit_always", "rollback_on_failure", "rollback_always"):
        raise BadArguments(
            f"no transaction {transaction!r}; there are commit_always, rollback_on_failure, rollback_always"
        )
    if transaction != "commit_always" and checkpoint != "auto":
        raise BadArguments("a transaction has no checkpoints inside: leave checkpoint out, or use commit_always")
