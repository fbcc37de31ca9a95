"""A user's function killed at every write, each time gone on with, and compared with itself (specs/testing.md)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable.core import ids
from durable.core.errors import BadArguments
from durable.functions.definition import Function, require_durable
from durable.records.values import unpack
from durable.testing.crash_life import NAME, CrashPoint, LifeJournal, LifeResult, live, make_template
from durable.testing.errors import CrashDiffers
from durable.testing.fake_time import BEGIN
from durable.testing.own_thread import run_in_thread

if TYPE_CHECKING:
    from durable.testing.engine_under_test import EngineUnderTest

_ANSWER = ("data", "value", "declined")
_CELL = ("value", "repr", "stdout", "stderr", "error")

SHOWN_MAX = 10
"""Crashes that a message tells of."""


@dataclass(frozen=True, slots=True)
class CrashReport:
    """The outcome of a function that was killed everywhere: always the same, else there is no report.

    points: how often it was killed, each time in a run of its own. performed_again: by name, the steps that ran again
    since they were killed before their result was recorded, and after how many of the crashes; what such a step does
    has to be safe to do twice (`durable.call_id()` is its key). by_chance: names of operations that came to something
    else in another run without any crash being the reason: their values are left to chance or to time.
    """

    state: str
    value: Any
    points: int
    performed_again: dict[str, int]
    by_chance: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The settings that all runs have in common."""

    template: Path
    options: dict[str, Any]
    before: Callable[[], object] | None
    check: Callable[[], object] | None
    compare: Callable[[Any], object] | None
    processes: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its last life, and the steps that each of its lives ran."""

    end: LifeResult
    steps: list[list[str]]


def crash_everywhere(
    fn: Function[..., Any],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    before: Callable[[], object] | None = None,
    check: Callable[[], object] | None = None,
    compare: Callable[[Any], object] | None = None,
    prepare: Callable[[EngineUnderTest], Awaitable[object]] | None = None,
    every: int = 1,
    only: str | None = None,
    processes: bool = False,
    **options: Any,
) -> CrashReport:
    """Run a durable function undisturbed, then once for each write of its engine, killed there and gone on with.

    Each run has to end as the first did, with the same operations and results; what was recorded before the crash must
    neither change nor be performed again. Raises CrashDiffers, an AssertionError, with every point where that failed.

    args, kwargs: of the function. before: called before each run, to empty what a test collects. check: called after
    each run; what it raises is a difference. compare: what of the value is compared. prepare: takes an engine, makes
    sessions. every: only each n-th point. only: one point of an earlier report. processes: each life is a process that
    SIGKILL ends, so that what is in memory is lost; else it is an engine in this process that is dropped. options: of
    `durable.testing.open`: answers, signals, promises, fakes, capabilities. May be called with or without a running
    loop, which it blocks; the function runs on loops of its own.
    """
    require_durable(fn)
    with tempfile.TemporaryDirectory(prefix="durable-crash-", ignore_cleanup_errors=True) as folder:
        template = Path(folder) / "template"

        async def start(engine: EngineUnderTest) -> None:
            if prepare is not None:
                await prepare(engine)
            await engine.start(fn, *args, id=NAME, **(kwargs or {}))

        make_template(template, start)
        plan = _Plan(template, options, before, check, compare, processes)
        undisturbed = _run(plan, Path(folder) / "undisturbed", None)
        _check(plan, "undisturbed")
        differences: list[str] = []
        again: Counter[str] = Counter()
        chance: set[str] = set()
        points = list(_points(undisturbed.end.commits))[:: max(1, every)]
        if only is not None:
            points = [each for each in points if str(each) == only]
            if not points:
                raise BadArguments(f"there is no point {only!r}; write for instance only='after commit 3'")
        for point in points:
            place = Path(folder) / str(point).replace(" ", "-")
            run = _run(plan, place, point)
            differences += [f"killed {point}: {each}" for each in _differences(plan, undisturbed, run, chance)]
            again.update({step.partition(" ")[2] for step in _twice(run)})
            shutil.rmtree(place, ignore_errors=True)
        if differences:
            raise CrashDiffers(_message(fn.name, len(points), differences), differences)
        end = undisturbed.end
        return CrashReport(end.state, end.value, len(points), dict(again), tuple(sorted(chance)))


def _points(commits: int) -> Iterator[CrashPoint]:
    for number in range(1, commits + 1):
        yield CrashPoint(number, "before")
        yield CrashPoint(number, "after")


def _message(name: str, points: int, differences: list[str]) -> str:
    shown = "\n".join(f"  - {each}" for each in differences[:SHOWN_MAX])
    more = f"\n  and {len(differences) - SHOWN_MAX} more" if len(differences) > SHOWN_MAX else ""
    first = differences[0].removeprefix("killed ").partition(":")[0]
    return (
        f"{name} was killed at {points} points, and did not always do what it does undisturbed:\n{shown}{more}\n"
        f"one of them again: crash_everywhere(…, only={first!r})"
    )


def _check(plan: _Plan, what: str) -> list[str]:
    if plan.check is None:
        return []
    try:
        plan.check()
    except Exception as error:
        if what == "undisturbed":
            raise
        return [f"check raised {type(error).__name__}: {str(error).strip() or error!r}"]
    return []


# -- running ---------------------------------------------------------------------------------------------------------


def _run(plan: _Plan, folder: Path, crash: CrashPoint | None) -> _Run:
    """One run in a folder of its own: a life, and where that was killed another one."""
    if plan.before is not None:
        plan.before()
    shutil.copytree(plan.template, folder)
    journal = LifeJournal(folder)
    one = _forked if plan.processes else live
    end = one(folder, plan.options, crash)
    first = len(journal.read())
    if end is None:
        end = one(folder, plan.options, None)
        assert end is not None, "a life that is not killed ends by itself"
    lines = journal.read()
    lives = [lines[:first], lines[first:]]
    return _Run(end, [[text for kind, text in life if kind == "step"] for life in lives])


def _forked(folder: Path, options: Mapping[str, Any], crash: CrashPoint | None) -> LifeResult | None:
    """One life in a process of its own."""
    return run_in_thread(lambda: _in_child(folder, options, crash))  # where no loop runs


def _in_child(folder: Path, options: Mapping[str, Any], crash: CrashPoint | None) -> LifeResult | None:
    result = folder / "result"
    with _fork_allowed():
        child = os.fork()
    if child == 0:
        try:
            found = live(folder, options, crash, real=True)
            assert found is not None
            result.write_text(json.dumps(asdict(found)))
        except BaseException as error:
            result.write_text(json.dumps(f"{type(error).__name__}: {error}"))
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGKILL:
        return None
    said = json.loads(result.read_text()) if result.exists() else f"the process ended with {status}"
    if isinstance(said, str):
        raise RuntimeError(f"a life failed: {said}")
    return LifeResult(**said)


@contextmanager
def _fork_allowed() -> Iterator[None]:
    """Python warns where other threads are: the child has only this one, and touches nothing of theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


