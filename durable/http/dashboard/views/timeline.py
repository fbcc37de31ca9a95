"""The timeline of an execution: bars on an axis of time on which long idle stretches are folded. Pure.

Places are fractions of the drawn width, from 0 to 1; times are milliseconds since the epoch (specs/dashboard.md, T).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from durable.engine.step_outline import StepOutline

type BarKind = Literal["queue", "run", "people", "timer", "child", "idle"]

IDLE_MIN_MS = 2_000
IDLE_FACTOR = 0.2
"""A stretch in which nothing runs is folded where it is longer than both: so many ms, and so much of all the rest."""

FOLD_WIDTH_FACTOR = 0.06
"""The drawn width of a folded stretch."""

NARROW_FACTOR = 0.002
"""The drawn width below which stretches of a lane are one: two pixels of a wide page."""

FOLDS_MAX = 8
"""Folded stretches; the longest ones are."""

_KINDS: dict[str, BarKind] = {
    "input": "people",
    "sleep": "timer",
    "signal": "timer",
    "promise": "timer",
    "child": "child",
}


class Fold(NamedTuple):
    """A stretch that is drawn shorter than it is: where it stands, how wide, and its length."""

    place: float
    width: float
    seconds: float


class Bar(NamedTuple):
    """A drawn stretch of time: where it begins, how wide, its kind, and what it says."""

    place: float
    width: float
    kind: BarKind
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Time as places. `knots` are times and their places, in order; between two of them time runs evenly."""

    knots: tuple[tuple[float, float], ...]
    folds: tuple[Fold, ...] = ()

    def place(self, at_ms: float) -> float:
        """Where a time is drawn; before the beginning 0, after the end 1."""
        times = [time for time, _ in self.knots]
        n = bisect_right(times, at_ms)
        if n == 0:
            return 0.0
        if n == len(times):
            return 1.0
        (t0, p0), (t1, p1) = self.knots[n - 1], self.knots[n]
        return p0 if t1 == t0 else p0 + (p1 - p0) * (at_ms - t0) / (t1 - t0)

    @property
    def begin_ms(self) -> float:
        return self.knots[0][0]

    @property
    def end_ms(self) -> float:
        return self.knots[-1][0]


def time_axis(begin_ms: float, end_ms: float, busy: Iterable[tuple[float, float]], *, fold: bool = True) -> TimeAxis:
    """The axis from one time to another; stretches outside `busy` are idle, and folded where they are long."""
    end_ms = max(end_ms, begin_ms + 1)
    idle = _gaps(begin_ms, end_ms, busy) if fold else []
    rest = (end_ms - begin_ms) - sum(end - begin for begin, end in idle)
    idle = [each for each in idle if each[1] - each[0] > max(IDLE_MIN_MS, IDLE_FACTOR * max(rest, 1.0))]
    idle = sorted(sorted(idle, key=lambda each: each[0] - each[1])[:FOLDS_MAX])
    if not idle:
        return TimeAxis(((begin_ms, 0.0), (end_ms, 1.0)))
    shown_ms = max(1.0, (end_ms - begin_ms) - sum(end - begin for begin, end in idle))
    scale = (1 - FOLD_WIDTH_FACTOR * len(idle)) / shown_ms
    knots, folds, place, last = [(begin_ms, 0.0)], list[Fold](), 0.0, begin_ms
    for begin, end in idle:
        place += (begin - last) * scale
        folds.append(Fold(place, FOLD_WIDTH_FACTOR, (end - begin) / 1000))
        knots += [(begin, place), (end, place + FOLD_WIDTH_FACTOR)]
        place, last = place + FOLD_WIDTH_FACTOR, end
    return TimeAxis((*knots, (end_ms, 1.0)), tuple(folds))


def _gaps(begin_ms: float, end_ms: float, busy: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The stretches in which nothing is busy."""
    gaps, at = [], begin_ms
    for begin, end in sorted(busy):
        if begin > at:
            gaps.append((at, min(begin, end_ms)))
        at = max(at, end)
    if at < end_ms:
        gaps.append((at, end_ms))
    return gaps


def bar_kind(step: StepOutline) -> BarKind:
    """Which kind of stretch a step is."""
    return _KINDS.get(step.kind, "run")


def times_of(step: StepOutline, now_ms: float) -> tuple[float, float]:
    """When a step began and ended; one that has not ended goes until now."""
    return step.created_at, now_ms if step.settled_at is None else step.settled_at


def bar(
    axis: TimeAxis, begin_ms: float, end_ms: float, kind: BarKind, text: str, *, failed: bool = False
) -> Bar | None:
    """A stretch as it is drawn; None where it lies outside."""
    if end_ms < axis.begin_ms or begin_ms > axis.end_ms:
        return None
    place = axis.place(begin_ms)
    return Bar(place, max(0.002, axis.place(end_ms) - place), kind, text, failed)


def whole_lane(axis: TimeAxis, steps: Sequence[StepOutline], begin_ms: float, end_ms: float) -> list[Bar]:
    """The whole execution as one lane: at each time something ran, or people, a time or a signal were waited for.

    "idle" is the rest: it stood in line for an engine, or its own code ran between two operations; the record does not
    tell them apart. Until the first operation it is "queue", for the same reason.
    """
    edges: list[tuple[float, int, BarKind]] = []
    for step in steps:
        begin, end = times_of(step, end_ms)
        edges += [(begin, 1, bar_kind(step)), (end, -1, bar_kind(step))]
    open_now: dict[BarKind, int] = {}
    stretches: list[tuple[float, float, BarKind]] = []
    at = begin_ms
    for time, by, kind in [*sorted(edges, key=lambda each: (each[0], each[1])), (end_ms, 0, "idle")]:
        if time > at:
            word: BarKind = next((each for each in ("run", "child", "people", "timer") if open_now.get(each)), "idle")
            if word == "idle" and not stretches:
                word = "queue"
            if stretches and stretches[-1][2] == word:
                stretches[-1] = (stretches[-1][0], time, word)
            else:
                stretches.append((at, time, word))
            at = time
        open_now[kind] = open_now.get(kind, 0) + by
    found = (bar(axis, begin, end, kind, LANE_TEXTS[kind]) for begin, end, kind in _drawn(axis, stretches))
    return [each for each in found if each is not None]


def _drawn(axis: TimeAxis, stretches: Iterable[tuple[float, float, BarKind]]) -> list[tuple[float, float, BarKind]]:
    """The stretches, with those that are too narrow to be told apart drawn as one, of the kind that most of it is."""
    found: list[tuple[float, float, BarKind]] = []
    times: dict[BarKind, float] = {}  # of the last one, where it is of several
    for begin, end, kind in stretches:
        first = axis.place(found[-1][0]) if found else 0.0
        if found and axis.place(end) - first < NARROW_FACTOR:
            times = times or {found[-1][2]: found[-1][1] - found[-1][0]}
            times[kind] = times.get(kind, 0.0) + end - begin
            found[-1] = (found[-1][0], end, max(times, key=lambda each: times[each]))
        else:
            found.append((begin, end, kind))
            times = {}
    return found


LANE_TEXTS: dict[BarKind, str] = {
    "queue": "before its first operation",
    "run": "a step or a call",
    "people": "waits for a person",
    "timer": "waits for a time, a signal or a retry",
    "child": "waits for a child",
    "idle": "between two operations",
}
