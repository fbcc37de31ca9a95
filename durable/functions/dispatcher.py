"""Every durable function of this process by identity, and the pass that is run for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from durable.core.events import Observer
from durable.functions.context import Cells, Context
from durable.functions.definition import Function
from durable.functions.failures import Rejection
from durable.functions.replay.anyio_order import order_scopes
from durable.functions.replay.execution_pass import ExecutionPass, forget_frames
from durable.functions.replay.function_body import perform
from durable.functions.replay.function_loop import watch_outside
from durable.functions.replay.function_pass import FunctionPass
from durable.functions.replay.recorded_promises import read_record
from durable.functions.resonate import sdk
from durable.functions.resonate.sdk import PassTask
from durable.functions.resonate.store_ports import internal
from durable.functions.step import StepThreads
from durable.records.values import encode
from durable.store.port import StoreFace

_EARLY_MAX = 1_000
"""Cancelled executions that are remembered for a pass which is about to begin: a turn of the loop or so."""


class Passes:
    """Runs passes of durable functions for one engine."""

    def __init__(
        self,
        *,
        store: StoreFace,
        closing: Callable[[], bool],
        threads: StepThreads,
        cells: Cells,
        observer: Observer,
    ) -> None:
        self._store = store
        self._closing = closing
        self._threads = threads
        self._cells = cells
        self._observer = observer
        self._target = cells.cell_target()
        self._runs: dict[str, ExecutionPass] = {}
        self._early: dict[str, None] = {}
        """Executions that were cancelled while no pass ran here: one may be about to begin, with an older record."""
        self._saves: dict[str, dict[str, Any]] = {}
        """What is saved with the end of an execution whose pass has ended here."""
        self.suspensions: dict[str, sdk.Suspension] = {}
        """Executions whose pass suspended here, until that is recorded: they may be passed again under one lease."""
        watch_outside()
        order_scopes()

    def of(self, function: Function[..., Any]) -> Callable[..., Awaitable[Any]]:
        """The callable that the runner of tasks has for a function."""

        async def attempt(task: PassTask, args: list[Any], kwargs: dict[str, Any]) -> Any:
            try:
                return await self._pass(function, task, args, kwargs)
            except (Rejection, sdk.ResonateError):
                raise
            except Exception as error:  # the function's own are rejections by now
                raise sdk.PlatformError([internal(f"pass {function.name}", error)]) from error

        return attempt

    async def _pass(self, function: Function[..., Any], task: PassTask, args: list[Any], kwargs: dict[str, Any]) -> Any:
        promise_id = task.id
        run = ExecutionPass(
            promise_id,
            task.recorder(),
            self._store,
            self._closing,
            self._observer,
            origin=task.origin_id,
            target=self._target,
            begun=task.mark_begun,
            seed=task.seed,
            room=task.room if function.companion is None else None,
        )
        self._runs[promise_id] = run  # before anything is awaited: it is to hear of a cancellation
        early = promise_id in self._early
        self._early.pop(promise_id, None)
        try:
            if early or not task.first or promise_id in self.suspensions:
                run.load(await read_record(self._store, promise_id, None if early else task.record))
                if promise_id in self.suspensions:
                    run.logged.update(self.suspensions[promise_id].logged)
            if function.companion is not None:
                run.activation = await function.companion.activate(
                    self._store, promise_id, task.tags, begun=run.has_record
                )
            self._start(run, function, task, args, kwargs)
            try:
                return await run.outcome
            finally:
                saves = None if run.activation is None else run.activation.saves()
                if saves is not None:
                    self._saves[promise_id] = saves
        except sdk.Suspended as suspended:
            self.suspensions[promise_id] = sdk.Suspension(run.logged, run.cancelling)
            forget_frames(suspended)
        finally:
            if self._runs.get(promise_id) is run:
                del self._runs[promise_id]
            run.dispose()
        task.waits = [] if run.gone else run.waits
        raise sdk.Suspended  # out here, where no other holds the frames of the pass

    def cancel(self, executions: Iterable[str]) -> None:
        """These are to be cancelled: those that run here hear of it at once."""
        for promise_id in executions:
            run = self._runs.get(promise_id)
            if run is not None:
                run.cancel()
                continue
            self._early[promise_id] = None
            if len(self._early) > _EARLY_MAX:
                del self._early[next(iter(self._early))]

    def forget(self, promise_id: str) -> None:
        """Its pass is over: what comes next begins with what is recorded."""
        self.suspensions.pop(promise_id, None)
        self._saves.pop(promise_id, None)

    def saves_of(self, promise_id: str) -> dict[str, Any] | None:
        """The data to be saved with the end of an execution, once; None for nothing."""
        return self._saves.pop(promise_id, None)

    def _start(
        self,
        run: ExecutionPass,
        function: Function[..., Any],
        task: PassTask,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> None:
        root = FunctionPass(run, run.promise_id, function.name, timeout_at=task.timeout_at, created_at=task.created_at)
        context = Context(root, self._threads, self._cells)

        async def main() -> Any:
            if run.activation is not None:
                reply = await run.activation.turn(context, args)
                return encode(reply, f"the reply of {function.name}", run.activation.returns)
            return await perform(context, function, args, kwargs)

        root.start(main, run.complete)
