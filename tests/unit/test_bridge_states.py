"""The session's table: every state by every event."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from bridge.protocol.states import TRANSITIONS, WorkerEvent, WorkerState, step
from durable.core.errors import ProtocolError


@pytest.mark.parametrize(("state", "event"), list(itertools.product(WorkerState, WorkerEvent)))
def test_every_pair_is_a_transition_or_a_clear_refusal(state: WorkerState, event: WorkerEvent) -> None:
    if event in TRANSITIONS[state]:
        assert step(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(ProtocolError, match=f"{state} cannot {event}"):
            step(state, event)


def test_one_execution_at_a_time_and_only_when_ready() -> None:
    allowed = {state for state in WorkerState if WorkerEvent.EXECUTE in TRANSITIONS[state]}
    assert allowed == {WorkerState.READY, WorkerState.IDLE}


def test_start_only_once_and_again_only_after_the_end() -> None:
    assert [state for state in WorkerState if WorkerEvent.START in TRANSITIONS[state]] == [WorkerState.CREATING]
    assert [state for state in WorkerState if WorkerEvent.RESET in TRANSITIONS[state]] == [WorkerState.TERMINATED]


def test_every_living_state_survives_the_end_of_the_process() -> None:
    for state in set(WorkerState) - {WorkerState.CREATING, WorkerState.TERMINATED}:
        assert step(state, WorkerEvent.ENDED) is WorkerState.TERMINATED


def test_the_specification_shows_the_same_table() -> None:
    text = (Path(__file__).parents[2] / "specs" / "session.md").read_text()
    lines = itertools.dropwhile(lambda line: not line.startswith("| state |"), text.splitlines())
    shown = itertools.takewhile(lambda line: line.startswith("|"), lines)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown]
    events = rows[0][1:]
    table = {row[0]: dict(zip(events, row[1:], strict=True)) for row in rows[2:]}
    for state, event in itertools.product(WorkerState, WorkerEvent):
        assert table[state][event] == TRANSITIONS[state].get(event, ""), (state, event)
    assert re.search(r"^# Session", text)
