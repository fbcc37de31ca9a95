"""The execution of cells on the main thread, one statement at a time (specs/session.md, E1-E8).

The coroutines that statements become do not outlive their execution (requirement P50)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from contextvars import Context, copy_context
from functools import partial
from time import perf_counter
from typing import Any
from weakref import WeakSet

from bridge.code.cell_mode import Detection
from bridge.protocol.messages import Wire
from bridge.worker.calls.calls import Calls, ExecutionCalls
from bridge.worker.import_hooks import NOTEBOOK
from bridge.worker.io.backlog import OutputDrainTimeout
from bridge.worker.io.channel import Channel
from bridge.worker.io.output_streams import OutputPort
from bridge.worker.namespace.main_module import ENGINE_INTERNALS, InteractiveHistory, Namespace
from bridge.worker.namespace.values import NotJson, bounded_repr, cut, to_json
from bridge.worker.run.cell_transaction import Transaction
from bridge.worker.run.checkpoint_rule import Rule
from bridge.worker.run.checkpoint_timing import Checkpoints, explain
from bridge.worker.run.classifier import Classifier
from bridge.worker.run.code_cache import cache_size
from bridge.worker.run.compiler import (
    CompiledCell,
    Statement,
    compile_cell,
    filename_of,
    future_flags_of,
    remember_source,
)
from bridge.worker.run.event_loop import WorkerLoop, mark_running
from bridge.worker.run.resumable_loops import Loops
from bridge.worker.run.sigint_gate import Gate
from bridge.worker.run.trace_context import TraceContext
from bridge.worker.run.tracebacks import OURS, format_error, message_of, type_name
from checkpoint import checkpoint_request
from checkpoint.capture.process_state import PROCESS_STATE
from durable.core.foreign_value import Shown


class Coroutines:
    """The coroutines that are not finished, weakly held: one that nobody refers to any more is no leak of ours."""

    def __init__(self) -> None:
        self._made: WeakSet[Coroutine[Any, Any, object]] = WeakSet()

    def __len__(self) -> int:
        return len(self._made)

    def track[C: Coroutine[Any, Any, object]](self, coroutine: C) -> C:
        """Remember one until `close`."""
        self._made.add(coroutine)
        return coroutine

    def close(self) -> None:
        """Close every one; afterwards there is none. User code runs in their `finally`."""
        while self._made:
            self._made.pop().close()


class Executor:
    """One namespace and the executions in it."""

    def __init__(
        self,
        namespace: Namespace,
        channel: Channel,
        gate: Gate,
        loop: WorkerLoop,
        calls: Calls,
        output: OutputPort,
        checkpoints: Checkpoints,
    ) -> None:
        self._namespace = namespace
        self._channel = channel
        self._gate = gate
        self._loop = loop
        self._calls = calls
        self._output = output
        self._checkpoints = checkpoints
        self._history = InteractiveHistory(namespace)
        self._context: Context = copy_context()
        PROCESS_STATE.context = self._context
        self._trace = TraceContext(self._context)
        PROCESS_STATE.loop = loop
        self._future_flags = 0
        self._pid = os.getpid()
        self._loops = Loops()
        self._coroutines = Coroutines()
        self._cancellation = loop.cancellation
        self.detection = Detection(os.environ)
        self.show_value: Callable[[object], None] = lambda _value: None
        """Displays the last expression's value, where there is more of it than its text."""
        self._tells_value = os.environ.get(NOTEBOOK) == "1"
        self._classifier = Classifier(namespace, self.detection, cache_size(os.environ))

    def restored(self, *, cleared: bool) -> None:
        """A checkpoint was merged into the namespace; `cleared`: in the place of what was there (P65)."""
        if cleared:
            self._history.reset()
        self._future_flags |= future_flags_of(self._namespace)

    def run_beside[R](self, run: Callable[[], R]) -> R:
        """Run code of the user's that is no execution, as statements are run: in the context, interruptible."""
        self._gate.begin()
        try:
            return self._user_code(lambda: self._context.run(run))
        finally:
            self._gate.end()

    def count(self) -> int:
        """The number of cells in the history."""
        return self._history.count()

    def run(self, request: Wire) -> None:
        """Run one `execute` to its result or error, and send that."""
        started = perf_counter()
        execution = ExecutionCalls(request["id"], dict(request["counters"]))
        self._calls.begin(execution)
        self._output.begin()
        self._cancellation.begin(execution.id, request["code"])
        self._gate.begin()
        rule = Rule(request)
        checkpoint_request.listen(rule.ask)
        self._trace.enter(request["traceparent"])
        try:
            transaction = Transaction(request["transaction"], self._namespace, self._gate, request["recompute"])
            outcome = self._outcome(request, execution, transaction, rule)
            self._trace.leave()
            if self._tells_value and outcome.get("repr") and request["checkpoint"] != "none":
                self._channel.send({"type": "value", "execution_id": execution.id, "repr": outcome["repr"]})
            self._loop.tell_untaken()
            self._end_habits(failed=outcome["type"] == "error")
            outcome["execution_id"] = execution.id
            outcome["execution_time"] = max(0.0, perf_counter() - started - execution.waited_s)
            outcome = self._drained(outcome)
            outcome |= self._about(execution, transaction, failed=outcome["type"] == "error")
            if request["checkpoint"] != "none":
                position = self._position(execution, outcome["statement"])
                self._checkpoints.send({**position, "final": True, "outcome": outcome, **rule.taken()}, wait=False)
        finally:
            checkpoint_request.listen(None)
            self._gate.end()
            self._cancellation.end()
            self._calls.end()
        self._channel.send(dict(outcome))

    def _about(self, execution: ExecutionCalls, transaction: Transaction, *, failed: bool) -> Wire:
        """End the transaction; returns what else is told of an execution, where there is something to tell."""
        about: Wire = {} if execution.mode == "simple_sync" else {"mode": execution.mode}
        if execution.warnings:
            about["warnings"] = execution.warnings
        with self._output.muted() if transaction.active else nullcontext():
            rolled_back = transaction.end(failed=failed)
        if rolled_back is not None:
            about["rollback"] = rolled_back
        return about

    def _outcome(self, request: Wire, execution: ExecutionCalls, transaction: Transaction, rule: Rule) -> Wire:
        at = request["start_statement"]
        rule.held = transaction.active
        try:
            cell = self._prepare(request, execution, transaction)
            value: object = None
            for at in range(at, len(cell.statements)):  # noqa: B020  # `at` is where a failure happened
                iterations = 0
                if at > request["start_statement"]:
                    self._boundary(rule, execution, cell.statements[at], at)
                else:
                    iterations = request["start_iteration"]
                self._loops.boundary = partial(self._boundary, rule, execution, cell.statements[at], at)
                self._loops.enter(cell.statements[at], iterations)
                PROCESS_STATE.note_code(cell.statements[at].code)
                value = self._run_statement(cell.statements[at])
                PROCESS_STATE.note_statement(cell.statements[at].code)
                self._output.check()
            self._end_forked_child(None)
            return self._user_code(lambda: self._context.run(self._result, cell, value, request))
        except BaseException as error:
            self._end_forked_child(error)
            failure = error  # the name ends with the clause
        explain(failure)
        self._remember(failure)
        self._cancellation.explain(failure)
        try:
            text = self._user_code(lambda: self._context.run(lambda: (message_of(failure), format_error(failure))))
        except BaseException:
            text = ("", f"{type_name(failure)}\n")
        return {
            "type": "error",
            "exception_type": type_name(failure),
            "exception_message": text[0],
            "traceback": text[1],
            "statement": at,
        }

    def _end_habits(self, *, failed: bool) -> None:
        """Show what a cell in IPython's manner expects at its end: its time, and figures drawn and not shown."""
        magics, pyplot = sys.modules.get("bridge.worker.run.magics"), sys.modules.get("matplotlib.pyplot")
        if magics is not None:
            magics.cell_ended()
        if pyplot is not None and not failed:
            from bridge.worker.io.figures import show_open

            with suppress(Exception):
                show_open()

    def _drained(self, outcome: Wire) -> Wire:
        """The outcome after its output; what could not be sent in time is told of, and is an error where it must be."""
        undrained = self._output.drain_last()
        if undrained:
            outcome["undrained"] = undrained
        error: Exception | None = self._output.overflow  # of what was printed last, or was caught
        if undrained and not self._output.warns_undrained:
            error = OutputDrainTimeout("Failed to drain all outputs before timeout")
        if error is None or (outcome["type"] == "error" and outcome["exception_type"] == type_name(error)):
            return outcome
        failed = {"type": "error", "exception_type": type_name(error), "exception_message": message_of(error)}
        kept: Wire = {key: value for key, value in outcome.items() if key not in ("value", "repr")}
        return {**kept, **failed, "traceback": ""}

    def _prepare(self, request: Wire, execution: ExecutionCalls, transaction: Transaction) -> CompiledCell:
        code = request["code"]
        filename = request["filename"] or filename_of(code, request["id"])
        remember_source(code, filename)
        execution.mode = "unknown"
        recorded = request["history"] and not request["recompute"] and request["start_statement"] == 0
        try:
            code, cell = self._compiled(code, filename)
        except BaseException:
            if recorded:
                self._history.record_source(request["code"])  # it has its number, as in any notebook
            raise
        self._future_flags = cell.future_flags
        found = self._classifier.classify(code, cell)
        execution.mode, execution.warnings = found.mode, self.detection.met(found)
        self._cancellation.is_of(found.mode)
        with self._output.muted() if transaction.active else nullcontext():
            transaction.begin()
        if request["start_statement"] == 0:
            refused = ENGINE_INTERNALS & request["inputs"].keys()
            if refused:
                raise ValueError(f"inputs cannot set the engine's names: {', '.join(sorted(refused))}")
            self._namespace.update(request["inputs"])
            if recorded:
                self._history.record_source(request["code"])
        return cell

    def _compiled(self, code: str, filename: str) -> tuple[str, CompiledCell]:
        """The code that is run, and its compiled cell; code in IPython's manner is first rewritten as Python."""
        while True:
            try:
                return code, compile_cell(code, filename, self._future_flags)
            except SyntaxError as error:
                from bridge.worker.run.magics import rewritten  # few cells need it

                meant = rewritten(code, error)
                if meant is None or meant == code:
                    raise
                code = meant

    def _result(self, cell: CompiledCell, value: object, request: Wire) -> Wire:
        text = ""
        plain: object = None
        if cell.statements and cell.statements[-1].has_value and value is not None:
            if isinstance(value, Shown):
                text = cut(value.text)
                value = value.value
            else:
                text = bounded_repr(value)
                if request["history"] and not request["recompute"]:
                    self._history.record_value(value)
                if not request["recompute"] and not request["code"].rstrip().endswith(";"):
                    self.show_value(value)
            try:
                plain = to_json(value)
            except (NotJson, RecursionError):
                plain = None
        return {"type": "result", "value": plain, "repr": text, "statement": len(cell.statements)}

    def _boundary(
        self, rule: Rule, execution: ExecutionCalls, statement: Statement, at: int, iterations: int = 0
    ) -> None:
        """Between two statements, or two iterations of a resumable loop. A forked child has no engine to tell."""
        if self._calls.forked:
            return
        self._output.flush()
        needed = rule.needs(statement.code, self._namespace)
        if needed or self._checkpoints.due(rule, called=execution.called):
            execution.called = False
            self._output.drain()
            position = self._position(execution, at)
            fields = {**position, "iteration": iterations, **rule.taken()}
            self._checkpoints.send(fields, wait=needed or rule.mode == "statement")

    def _position(self, execution: ExecutionCalls, at: int) -> Wire:
        return {"execution_id": execution.id, "statement": at, "counters": dict(execution.counters)}

    def _run_statement(self, statement: Statement) -> object:
        if not statement.awaits:
            self._output.synchronous(on=True)
            try:
                return self._user_code(lambda: self._context.run(eval, statement.code, self._namespace))
            finally:
                self._output.synchronous(on=False)
        made: Any = eval(statement.code, self._namespace)  # noqa: S307  # makes the coroutine, runs nothing
        coroutine = self._coroutines.track(made)
        gate = self._gate
        error: BaseException | None
        try:
            try:
                gate.enter()
                done = self._loop.run_statement(coroutine, self._context)
            finally:
                gate.open = False
            value, error = done.value, done.error
        finally:
            self._coroutines.close()
        if error is not None:
            raise error
        return value

    def _user_code[R](self, run: Callable[[], R]) -> R:
        """Run with SIGINT raising and the session's loop marked as running."""
        gate = self._gate
        mark_running(self._loop)
        try:
            gate.enter()
            return run()
        finally:
            gate.open = False
            mark_running(None)

    def _remember(self, error: BaseException) -> None:
        """As Python's prompt does: `sys.last_exc`, for debuggers; and the engine's names of it (P56)."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
            trace = trace.tb_next
        sys.last_exc = sys.last_value = error
        sys.last_type, sys.last_traceback = type(error), trace
        self._namespace["_exception"] = error
        if isinstance(error, SystemExit):
            self._namespace["_exit_code"] = error.code

    def _end_forked_child(self, error: BaseException | None) -> None:
        """A child that user code forked ends where the cell ends (E5): the worker's own work is its parent's."""
        if os.getpid() == self._pid:
            return
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            sys.stderr.write(format_error(error))
            code = 1
        os._exit(code)
