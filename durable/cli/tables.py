"""Executions and their steps as tables or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from durable.cli import exit_codes
from durable.cli.text_output import Out
from durable.core.definition_id import instance_of
from durable.engine.execution_overview import overview
from durable.engine.step_tree import drawn, tree
from durable.records.view_models import DetailView, ExecutionView
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow

COLUMNS = ("id", "state", "what", "age", "took", "tries", "engine", "note")
STEP_COLUMNS = ("step", "kind", "name", "state", "took", "tries", "note")


async def show_executions(out: Out, store: StoreFace, rows: Sequence[ExecutionRow], empty: str) -> int:
    """Print them; `empty` is said when there are none."""
    views = await overview(store, rows)
    if out.json:
        out.document(views)
    else:
        out.table(COLUMNS, [_cells(view) for view in views], empty)
    return exit_codes.DONE


def _cells(view: ExecutionView) -> tuple[object, ...]:
    state = f"{view.state} (stuck)" if view.stuck else view.state
    engine = "" if view.engine_pid is None else f"pid {view.engine_pid}"
    age = (datetime.now(UTC) - datetime.fromisoformat(view.created_at)).total_seconds()
    took = duration(view.duration) if view.settled_at else ""
    return (view.id, state, view.name, duration(max(0.0, age)), took, view.attempts or "", engine, note_of(view))


def step_rows(detail: DetailView, *, with_branches: bool) -> list[tuple[object, ...]]:
    """The steps in the order of the tree, for STEP_COLUMNS; on a terminal each id with the branches that lead to it."""
    return [
        (
            f"{branches}{node.step.id}" if with_branches else node.step.id,
            node.step.kind,
            node.step.name,
            node.step.state,
            duration(node.step.duration),
            node.step.tries if node.step.tries > 1 else node.step.attempts or "",
            node.step.error or node.step.note,
        )
        for branches, node, _ in drawn(tree(detail.steps))
    ]


def note_of(view: ExecutionView) -> str:
    """The most useful thing to know about it."""
    if view.worker_stuck:
        return f"{view.worker_stuck}; `durable interrupt {view.id}` ends it"
    if view.unknown_capabilities:
        names = ", ".join(view.unknown_capabilities)
        return f"waits for an engine that knows the capability {names}; `durable resume {view.id}`"
    if view.stuck and view.deployment:
        return (
            f"no living engine of deployment {view.deployment} serves {view.function}; start one, or"
            f" `durable deployment move NAME {view.id}`"
        )
    if view.stuck:
        instance = instance_of(view.function)
        lacking = "" if instance is None else f": none has a {instance[0]} registered as {instance[1]!r}"
        return f"no living engine serves {view.function}{lacking}; `durable resume {view.id}`"
    if view.retry is not None and view.settled_at is None:
        return f"retry {view.retry.number} of step {view.retry.step} at {view.retry.next_at}: {view.retry.error}"
    waits = [*view.waits_for, *(f"signal {name}" for name in view.signals)]
    if waits:
        return "for " + ", ".join(waits)
    return view.error or view.note or view.last_error or ""


def duration(seconds: float) -> str:
    """A duration for people: 0.3 s, 12 s, 4 m 10 s, 3 h 20 m, 5 d 2 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, length, next_unit, next_length in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // next_length} {next_unit}"
    return f"{whole} s"
