"""Foreign code killed at every point of its host calls: `python -m tests.e2e.sandbox_kills [--case TEXT] [--every N]`.

A run without a kill counts the points. Then there is one for each, whose engine is killed there by SIGKILL, and another
engine that goes on. What must hold (specs/sandbox.md, R1-R3): a call that was recorded by then is performed once, in
both lives together; one that was not is performed once more, under the same id and with the same arguments; the result
is that of the run without a kill. Prints a table; exits 1 on any difference.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from durable.store.sqlite.file import reading
from tests.e2e import killing
from tests.e2e.sandbox_kills_job import CASES, COMMAND
from tests.e2e.sandboxed import LEDGER
from tests.warm_python import PYTHON

RUN_S = 100.0


@dataclass(slots=True)
class Whole:
    """A run without a kill."""

    points: list[str]
    said: str
    effects: Counter[str]


@dataclass(slots=True)
class Row:
    """One case: its points, the kills that were survived, calls that were performed again, and what was wrong."""

    case: str
    points: int
    kills: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list)


def life(folder: Path, case: str, component: Path | None, at: str = "") -> subprocess.CompletedProcess[str]:
    """One engine, from its begin to its end."""
    environment = {**os.environ, "KILLING": str(folder), "KILLING_AT": at, "PYTHONPATH": os.getcwd()}
    environment.pop("KILLING_ENGINE", None)
    command = [PYTHON, "-m", "tests.e2e.sandbox_kills_job", str(folder), case]
    command += [str(component)] if component is not None and case.startswith("component") else []
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)


def effects(folder: Path) -> Counter[str]:
    """How often each call was performed, by its id and arguments."""
    ledger = folder / LEDGER
    return Counter(ledger.read_text().splitlines()) if ledger.exists() else Counter()


def recorded(folder: Path) -> set[str]:
    """The calls whose answers are in the store, by their ids."""
    with reading(folder / "work.db") as connection:
        return {row[0] for row in connection.execute("SELECT id FROM promises WHERE state<>'pending'")}


def whole(case: str, component: Path | None) -> Whole:
    """Run it without a kill: each call is performed once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = life(folder, case, component)
        assert done.returncode == 0, done.stderr[-3000:]
        found = effects(folder)
        assert found, "nothing was performed"
        assert set(found.values()) == {1}, found
        return Whole(killing.passed(folder, "engine"), done.stdout, found)


def killed(folder: Path, case: str, component: Path | None, number: int, expected: Whole) -> int:
    """Kill it at that point, and let another engine go on; how many calls were performed again. AssertionError."""
    first = life(folder, case, component, f"engine:{number}")
    assert first.returncode == -9, f"it was not killed: {first.returncode} {first.stderr[-2000:]}"
    before, settled = effects(folder), recorded(folder)
    for effect, count in before.items():
        assert count == 1, f"{effect} was performed {count} times before the kill"
    second = life(folder, case, component)
    assert second.returncode == 0, second.stderr[-2000:]
    assert second.stdout == expected.said, f"{second.stdout!r}, uninterrupted it is {expected.said!r}"
    after = effects(folder)
    assert set(after) == set(expected.effects), f"performed: {sorted(after)}"
    for effect, count in after.items():
        more = 0 if effect.partition(" ")[0] in settled else 1
        assert count == before[effect] + more, f"{effect}: {before[effect]} times before the kill, then {count}"
    return sum(count - 1 for count in after.values())


def campaign(case: str, component: Path | None, every: int = 1, offset: int = 0) -> Row:
    """All points of a case, or each n-th."""
    expected = whole(case, component)
    row = Row(case, len(expected.points))
    for number in range(1 + offset, len(expected.points) + 1, every):
        with tempfile.TemporaryDirectory() as name:
            try:
                row.again += killed(Path(name), case, component, number, expected)
                row.kills += 1
            except AssertionError as error:
                at = (killing.passed(Path(name), "engine")[number - 1 :] or ["?"])[0]
                row.wrong.append(f"{case}, point {number} ({at}): {error}")
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="", help="only those that have this in their name")
    parser.add_argument("--component", type=Path, help="tests/components/everything, built; made when not given")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    given = parser.parse_args()
    cases = [case for case in (*CASES, COMMAND) if given.case in case]
    wrong: list[str] = []
    print(f"{'case':34} {'points':>7} {'killed':>7} {'performed again':>16} {'wrong':>6}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("XDG_CACHE_HOME", folder)
        component = given.component
        if component is None and any(case.startswith("component") for case in cases):
            from tests.components.building import SOURCES, build

            component = Path(folder) / "everything.wasm"
            build(SOURCES / "everything", component)
        for case in cases:
            row = campaign(case, component, given.every, given.offset)
            print(f"{case:34} {row.points:7} {row.kills:7} {row.again:16} {len(row.wrong):6}", flush=True)
            wrong += row.wrong
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
