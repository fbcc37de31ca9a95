"""One execution as page models: what it waits for, its timeline and tree, its steps page by page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from durable.executions.forking import RETRIED
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.execution_list import note_of, parent_of
from durable.http.dashboard.views.timeline import (
    Bar,
    TimeAxis,
    as_ms,
    bar,
    bar_kind,
    time_axis,
    times_of,
    whole_lane,
)
from durable.http.dashboard.views.value_text import preview
from durable.records.view_models import DetailView, ExecutionView, StepView
from durable.store.rows import ExecutionRow

STEPS_MAX = 100
"""Steps of one page."""

DEPTH_MAX = 4
"""Levels of the tree that are set in; what is deeper stands at the last one."""

OVER = frozenset(("completed", "failed", "lost", "cancelled", "timed_out"))


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step in the tree, with its bar. `number`: of the execution's own operations, for forking before it; else 0."""

    step: StepView
    depth: int
    number: int
    bar: Bar | None
    ticks: tuple[float, ...]
    preview: str
    detail_url: str
    execution_url: str


@dataclass(frozen=True, slots=True)
class StepsPage:
    """One page of steps, and the drawn whole."""

    axis: TimeAxis
    lane: list[Bar]
    lines: list[StepLine]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class ExecutionActions:
    """The actions that an execution can have as it stands, whoever may do them."""

    interrupt: bool
    resume: bool
    cancel: bool
    retry: bool
    fork: bool
    signal: bool


def actions_for(view: ExecutionView) -> ExecutionActions:
    """The actions that make sense in the state that it is in."""
    is_open, is_function = view.state not in OVER, view.kind == "function"
    return ExecutionActions(
        interrupt=is_open and view.state != "interrupted",
        resume=view.state == "interrupted",
        cancel=is_open,
        retry=is_function and view.state in RETRIED,
        fork=is_function,
        signal=is_open and is_function,
    )


def parent_url_of(row: ExecutionRow) -> tuple[str, str] | None:
    """The execution that began this one, and its page."""
    parent = parent_of(row)
    return (parent, url_of("executions", parent)) if parent else None


def awaited(detail: DetailView) -> str:
    """One sentence that says what an execution waits for, or what is next."""
    view = detail.execution
    if view.state in OVER:
        return ""
    if view.state == "interrupted":
        return f"It was stopped ({note_of(view) or 'interrupted'}); resuming goes on from here."
    if view.stuck:
        return f"It cannot go on: {note_of(view)}."
    if detail.prompts:
        asked = "; ".join(prompt.question for prompt in detail.prompts[:3])
        return f"It waits for an answer: {asked}"
    waiting = [step for step in detail.steps if step.settled_at is None]
    retrying = [step for step in waiting if step.retries]
    if retrying:
        last = retrying[0].retries[-1]
        return f"Step {retrying[0].name or retrying[0].id} is tried again at {last.next_at}, after: {last.error}"
    if waiting and view.state == "waiting":
        return "It waits for " + ", ".join(_awaited_step(step) for step in waiting[:3])
    if view.state == "pending":
        return "It waits for an engine that has room."
    if waiting:
        return "Now runs " + ", ".join(step.name or step.kind for step in waiting[:3])
    return "Its own code runs."


def _awaited_step(step: StepView) -> str:
    words = {"sleep": "a time", "signal": "a signal", "promise": "a promise", "child": "a child"}
    return f"{words.get(step.kind, step.kind)} ({step.name})" if step.name else words.get(step.kind, step.kind)


def steps_page(
    detail: DetailView,
    ordered: Sequence[tuple[int, StepView]],
    now_ms: float,
    *,
    page: int | None = None,
    window: tuple[float, float] | None = None,
    fold: bool = True,
) -> StepsPage:
    """The steps of one page, in the order of the tree; the last page where none is named.

    ordered: every step with its depth. window: the times that are drawn; all where it is None.
    """
    view = detail.execution
    begin = as_ms(view.created_at)
    end = now_ms if view.settled_at is None else as_ms(view.settled_at)
    if window is not None:
        begin, end = window
    busy = [times_of(step, now_ms) for step in detail.steps if bar_kind(step) in ("run", "child")]
    own = [step for step in detail.steps if step.parent == view.id]
    # Its own code runs before the first operation and after the last one, and between two of them.
    edges = [each for step in own for each in times_of(step, now_ms)]
    busy += [(each - 50, each + 50) for each in edges]
    axis = time_axis(begin, end, busy, fold=fold)
    lane = whole_lane(axis, own, as_ms(view.created_at), now_ms if view.settled_at is None else as_ms(view.settled_at))
    pages = max(1, -(-len(ordered) // STEPS_MAX))
    number = pages if page is None else min(max(1, page), pages)
    shown = ordered[(number - 1) * STEPS_MAX : number * STEPS_MAX]
    lines = [_line(view, axis, depth, step, now_ms) for depth, step in shown]
    return StepsPage(axis, lane, lines, len(ordered), number, pages)


def _line(view: ExecutionView, axis: TimeAxis, depth: int, step: StepView, now_ms: float) -> StepLine:
    begin, end = times_of(step, now_ms)
    failed = step.error is not None
    drawn = bar(axis, begin, end, bar_kind(step), f"{step.name or step.kind}: {step.state}", failed=failed)
    retried = (as_ms(each.next_at) for each in step.retries)
    ticks = tuple(axis.place(at) for at in retried if axis.begin_ms <= at <= axis.end_ms)
    own = step.id.rpartition(".")
    number = int(own[2]) if own[0] == view.id and own[2].isdigit() else 0
    shown = step.error or step.note or ("" if step.value is None else preview(step.value))
    return StepLine(
        step=step,
        depth=min(depth, DEPTH_MAX),
        number=number,
        bar=drawn,
        ticks=ticks,
        preview=preview(shown),
        detail_url=url_of("executions", view.id, "steps", step.id),
        execution_url=url_of("executions", step.id) if step.kind in ("child", "cell") else "",
    )


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Something that happened to an execution, as its record tells it."""

    at: str
    kind: str
    what: str
    text: str


def events_of(detail: DetailView) -> list[RecordEvent]:
    """The events of an execution in order of time: made, each operation begun, tried again and ended, settled."""
    view = detail.execution
    found = [RecordEvent(view.created_at, "created", view.id, view.name)]
    for step in detail.steps:
        found += _step_events(step)
    found += [RecordEvent(each.at, "discarded", each.step, each.reason) for each in detail.discards]
    if view.settled_at is not None:
        found.append(RecordEvent(view.settled_at, view.state, view.id, preview(view.error or "")))
    return sorted(found, key=lambda event: event.at)


def _step_events(step: StepView) -> Iterator[RecordEvent]:
    label = f"{step.kind} {step.name}".strip()
    yield RecordEvent(step.created_at, "asked" if step.kind == "input" else "begun", step.id, label)
    for retry in step.retries:
        yield RecordEvent(retry.next_at, "retried", step.id, preview(retry.error))
    if step.settled_at is not None:
        yield RecordEvent(step.settled_at, "failed" if step.error else "ended", step.id, preview(step.error or label))


EVENT_KINDS = ("created", "begun", "asked", "retried", "ended", "failed", "discarded")
