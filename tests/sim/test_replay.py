"""Durable functions killed anywhere do what they do undisturbed (X1), and a changed one is told of (X2).

A sample; `python -m tests.sim.replay --programs 10000` is the campaign, also with --changed, --cancelled or --written.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.warm_python import PYTHON

from .changes import changed, passed_sites
from .compare import differences
from .conductor import Kill
from .generator import generate
from .journal import Told
from .program import Program

ROOT = Path(__file__).parents[2]


def campaign(*options: str) -> None:
    """The command in a process of its own: one that has threads, as a worker of pytest has, cannot fork lives."""
    jobs = str(min(2, os.cpu_count() or 1))
    command = [PYTHON, "-m", "tests.sim.replay", "--jobs", jobs, "--failures", "2", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-12000:]}\n{done.stderr[-4000:]}"


@pytest.mark.timeout(600)
def test_killed_programs_do_what_they_do_undisturbed() -> None:
    campaign("--programs", "30", "--seed", "1")


@pytest.mark.timeout(600)
def test_cancelled_programs_that_are_killed_clean_up_as_they_do_undisturbed() -> None:
    campaign("--programs", "8", "--seed", "1", "--cancelled")


@pytest.mark.timeout(600)
def test_changed_programs_are_halted_and_go_on_when_they_are_put_back() -> None:
    campaign("--programs", "12", "--seed", "1", "--changed")


@pytest.mark.timeout(600)
def test_functions_written_by_hand_killed_at_many_points() -> None:
    campaign("--written", "--programs", "1", "--every", "20")


# -- the tests of the test ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(100))
def test_a_program_is_its_seeds_and_is_python(seed: int) -> None:
    program = generate(seed)
    assert generate(seed) == program
    for each in (program, generate(seed, cancelled=True)):
        assert Program.from_text(each.to_text()) == each
        compile(each.source(), "program", "exec")


def test_a_kill_is_what_it_is_printed_as() -> None:
    kill = Kill(3, "after", 2)
    assert Kill.of(str(kill)) == kill


def effect(tag: str, life: int, name: str = "act", value: str = "", *arguments: str) -> dict[str, object]:
    return {"kind": "effect", "life": life, "tag": tag, "name": name, "arguments": arguments, "value": value or tag}


def outcome(value: object, life: int) -> dict[str, object]:
    return {"kind": "outcome", "life": life, "outcome": {"state": "completed", "value": value}}


UNDISTURBED = Told([effect("m/s1", 1), effect("m/s2", 1), outcome(["m/s1", "m/s2"], 1)])
KEY, OTHER = "0123456789abcdef" * 2, "f" * 32


def test_only_what_was_in_flight_at_the_kill_may_happen_again() -> None:
    killed = [effect("m/s1", 1), effect("m/s2", 1), effect("m/s2", 2), outcome(["m/s1", "m/s2"], 2)]
    assert differences(UNDISTURBED, Told(killed)) == []
    killed.insert(2, {"kind": "idle", "life": 1})
    assert any("again" in each for each in differences(UNDISTURBED, Told(killed)))
    killed[2] = effect("m/s1", 2)
    assert any("m/s1 was performed again" in each for each in differences(UNDISTURBED, Told(killed)))


def test_a_swapped_result_a_missing_step_and_another_one_are_differences() -> None:
    steps = [effect("m/s1", 1), effect("m/s2", 1)]
    assert "outcome" in differences(UNDISTURBED, Told([*steps, outcome(["m/s2", "m/s1"], 1)]))[0]
    assert differences(UNDISTURBED, Told([steps[0], UNDISTURBED.lines[-1]])) == ["step m/s2 was not performed"]
    more = Told([*steps, effect("m/s3", 1), UNDISTURBED.lines[-1]])
    assert "m/s3 was performed, and is not" in differences(UNDISTURBED, more)[0]


def test_a_key_is_the_step_that_made_it_and_is_one() -> None:
    first = Told([effect("m/s1", 1, "key", KEY), effect("m/s2", 1, "charge", f"with {KEY}", KEY), outcome(KEY, 1)])
    again = [effect("m/s1", 1, "key", OTHER), effect("m/s1", 2, "key", KEY)]
    assert differences(first, Told([*again, *first.lines[1:-1], outcome(KEY, 2)])) == []
    mixed = Told([*again, effect("m/s2", 2, "charge", f"with {OTHER}", OTHER), outcome(KEY, 2)])
    assert any("two keys" in each for each in differences(first, mixed))


def line(text: str, life: int, number: int = 1) -> dict[str, object]:
    return {"kind": "log", "life": life, "context": "run", "number": number, "text": text}


def test_a_line_of_the_log_stays_as_it_was_and_none_is_missing() -> None:
    first = Told([line("a", 1), line("b", 1, 2), outcome(1, 1)])
    assert differences(first, Told([line("a", 1), line("a", 2), line("b", 2, 2), outcome(1, 2)])) == []
    assert "is 'c' in life 2" in differences(first, Told([line("a", 1), line("c", 2), outcome(1, 2)]))[0]
    assert "log from line 1" in differences(first, Told([line("a", 1), outcome(1, 2)]))[0]


def test_changes_are_made_where_the_record_had_passed_only() -> None:
    for seed in range(200):
        program = generate(seed)
        steps = [node.site for node in program.body if node.kind == "step"]
        told = Told([effect(f"m/s{steps[0]}", 1)])
        assert steps[0] in passed_sites(program, told)
        change = changed(program, told, random.Random(seed))
        assert change is not None
        assert change.program.source() != program.source()
        compile(change.program.source(), "program", "exec")
        assert changed(program, Told([]), random.Random(seed)) is None
