"""Random durable functions, killed anywhere: `python -m tests.sim.replay --programs 10000 --seed N`.

Each program runs undisturbed, then once more with its engine killed one to three times; what anybody can see of the two
runs has to be the same (compare.py). With --changed it is killed once and goes on as a program that was changed
somewhere the record had passed: that has to be NonDeterminism, and the program put back has to end as it would have.
With --cancelled the execution is cancelled at a moment of the seed's choice, undisturbed and with the kills before and
behind that: it has to be cancelled, and its functions have to clean up in the same way.
A failure prints the program, and the command that repeats it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .changes import changed
from .compare import differences, unsound
from .conductor import Kill
from .generator import generate
from .journal import Told
from .life import LifeFailed, Run, Sourced, template
from .written import CANCELLED, SEEDS, WRITTEN, Written

KILLS_MAX = 3


@dataclass
class Finding:
    """What went wrong with one program."""

    seed: int
    kills: tuple[Kill, ...]
    words: list[str]
    source: str
    change: str = ""
    written: str = ""
    """The number of one that was written by hand."""
    cancelled: bool = False

    def __str__(self) -> str:
        command = f"python -m tests.sim.replay --programs 1 --seed {self.seed}"
        if self.written:
            command = f"python -m tests.sim.replay --written {self.written} --seed {self.seed}"
        if self.kills:
            command += f" --kill {','.join(map(str, self.kills))}"
        if self.change:
            command += " --changed"
        if self.cancelled:
            command += " --cancelled"
        lines = ["=" * 100, self.source, f"repeat with: {command}"]
        if self.change:
            lines.append(f"changed: {self.change}")
        return "\n".join([*lines, *(f"- {each}" for each in self.words)])


@dataclass
class Campaign:
    """Runs programs and counts."""

    empty: Path
    cancels: bool = False
    """The execution of each program is cancelled."""
    counted: Counter[str] = field(default_factory=Counter)

    def run(self, seed: int) -> Run:
        place = self.empty.parent / "run"
        shutil.rmtree(place, ignore_errors=True)
        self.counted["runs"] += 1
        return Run(place, self.empty, seed, cancels=self.cancels)

    def undisturbed(self, program: Sourced, seed: int) -> Told:
        run = self.run(seed)
        run.live(program)
        self.counted["lives"] += 1
        return run.told

    def killed(self, program: Sourced, seed: int, kills: tuple[Kill, ...]) -> Told:
        """A run that dies at each of these points, one a life, and then ends."""
        run = self.run(seed)
        for kill in kills:
            self.counted["lives"] += 1
            if not run.live(program, kill):
                return run.told
            self.counted["kills"] += 1
        run.live(program)
        self.counted["lives"] += 1
        return run.told

    def program(self, seed: int, program: Sourced, kills: tuple[Kill, ...] | None = None) -> Finding | None:
        """One program, undisturbed and killed; what is wrong with it."""
        self.counted["programs"] += 1
        chosen = kills or ()
        try:
            undisturbed = self.undisturbed(program, seed)
            words = unsound(undisturbed)
            if not words:
                self.counted["cancelled"] += undisturbed.cancelled() is not None
                chosen = kills if kills is not None else chosen_kills(seed, undisturbed)
                words = differences(undisturbed, self.killed(program, seed, chosen))
        except LifeFailed as failed:
            words = [str(failed)]
        found = Finding(seed, chosen, words, program.source(), cancelled=self.cancels)
        return found if words else None

    def changed(self, seed: int) -> Finding | None:
        """One program, killed, changed, put back; what is wrong with it."""
        self.counted["programs"] += 1
        program = generate(seed)
        kills: tuple[Kill, ...] = ()
        words: list[str] = []
        change = ""
        try:
            undisturbed = self.undisturbed(program, seed)
            words = unsound(undisturbed)
            if words:
                return Finding(seed, (), words, program.source())
            kills = (late_kill(seed, undisturbed),)
            run = self.run(seed)
            self.counted["lives"] += 1
            if not run.live(program, kills[0]):
                return None
            found = changed(program, run.told, random.Random(f"change {seed}"))
            if found is None:
                self.counted["nothing to change"] += 1
                return None
            self.counted["changed"] += 1
            change = found.words
            run.live(found.program)
            words = [*_not_told(run.told.outcome()), *_strange(undisturbed, run.told)]
            if not words:
                run.live(program, resume=True)
                words = after_change(undisturbed, run.told)
            self.counted["lives"] += 2
        except LifeFailed as failed:
            words = [str(failed)]
        return Finding(seed, kills, words, program.source(), change) if words else None

    def everywhere(self, written: Written, seed: int, every: int) -> Finding | None:
        """A function written by hand, killed once at every n-th point; what is wrong with the first that goes wrong."""
        self.counted["programs"] += 1
        kills: tuple[Kill, ...] = ()
        try:
            undisturbed = self.undisturbed(written, seed)
            words = unsound(undisturbed)
            value = (undisturbed.outcome() or {}).get("value")
            if written.values and not self.cancels and value not in written.values:
                words.append(f"came to {value!r}, and not to one of {written.values!r}")
            if words:
                return Finding(seed, (), words, written.source(), "", _number(written), self.cancels)
            for kill in [*every_kill(undisturbed)][::every]:
                kills = (kill,)
                words = differences(undisturbed, self.killed(written, seed, kills))
                if words:
                    break
        except LifeFailed as failed:
            words = [str(failed)]
        return Finding(seed, kills, words, written.source(), "", _number(written), self.cancels) if words else None


def _number(written: Written) -> str:
    """What the command calls one that was written by hand."""
    return str((*WRITTEN, *CANCELLED).index(written)) if written in (*WRITTEN, *CANCELLED) else "-1"


def _not_told(outcome: Any) -> list[str]:
    """What is missing of a halt that says where, what was recorded and what was attempted."""
    if outcome is None or outcome["state"] != "interrupted":
        return [f"the changed program came to {outcome}"]
    note = outcome["note"] or ""
    parts = ("at exec:run", "the record says ", "the code now does ")
    return [] if all(part in note for part in parts) else [f"the note of the halt says {note!r}"]


def _strange(undisturbed: Told, told: Told) -> list[str]:
    """What the changed program did beside steps that the record had begun: those may end before it is halted."""
    known = {line["tag"] for line in undisturbed.of("effect")}
    strange = [line["tag"] for line in told.of("effect", 2) if line["tag"] not in known]
    return [f"the changed program performed {strange}"] if strange else []


def after_change(undisturbed: Told, told: Told) -> list[str]:
    """What differs once the program is put back. A step that ended while it was changed may have changed a race."""
    lines = [line for line in told.lines if line["life"] != 2 or line["kind"] == "effect"]
    return unsound(Told(lines)) if told.of("effect", 2) else differences(undisturbed, Told(lines))


def points(undisturbed: Told) -> list[int]:
    """Commits after each decision, from none."""
    return [*(line["commits"] for line in undisturbed.of("decision")), undisturbed.of("outcome")[0]["commits"]]


def every_kill(undisturbed: Told) -> Iterator[Kill]:
    """Before and after each commit, at each effect, and when all is idle."""
    for decisions, commits in enumerate(points(undisturbed)):
        for commit in range(commits):
            yield Kill(decisions, "before", commit)
            yield Kill(decisions, "after", commit)
        yield Kill(decisions, "effect")
        yield Kill(decisions, "idle")


def chosen_kills(seed: int, undisturbed: Told) -> tuple[Kill, ...]:
    """Where the program of a seed is killed. Where it is cancelled, the first time close to that."""
    chance = random.Random(f"kills {seed}")
    commits = points(undisturbed)
    left = len(commits) - 1
    kills: list[Kill] = []
    cancelled = undisturbed.cancelled()
    if cancelled is not None:
        decisions = min(left, max(0, cancelled + chance.choice((-1, 0, 1, 1, 1, 2, 3))))
        when = chance.choice(["before", "after", "after", "effect", "idle"])
        kills.append(Kill(decisions, when, chance.randrange(max(1, commits[decisions]))))  # type: ignore[arg-type]
        left = max(0, left - decisions) if chance.random() < 0.5 else 0
        if not left:
            return tuple(kills)
    for _ in range(chance.choice((1, 1, 1, 2, 2, KILLS_MAX))):
        decisions = chance.randint(0 if not kills else 1, max(1, left)) if left else 0
        when = chance.choice(["before", "after", "after", "effect", "idle"])
        kills.append(Kill(decisions, when, chance.randrange(max(1, commits[min(decisions, len(commits) - 1)]))))  # type: ignore[arg-type]
        left -= decisions
        if left <= 0:
            break
    return tuple(kills)


def late_kill(seed: int, undisturbed: Told) -> Kill:
    """A kill after some decisions, so that a record was made that a changed program meets."""
    last = len(points(undisturbed)) - 1
    return Kill(random.Random(f"kills {seed}").randint(min(2, last), last), "idle")


# -- the command ----------------------------------------------------------------------------------------------------


def tasks(given: argparse.Namespace) -> list[Callable[[Campaign], Finding | None]]:
    """What there is to do, one program each."""
    kills = tuple(Kill.of(text) for text in given.kill.split(",")) if given.kill else None
    seeds = range(given.seed, given.seed + given.programs)
    if given.written is not None:
        all = (*WRITTEN, *CANCELLED)
        if kills is not None:
            return [partial(Campaign.program, seed=given.seed, program=all[given.written], kills=kills)]
        chosen = all if given.written < 0 else all[given.written : given.written + 1]
        if given.written < 0 and not given.cancelled:
            chosen = WRITTEN
        orders = seeds[:SEEDS]
        return [
            partial(Campaign.everywhere, written=each, seed=seed, every=given.every)
            for seed in orders
            for each in chosen
        ]
    if given.changed:
        return [partial(Campaign.changed, seed=seed) for seed in seeds]
    return [
        partial(Campaign.program, seed=seed, program=generate(seed, cancelled=given.cancelled), kills=kills)
        for seed in seeds
    ]


def work(given: argparse.Namespace, job: int, out: int) -> None:
    """Every n-th program; findings and counts go into the pipe."""
    with template() as empty:
        campaign = Campaign(empty, given.cancelled)
        for task in tasks(given)[job :: given.jobs]:
            found = task(campaign)
            if found is None:
                continue
            campaign.counted["failures"] += 1
            os.write(out, f"{found}\n".encode())
            if campaign.counted["failures"] >= given.failures:
                break
        for name, count in campaign.counted.items():
            os.write(out, f"\0{name} {count}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first program; the others have the next ones")
    parser.add_argument("--changed", action="store_true", help="change each program where its record had passed")
    parser.add_argument("--cancelled", action="store_true", help="cancel each execution")
    parser.add_argument(
        "--written", type=int, nargs="?", const=-1, help="those written by hand, or the n-th, killed at every point"
    )
    parser.add_argument("--every", type=int, default=1, help="with --written: every n-th point only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kill", default="", help="kill there instead of where the seed says, as a failure prints it")
    parser.add_argument("--failures", type=int, default=10, help="failures of a job after which it ends")
    given = parser.parse_args()
    began = time.perf_counter()
    pipes: list[int] = []
    for job in range(given.jobs):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            try:
                work(given, job, write)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        os.close(write)
        pipes.append(read)
    counted: Counter[str] = Counter()
    for pipe in pipes:
        with os.fdopen(pipe) as lines:
            for line in lines:
                if line.startswith("\0"):
                    name, _, count = line[1:].rpartition(" ")
                    counted[name] += int(count)
                else:
                    print(line, end="", flush=True)
    failed = any(os.waitstatus_to_exitcode(os.wait()[1]) for _ in pipes) or counted["failures"] > 0
    print(", ".join(f"{count} {name}" for name, count in counted.items()), f"in {time.perf_counter() - began:.0f} s")
    sys.exit(1 if failed or not counted else 0)


if __name__ == "__main__":
    main()
