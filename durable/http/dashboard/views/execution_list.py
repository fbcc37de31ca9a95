"""The list of executions as page models: children under their parents, and the filters of the address. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from durable.core import ids
from durable.core.errors import BadArguments
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.value_text import preview
from durable.records.view_models import ExecutionView
from durable.store.rows import ExecutionRow, State

PAGE_ROWS = 100
"""Executions of one page."""

AGES = {"1h": 3_600, "1d": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
"""The choices of `since`, in seconds."""


@dataclass(frozen=True, slots=True)
class ExecutionFilters:
    """The filters of the address; "" where one says nothing. `tag` is NAME=VALUE."""

    state: str = ""
    function: str = ""
    session: str = ""
    tag: str = ""
    since: str = ""
    before: str = ""

    def asked(self, now_ms: int) -> dict[str, Any]:
        """The arguments of `list_executions`. BadArguments for a filter that is none."""
        state: State | None = next((word for word in get_args(State.__value__) if word == self.state), None)
        if self.state and state is None:
            raise BadArguments(f"there is no state {self.state!r}; choose one of the list")
        name, equals, value = self.tag.partition("=")
        if self.tag and not (equals and name):
            raise BadArguments(f"a tag is searched as NAME=VALUE, not as {self.tag!r}")
        if self.since and self.since not in AGES:
            raise BadArguments(f"since= is one of {', '.join(AGES)}, not {self.since!r}")
        return {
            "state": state,
            "function": self.function or None,
            "session": self.session or None,
            "tag": (name, value) if self.tag else None,
            "since": now_ms - AGES[self.since] * 1000 if self.since else None,
            "before": self.before or None,
        }


@dataclass(frozen=True, slots=True)
class ExecutionLine:
    """An execution in the list. `is_child`: it stands under its parent, which is on the page as well."""

    view: ExecutionView
    url: str
    note: str
    parent: str
    parent_url: str
    is_child: bool = False
    children: int = 0


def lines(rows: Sequence[ExecutionRow], views: Sequence[ExecutionView]) -> list[ExecutionLine]:
    """The lines of a page, each child under its parent where that is on the page too."""
    made = [_line(row, view) for row, view in zip(rows, views, strict=True)]
    here = {line.view.id for line in made}
    under: dict[str, list[ExecutionLine]] = {}
    for line in made:
        if line.parent in here:
            under.setdefault(line.parent, []).append(line)
    found: list[ExecutionLine] = []
    left = [line for line in reversed(made) if line.parent not in here]
    while left:
        line = left.pop()
        children = under.get(line.view.id, [])
        found.append(replace(line, children=len(children)))
        left += [replace(child, is_child=True) for child in reversed(children)]
    return found


def _line(row: ExecutionRow, view: ExecutionView) -> ExecutionLine:
    parent = parent_of(row)
    return ExecutionLine(
        view=view,
        url=url_of("executions", view.id),
        note=preview(note_of(view)),
        parent=parent,
        parent_url=url_of("executions", parent) if parent else "",
    )


def parent_of(row: ExecutionRow) -> str:
    """The execution that began this one; "" where none did."""
    link = row.tags.get("durable:parent", "").removeprefix(ids.PREFIX)
    return link.partition(".")[0] if link else row.id.partition(".")[0] if "." in row.id else ""


def note_of(view: ExecutionView) -> str:
    """The most useful thing to know about an execution."""
    if view.worker_stuck:
        return f"{view.worker_stuck}; interrupting ends it"
    if view.unknown_capabilities:
        return f"waits for an engine that knows the capability {', '.join(view.unknown_capabilities)}"
    if view.stuck:
        return f"no engine that is alive serves {view.function}"
    if view.retry is not None and view.settled_at is None:
        return f"try {view.retry.number + 1} of step {view.retry.step} at {view.retry.next_at}: {view.retry.error}"
    if view.signals and not view.waits_for:
        return "waits for " + ", ".join(f"signal {name}" for name in view.signals)
    if view.waits_for:
        return "waits for an answer" if len(view.waits_for) == 1 else f"waits for {len(view.waits_for)} answers"
    return view.error or view.note or view.last_error or ""
