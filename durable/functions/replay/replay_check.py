"""Checks whether an execution's record is replayed by today's code: nothing is performed, nothing is written.

A pass like any other, that ends where something would be new (specs/versions.md, C1-C4).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from resonate.types import PromiseCreateReq, PromiseRecord

from durable.core.errors import NonDeterminism
from durable.functions.context import Cells, Context
from durable.functions.definition import Function
from durable.functions.failures import Rejection, rebuild
from durable.functions.replay.execution_pass import ExecutionPass
from durable.functions.replay.function_body import perform
from durable.functions.replay.function_pass import FunctionPass
from durable.functions.replay.recorded_promises import ExecutionRecord
from durable.functions.resonate import sdk
from durable.functions.step import StepThreads
from durable.records.codec import decode_param
from durable.store.port import StoreFace

type Verdict = Literal["replays", "differs", "fails", "unknown"]

CHECK_S = 30.0
"""How long a replay without any waiting may take: longer is code that does not end."""


@dataclass(frozen=True, slots=True)
class ReplayCheck:
    """The verdict on one execution.

    verdict: `replays`; `differs`: it would be halted; `fails`: the code raises before it comes to anything new, as
    where arguments do not fit any more; `unknown`: its function is not there. `reason` says why. old_patches: the
    patches of which it goes the old way (`ctx.patched` is False): while one is named here, its old code is needed.
    """

    id: str
    function: str
    verdict: Verdict
    reason: str = ""
    old_patches: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it goes on with today's code."""
        return self.verdict == "replays"


class _NoRecorder:
    """Writes nothing: what is new never comes about."""

    async def create(self, _request: PromiseCreateReq) -> PromiseRecord:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    def post(self, _request: PromiseCreateReq) -> None:
        return None

    async def settle(self, *_of: Any, **_more: Any) -> PromiseRecord:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def cancel(self, _promise_id: str) -> None:
        return None


def _unseen(_event: object) -> None:
    """Nobody is told: lines of the log were told when they were written."""


async def check_replay(
    function: Function[..., Any],
    root: PromiseRecord,
    record: ExecutionRecord,
    *,
    store: StoreFace,
    threads: StepThreads,
    cells: Cells,
) -> ReplayCheck:
    """Replay a record (`read_record`) over today's code of its function. root: the execution's own promise."""
    task = sdk.PassTask(root, version=2)
    run = ExecutionPass(
        root.id,
        _NoRecorder(),  # type: ignore[arg-type]
        store,
        lambda: False,
        _unseen,
        origin=task.origin_id,
        target=cells.cell_target(),
        begun=task.mark_begun,
        seed=task.seed,
        checks=True,
    )
    recorded = str(root.tags.get("durable:function", ""))
    old: set[str] = set()
    try:
        run.load(record)
        _start(run, function, task, root, threads, cells)
        async with asyncio.timeout(CHECK_S):
            await asyncio.shield(run.outcome)
    except TimeoutError:
        return ReplayCheck(run.execution_id, recorded, "fails", f"its code does not end within {CHECK_S:g} s")
    except sdk.PlatformError as error:
        halt = next((each.error for each in error.causes if isinstance(each, sdk.HaltTask)), None)
        if not isinstance(halt, NonDeterminism):
            raise
        return ReplayCheck(run.execution_id, recorded, "differs", str(halt))
    except Rejection as error:
        failure = rebuild("rejected", {"message": str(error)}, run.execution_id)
        return ReplayCheck(
            run.execution_id, recorded, "fails", f"{failure.exception_type}: {failure.exception_message}"
        )
    finally:
        old.update(name for each in run.passes for name, new in each.patches.items() if not new)
        run.dispose()
    return ReplayCheck(run.execution_id, recorded, "replays", "", sorted(old))


def _start(
    run: ExecutionPass, function: Function[..., Any], task: Any, root: PromiseRecord, threads: StepThreads, cells: Cells
) -> None:
    given = decode_param(root)
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    outermost = FunctionPass(run, run.promise_id, function.name, timeout_at=task.timeout_at, created_at=task.created_at)
    context = Context(outermost, threads, cells)
    outermost.start(partial(perform, context, function, data.get("args", []), data.get("kwargs", {})), run.complete)


def not_checked(execution_id: str, function: str, reason: str) -> ReplayCheck:
    """The verdict on what has no function here."""
    return ReplayCheck(execution_id, function, "unknown", reason)


__all__ = ["ReplayCheck", "check_replay", "not_checked"]
