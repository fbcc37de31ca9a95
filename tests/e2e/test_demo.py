"""`durable demo`: killed as planned, equal to the undisturbed run, told truthfully."""

from pathlib import Path

import pytest

from durable.demo.job import EVENTS, FIRST_CALL, LAST_CALL
from durable.demo.main import planned
from durable.demo.plan import Kill, plan
from tests.e2e.cli_process import Terminal


@pytest.mark.parametrize(("seed", "kills"), [(7, 2), (11, 6)])
def test_the_killed_run_equals_the_undisturbed_one(tmp_path: Path, seed: int, kills: int) -> None:
    terminal = Terminal(tmp_path)
    done = terminal.durable("demo", "--seed", str(seed), "--kills", str(kills), "--store", "demo.db", "--json")
    assert done.code == 0, done
    found = done.data
    assert found["equal"]
    assert found["result"]["analysis"]["years"] == 43
    assert len(found["kills"]) == kills
    assert {kill.partition(" ")[0] for kill in found["kills"]} == {"worker", "engine"}
    assert found["engines"] == 1 + sum(kill.startswith("engine") for kill in found["kills"])
    assert found["restored"]
    rows = {row["id"].partition(".")[2]: row for row in found["rows"]}
    assert len(rows) == EVENTS + 1
    assert all(row["state"] == "completed" for row in rows.values())
    assert rows["3:input:1"]["runs"] is None
    again = sum(row["runs"] - 1 for row in rows.values() if row["runs"])
    side_by_side = 3  # of the four decades, cut off by one kill
    assert 0 <= again <= kills + side_by_side
    listed = terminal.durable("list", "--store", "demo.db", "--function", "carbon", "--json").data
    assert [each["state"] for each in listed] == ["completed"]


def test_the_report_is_for_people_too(tmp_path: Path) -> None:
    done = Terminal(tmp_path).durable("demo", "--seed", "1", "--kills", "0")
    assert done.code == 0
    assert "3:weeks:1 to 43\tcall\tweeks\tcompleted\t1 each" in done.out
    assert "equal to the undisturbed run's: CO2 rose 1.48 times" in done.out
    assert "durable demo --seed 1 --kills 0" in done.err
    assert "in 52 pieces that are recorded: 8 steps" in done.err


def test_a_planned_kill_is_said_in_words_that_the_reader_was_given() -> None:
    assert planned(Kill("worker", 3, 0.0)) == "the session's worker just after the 3rd of the 52 began"
    assert planned(Kill("engine", 11, 0.0)) == "the engine just after the 11th of the 52 began"
    assert planned(Kill("engine", 42, 0.0)) == "the engine just after the 42nd of the 52 began"


def test_a_plan_is_repeatable_and_kills_both() -> None:
    for seed in range(50):
        for kills in (2, 3, 20, 40):
            drawn = plan(seed, kills)
            assert drawn == plan(seed, kills)
            assert len(drawn) == kills
            assert {kill.target for kill in drawn} == {"worker", "engine"}
            events = [kill.event for kill in drawn]
            assert events == sorted(set(events))
            assert all(FIRST_CALL <= kill.event <= LAST_CALL for kill in drawn if kill.target == "worker")
            assert all(1 <= event <= EVENTS for event in events)
    assert plan(1, 0) == []
    assert len({plan(seed, 1)[0].target for seed in range(20)}) == 2
