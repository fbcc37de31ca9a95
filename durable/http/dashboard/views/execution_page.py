"""One execution as page models: what it waits for, its timeline and tree, its steps page by page. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from durable.engine.step_outline import StepOutline
from durable.engine.views import iso, title_of
from durable.executions.forking import RETRIED
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.execution_list import note_of, parent_of
from durable.http.dashboard.views.timeline import (
    Bar,
    TimeAxis,
    bar,
    bar_kind,
    time_axis,
    times_of,
    whole_lane,
)
from durable.http.dashboard.views.value_text import VALUE_CHARS_MAX, preview
from durable.records.view_models import DetailView, ExecutionView, StepView
from durable.store.rows import DiscardRow, ExecutionRow

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
    """One page of steps, each with its depth, and the drawn whole."""

    axis: TimeAxis
    lane: list[Bar]
    steps: list[tuple[int, StepOutline]]
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


def awaited(detail: DetailView, retried: StepView | None, waiting: Sequence[StepOutline]) -> str:
    """One sentence that says what an execution waits for, or what is next.

    waiting: the steps that have not ended. retried: the first of them that is tried again.
    """
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
    if retried is not None and retried.retries:
        last = retried.retries[-1]
        return f"Step {retried.name or retried.id} is tried again at {last.next_at}, after: {last.error}"
    if waiting and view.state == "waiting":
        return "It waits for " + ", ".join(_awaited_step(step) for step in waiting[:3])
    if view.state == "pending":
        return "It waits for an engine that has room."
    if waiting:
        return "Now runs " + ", ".join(step.name or step.kind for step in waiting[:3])
    return "Its own code runs."


def _awaited_step(step: StepOutline) -> str:
    words = {"sleep": "a time", "signal": "a signal", "promise": "a promise", "child": "a child"}
    return f"{words.get(step.kind, step.kind)} ({step.name})" if step.name else words.get(step.kind, step.kind)


def steps_page(
    row: ExecutionRow,
    ordered: Sequence[tuple[int, StepOutline]],
    now_ms: float,
    *,
    page: int | None = None,
    window: tuple[float, float] | None = None,
    fold: bool = True,
) -> StepsPage:
    """The steps of one page, in the order of the tree; the last page where none is named.

    ordered: every step with its depth. window: the times that are drawn; all where it is None.
    """
    first, last = float(row.created_at), now_ms if row.settled_at is None else float(row.settled_at)
    begin, end = window or (first, last)
    busy = [times_of(step, now_ms) for _, step in ordered if bar_kind(step) in ("run", "child")]
    own = sorted((step for _, step in ordered if step.parent == row.id), key=lambda step: step.created_at)
    # Its own code runs before the first operation and after the last one, and between two of them.
    edges = [each for step in own for each in times_of(step, now_ms)]
    busy += [(each - 50, each + 50) for each in edges]
    axis = time_axis(begin, end, busy, fold=fold)
    lane = whole_lane(axis, own, first, last)
    pages = max(1, -(-len(ordered) // STEPS_MAX))
    number = pages if page is None else min(max(1, page), pages)
    shown = ordered[(number - 1) * STEPS_MAX : number * STEPS_MAX]
    return StepsPage(axis, lane, list(shown), len(ordered), number, pages)


def step_lines(
    page: StepsPage, execution: str, views: Mapping[str, StepView], long: Collection[str], now_ms: float
) -> list[StepLine]:
    """The lines of a page. views: its steps by id, but for those that are gone. long: those whose values are too long
    to be in the views."""
    return [
        _line(execution, page.axis, depth, step, views[step.id], step.id in long, now_ms)
        for depth, step in page.steps
        if step.id in views
    ]


def _line(
    execution: str, axis: TimeAxis, depth: int, outline: StepOutline, step: StepView, is_long: bool, now_ms: float
) -> StepLine:
    begin, end = times_of(outline, now_ms)
    text = f"{step.name or step.kind}: {step.state}"
    drawn = bar(axis, begin, end, bar_kind(outline), text, failed=outline.failed)
    retried = (each.timeout_at for each in outline.retries)
    own = step.id.rpartition(".")
    shown = step.error or step.note or ("" if step.value is None else preview(step.value))
    if is_long:
        shown = f"{'An error' if outline.failed else 'A value'} of more than {VALUE_CHARS_MAX:,} characters"
    return StepLine(
        step=step,
        depth=min(depth, DEPTH_MAX),
        number=int(own[2]) if own[0] == execution and own[2].isdigit() else 0,
        bar=drawn,
        ticks=tuple(axis.place(at) for at in retried if axis.begin_ms <= at <= axis.end_ms),
        preview=preview(shown),
        detail_url=url_of("executions", execution, "steps", step.id),
        execution_url=url_of("executions", step.id) if step.kind in ("child", "cell") else "",
    )


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Something that happened to an execution, as its record tells it."""

    at: str
    kind: str
    what: str
    text: str


class PlacedEvent(NamedTuple):
    """An event: when (ms), what kind, of what, and its text. step, retry: what its text is still to be looked up in."""

    at: int
    kind: str
    what: str
    text: str
    step: StepOutline | None = None
    retry: int | None = None


def events_of(row: ExecutionRow, steps: Sequence[StepOutline], discards: Sequence[DiscardRow]) -> list[PlacedEvent]:
    """The events of an execution in order of time: made, each operation begun, tried again and ended, settled."""
    found = [PlacedEvent(row.created_at, "created", row.id, title_of(row))]
    for step in steps:
        label = f"{step.kind} {step.name}".strip()
        found.append(PlacedEvent(step.created_at, "asked" if step.kind == "input" else "begun", step.id, label))
        for n, retry in enumerate(step.retries):
            found.append(PlacedEvent(retry.timeout_at, "retried", step.id, label, step, n))
        if step.settled_at is not None and step.failed:
            found.append(PlacedEvent(step.settled_at, "failed", step.id, label, step))
        elif step.settled_at is not None:
            found.append(PlacedEvent(step.settled_at, "ended", step.id, label))
    found += [PlacedEvent(each.at, "discarded", each.step, each.reason) for each in discards]
    if row.settled_at is not None:
        found.append(PlacedEvent(row.settled_at, row.state, row.id, ""))
    return sorted(found, key=lambda event: event.at)


def told_event(event: PlacedEvent, views: Mapping[str, StepView], error: str | None) -> RecordEvent:
    """An event with its whole text. views: the steps that failed or were tried again, by their ids. error: of the
    execution, where it failed."""
    text, known = event.text, None if event.step is None else views.get(event.step.id)
    if event.kind in OVER:
        text = preview(error or "")
    elif known is not None and event.retry is None:
        text = preview(known.error or text)
    elif known is not None and event.retry is not None and event.retry < len(known.retries):
        text = preview(known.retries[event.retry].error)
    return RecordEvent(iso(event.at) or "", event.kind, event.what, text)


EVENT_KINDS = ("created", "begun", "asked", "retried", "ended", "failed", "discarded")
"""The kinds of events by which they are chosen."""