# -- comparing -------------------------------------------------------------------------------------------------------


def _differences(plan: _Plan, undisturbed: _Run, run: _Run, chance: set[str]) -> list[str]:
    found = _check(plan, "crashed")
    wanted, end = undisturbed.end, run.end
    if end.state != wanted.state:
        return [*found, f"it is {end.state}, not {wanted.state}: {_short(end.value)}"]
    for promise in end.record["promises"][1:]:
        before = end.found.get(promise["id"])
        if before is not None and before != _settled(promise):
            found.append(f"the record of {_place(promise['id'])} changed, from {before} to {_settled(promise)}")
    found += [f"step {step} ran again, and its result was recorded" for step in _recorded_again(run)]
    mine, theirs = _operations(end), _operations(wanted)
    others = {name for _, name, *_ in (mine - theirs) + (theirs - mine)}
    chance |= others
    compared, expected = end.value, wanted.value
    if plan.compare is not None:
        compared, expected = plan.compare(compared), plan.compare(expected)
    later_s = max(0.0, (end.ended_at - wanted.ended_at) / 1000)
    if (plan.compare is not None or not others) and not _same(expected, compared, later_s):
        found.append(f"it came to {_short(compared)}, not {_short(expected)}")
    return found


def _same(wanted: Any, found: Any, later_s: float) -> bool:
    """Whether two values are equal, but for times that are later by what going on after the crash took."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(_same(wanted[key], found[key], later_s) for key in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_same, wanted, found, [later_s] * len(found)))
    if wanted == found:
        return True
    times = _time(wanted), _time(found)
    return None not in times and -later_s <= times[0] - times[1] <= 0  # type: ignore[operator]


def _time(value: Any) -> float | None:
    """A time as seconds since the epoch, where the value is one since fake time began."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        value = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    seconds = value / 1000 if value >= BEGIN.timestamp() * 1000 else value
    return seconds if seconds >= BEGIN.timestamp() else None


def _operations(end: LifeResult) -> Counter[tuple[str, str, str, str]]:
    """The operations and their outcomes, how often each: the order of concurrent branches is left to them."""
    return Counter(
        (tags["durable:kind"], tags.get("durable:name", ""), tags.get("durable:digest", ""), _came_to(promise))
        for promise in end.record["promises"][1:]
        if (tags := promise.get("tags") or {}).get("durable:kind")
    )


def _came_to(promise: dict[str, Any]) -> str:
    """As `_settled`, without what tells one answer or cell from another that came to the same."""
    value = unpack((promise.get("value") or {}).get("data"))
    said = {"input": _ANSWER, "execute": _CELL}.get(promise["tags"]["durable:kind"], ())
    if isinstance(value, dict) and said:
        return json.dumps([promise["state"], *map(value.get, said)])
    return _settled(promise)


def _settled(promise: dict[str, Any]) -> str:
    return "" if promise["state"] == "pending" else json.dumps([promise["state"], promise.get("value")], sort_keys=True)


def _twice(run: _Run) -> set[str]:
    """The steps of the second life that the first one ran too."""
    first, second = run.steps
    return set(first) & set(second)


def _recorded_again(run: _Run) -> list[str]:
    return [step for step in run.steps[1] if f"{ids.PREFIX}{step.partition(' ')[0]}" in run.end.found]


def _place(promise_id: str) -> str:
    return promise_id.removeprefix(f"{ids.PREFIX}{NAME}")


def _short(value: object) -> str:
    return f"{value!r:.500}"
