"""The arithmetic of the benchmarks: medians of rounds, ratios within a round, targets. No time is measured here."""

from __future__ import annotations

import sys
import tomllib
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.contender import Contender, ContenderFailed
from benchmarks.contenders import modules
from benchmarks.contenders.durable_guards import guarded, unguarded
from benchmarks.engines import Load, saturates, table
from benchmarks.figures import Benchmark, Comparison, Entrant, Target, compare, figure, ratios
from benchmarks.peers import REQUIREMENTS, Peers, requirements
from benchmarks.report import row, shown
from benchmarks.rounds import command, measure, turned
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Runtime

OURS, PEER, FLOOR = (Entrant(label, "none", label) for label in ("ours", "peer", "floor"))


def benchmark(*comparisons: Comparison) -> Benchmark:
    return Benchmark("b", "a thing", "s", (OURS, PEER, FLOOR), comparisons, size=3, size_quick=1)


def test_a_figure_is_the_median_of_the_rounds_medians_so_one_bad_round_does_not_move_it() -> None:
    assert figure([[1.0, 2.0, 90.0], [3.0, 3.0, 3.0], [500.0, 600.0, 700.0]]) == 3.0


def test_a_ratio_is_taken_within_each_round_so_a_slow_minute_cancels_out() -> None:
    ours, peer = [[1.0], [10.0], [2.0]], [[2.0], [20.0], [4.0]]
    assert ratios(ours, peer) == [0.5, 0.5, 0.5]


def test_a_line_has_the_median_ratio_its_spread_and_whether_the_target_is_met() -> None:
    asked = benchmark(Comparison("ours", "peer", Target("at most", 0.5)))
    [line] = compare(asked, {"ours": [[1.0], [1.0], [3.0]], "peer": [[4.0], [2.0], [3.0]]})
    assert (line.ours, line.beside, line.ratio, line.ratio_low, line.ratio_high) == (1.0, 3.0, 0.5, 0.25, 1.0)
    assert line.met is True
    assert (line.rounds, line.rounds_met) == (3, 2)
    assert row(line)[-1] == "yes (2 of 3)"


@pytest.mark.parametrize(("bound", "value", "met"), [("at most", 1.9, False), ("at least", 1.9, True)])
def test_a_target_for_the_figure_itself_needs_nothing_beside(bound: str, value: float, met: bool) -> None:
    target = Target("at most" if bound == "at most" else "at least", value)
    [line] = compare(benchmark(Comparison("ours", None, target)), {"ours": [[2.0]]})
    assert line.met is met
    assert line.ratio is None


def test_an_absent_peer_leaves_its_line_in_the_table_as_not_measured() -> None:
    [line] = compare(benchmark(Comparison("ours", "peer", Target("at most", 1.0))), {"ours": [[2.0]]})
    assert (line.ours, line.beside, line.ratio, line.met) == (2.0, None, None, None)
    assert row(line)[-1] == "not measured"


def test_each_round_begins_with_another_entrant() -> None:
    entrants = (OURS, PEER, FLOOR)
    assert [turned(entrants, number)[0] for number in range(4)] == [OURS, PEER, FLOOR, OURS]
    assert all(set(turned(entrants, number)) == set(entrants) for number in range(4))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0000436, "s", "43.6 µs"), (0.00361, "s", "3.61 ms"), (1.14, "s", "1.14 s"), (3214.4, "1/s", "3,214/s")],
)
def test_figures_are_shown_in_a_unit_that_fits(value: float, unit: str, text: str) -> None:
    assert shown(value, "s" if unit == "s" else "1/s") == text


def test_a_contender_runs_in_its_environment_and_gets_what_was_installed() -> None:
    peers = Peers(Path("env/python"), Path("npm/server"), {})
    entrant = Entrant("peer", "some_module --server {restate_server}", "steps", peer_env=True)
    expected = ["env/python", "-m", "benchmarks.contenders.some_module", "--server", "npm/server"]
    assert command(entrant, peers) == expected
    assert command(Entrant("ours", "some_module", "steps"), peers)[0] == sys.executable
    apart = Peers(Path("env/python"), Path("npm/server"), {}, Path("apart"))
    assert command(Entrant("peer", "some_module {apart}", "steps", peer_env=True), apart)[-1] == "apart"


