"""Answers to clients of one store, compared: as if every request had been done at one moment of its time.

A history's line: kind, subject, argument, when it was asked, when it was answered, status, and what matters of the
answer. All times are of one clock. Each check takes the lines of one subject.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from durable.core.limits import ATTEMPTS_FAILED_MAX


class Line(NamedTuple):
    """One request."""

    kind: str
    subject: str
    argument: Any
    began: int
    ended: int
    status: int
    answer: Any


def shortened(kind: str, answer: Any) -> Any:
    """What a check needs of an answer's data."""
    if answer is None:
        return None
    if kind in ("promise.get", "promise.create", "promise.settle", "task.fulfill"):
        promise = answer["promise"]
        return [promise["state"], promise["value"].get("data")]
    if kind == "task.acquire":
        return answer["task"]["version"]
    if kind == "cell.submit":
        return [answer["n"], answer["task"] and answer["task"]["version"]]
    if kind in ("session.open", "session.take"):
        return answer["epoch"]
    return answer["end"] if kind == "output.append" else None


def check(paths: Iterable[Path], rows_of: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, int]:
    """AssertionError says what does not fit together; else how much was looked at."""
    subjects: dict[str, list[Line]] = defaultdict(list)
    count = 0
    for path in paths:
        with path.open() as history:
            for text in history:
                line = Line(*json.loads(text))
                subjects[line.subject].append(line)
                count += 1
    tables = {
        "promises": {row[0]: row[1:] for row in rows_of("SELECT id, state, value_data FROM promises")},
        "tasks": {row[0]: row[1] for row in rows_of("SELECT id, version FROM tasks")},
        "sessions": {row[0]: row[1:] for row in rows_of("SELECT name, epoch, next_n FROM sessions")},
        "output": dict(rows_of("SELECT execution, sum(length)::bigint FROM output GROUP BY execution")),
    }
    acquired_at_once = _sessions(subjects, tables["sessions"])
    settled = 0
    for subject, lines in subjects.items():
        if subject.startswith("exec:"):
            settled += _promise(subject, lines, tables["promises"].get(subject))
            _versions(subject, lines, tables["tasks"].get(subject, 0), acquired_at_once.get(subject))
            _output(subject, lines, tables["output"].get(subject, 0))
    return {"operations": count, "subjects": len(subjects), "settled": settled}


def _promise(subject: str, lines: list[Line], row: tuple[Any, ...] | None) -> bool:
    """A register that is set once: the first settlement wins, and everybody sees it from then on."""
    looks = [line for line in lines if isinstance(line.answer, list)]
    outcomes = {tuple(line.answer) for line in looks if line.answer[0] != "pending"}
    assert len(outcomes) <= 1, f"{subject} was settled twice: {outcomes}"
    made = min((line.ended for line in looks), default=None)
    for line in lines:
        if line.kind == "promise.get" and line.status == 404 and made is not None:
            assert line.began <= made, f"{subject} was there, and then was not: {line}"
    if not outcomes:
        return False
    assert row == next(iter(outcomes)), f"{subject} is {row} at the end, {outcomes} was answered"
    seen = min(line.ended for line in looks if line.answer[0] != "pending")
    late = [line for line in looks if line.answer[0] == "pending" and line.began > seen]
    assert not late, f"{subject} was settled, and then was not: {late}"
    tried = [line for line in lines if line.kind in ("promise.settle", "task.fulfill")]
    asked = {tuple(line.argument[:2]): line.began for line in tried}
    releases = sorted(line.began for line in lines if line.kind == "task.release" and line.status == 200)
    if row not in asked and b"ExecutionLost" in base64.b64decode(str(row[1])):
        assert len(releases) >= ATTEMPTS_FAILED_MAX, f"{subject} was given up after {len(releases)} attempts"
        asked[row] = releases[0]
    assert row in asked, f"{subject} was settled as nobody asked: {row}"
    assert asked[row] <= seen, f"{subject} was settled before anybody asked"
    return True


def _versions(subject: str, lines: list[Line], version: int, acquired_at_once: Line | None) -> None:
    """Each version was given once, in order, and none of it was used after the next one was given."""
    given: dict[int, Line] = {} if acquired_at_once is None else {1: acquired_at_once}
    for line in lines:
        if line.kind == "task.acquire" and line.status == 200:
            assert line.answer == line.argument + 1, f"{subject}: {line}"
            assert line.answer not in given, f"{subject} was acquired twice in version {line.answer}"
            given[line.answer] = line
    assert sorted(given) == list(range(1, version + 1)), f"{subject} has version {version}, given were {sorted(given)}"
    for number in range(2, version + 1):
        assert given[number].ended > given[number - 1].began, f"{subject}: version {number} came before {number - 1}"
    for line in lines:
        used = {"task.fence": line.argument, "task.release": line.argument, "task.suspend": line.argument}.get(
            line.kind
        )
        if line.kind == "task.fulfill" and line.status == 200:
            used = line.argument[2]
        if used is None or line.status != 200:
            continue
        assert used in given, f"{subject}: nobody had version {used}: {line}"
        assert line.ended > given[used].began, f"{subject}: version {used} was used before it was given: {line}"
        after = given.get(used + 1)
        assert after is None or line.began < after.ended, f"{subject}: {line} after {after}"


def _output(subject: str, lines: list[Line], length: int) -> None:
    """What was printed is there, once."""
    printed = [line for line in lines if line.kind == "output.append" and line.argument and line.status == 200]
    ends = [line.answer for line in printed]
    assert max(ends, default=0) == length, f"{subject} has {length} characters, {max(ends, default=0)} were confirmed"
    places: dict[int, set[int]] = defaultdict(set)
    for line in printed:
        start, count = line.argument
        assert line.answer == start + count, f"{subject}: {line}"
        assert line.answer not in places[start], f"{subject} was printed twice at {start}"
        places[start].add(line.answer)


def _sessions(subjects: dict[str, list[Line]], rows: dict[str, tuple[Any, ...]]) -> dict[str, Line]:
    """Numbers of cells are given once, in order; epochs never shrink. The cells that were acquired at once, by id."""
    acquired: dict[str, Line] = {}
    for session, (epoch, next_n) in rows.items():
        lines = subjects[session]
        cells = sorted(
            (line for line in lines if line.kind == "cell.submit" and line.status == 200),
            key=lambda each: each.answer[0],
        )
        numbers = [line.answer[0] for line in cells]
        assert numbers == list(range(1, next_n)), f"{session} has numbers up to {next_n - 1}, given were {numbers}"
        _in_order(session, [(line.answer[0], line) for line in cells])
        owned = [line for line in lines if line.kind in ("session.open", "session.take") and line.status == 200]
        _in_order(session, sorted(((line.answer, line) for line in owned), key=lambda each: each[0]))
        assert max((line.answer for line in owned), default=0) == epoch, f"{session}: epoch {epoch} was told to nobody"
        for line in cells:
            if line.answer[1] is not None:
                assert line.answer[1] == 1, f"{session}: {line}"
                acquired[f"exec:{session}@{line.answer[0]}"] = line
    return acquired


def _in_order(subject: str, numbered: list[tuple[int, Line]]) -> None:
    """Nothing with a greater number was answered before something with a smaller one was asked."""
    soonest: tuple[int, Line] | None = None
    for number, line in reversed(numbered):
        if soonest is not None and number < soonest[0]:
            assert soonest[1].ended > line.began, f"{subject}: {soonest} was answered before {line} was asked"
        if soonest is None or line.ended < soonest[1].ended:
            soonest = (number, line)