def test_the_peers_are_listed_in_a_file_that_the_project_itself_does_not_read(tmp_path: Path) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text("# peers\ndill>=0.4\n\nkishu>=0.3\n")
    assert requirements(listed) == ["dill>=0.4", "kishu>=0.3"]
    assert requirements(tmp_path / "none.txt") == []
    pyproject = tomllib.loads((REQUIREMENTS.parent.parent / "pyproject.toml").read_text())
    mentioned = " ".join(line for group in pyproject["dependency-groups"].values() for line in group)
    assert "dbos" in " ".join(requirements())
    assert "dbos" not in mentioned


async def test_a_contender_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    peers = Peers(tmp_path / "absent", tmp_path / "absent", {})
    entrants = (
        Entrant("ours", "raw_pipe", "quick"),
        Entrant("peer", "no_such_contender", "quick"),
        Entrant("floor", "raw_pipe", "quick", peer_env=True),
    )
    asked = Benchmark("b", "a thing", "s", entrants[:2], (Comparison("ours", "peer"),), size=2, size_quick=1)
    report = await measure(asked, peers, tmp_path, rounds=1, quick=True, say=lambda _: None)
    assert "no_such_contender" in report.absent["peer"]
    assert [len(samples) for samples in report.samples["ours"]] == [1]
    assert report.lines[0].ratio is None
    with pytest.raises(ContenderFailed, match="absent"):
        await Contender(command(entrants[2], peers), tmp_path).start()


async def test_a_turn_that_fails_names_the_error_and_the_contender_lives_on(tmp_path: Path) -> None:
    contender = Contender([sys.executable, "-m", "benchmarks.contenders.raw_pipe"], tmp_path)
    await contender.start()
    try:
        with pytest.raises(ContenderFailed, match="no_such_turn"):
            await contender.turn("no_such_turn", 1)
        assert len(await contender.turn("quick", 3)) == 3
    finally:
        await contender.close()


def test_what_guards_cost_is_what_is_told_about_them() -> None:
    """The loops of the benchmark compute the same under every guard, and fuel is really counted."""
    with_time, with_fuel, bare = guarded(metered=False), guarded(metered=True), unguarded()
    found = with_fuel(1000)
    assert found.used.fuel > 1000
    assert with_time(1000).value == found.value == bare(1000)


def test_a_module_that_is_to_be_compiled_anew_is_one_that_no_cache_knows() -> None:
    runtime = Runtime(metered=False)
    first, second = islice(modules.unseen(), 2)
    assert runtime.module(first) is runtime.module(first)
    assert runtime.module(second) is not runtime.module(first)
    assert CoreCall(runtime, runtime.module(second), COMPONENT.but(fuel=None)).call("run").value == 0


def test_the_command_names_its_benchmarks_when_asked_for_another() -> None:
    result = CliRunner().invoke(main, ["--only", "nothing"])
    assert result.exit_code == 2
    assert "session-start" in result.output


def load(engines: int, executions_s: float, busy: float) -> Load:
    return Load(engines, executions_s, 0.8, 1.0, busy, 4 * engines, [("LWLock: WALWrite", 60), ("processor", 40)])


def test_engines_are_told_where_more_of_them_bring_no_more() -> None:
    loads = [load(1, 1_000, 0.5), load(2, 1_800, 0.95), load(4, 1_850, 1.0)]
    assert saturates(loads) == "Saturated with 2 (1,800 a second): the processors are full."
    assert saturates(loads[:2]) == "Not saturated with 2 (1,800 a second)."
    assert saturates([loads[0], load(2, 1_050, 0.6)]) == "Saturated with 1 (1,000 a second): processors 50% busy."
    assert table(loads).splitlines()[2] == (
        "| 1 | 1,000 | 50% | 0.80 | 1.00 | 1,250 | 4 | LWLock: WALWrite 60 %, processor 40 % |"
    )
