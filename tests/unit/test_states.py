"""The tables of states: every state by every event, and what any sequence of events comes to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capabilities.actors import states as actors
from capabilities.prompts import states as prompt
from durable.core.states import IllegalTransition
from durable.executions import states as execution
from durable.functions.replay import states as replay
from durable.queues import states as queue
from durable.sessions.checkpoints import states as namespace
from durable.sessions.execution import states as cell_pass
from durable.sessions.ownership import states as owner

SPECS = Path(__file__).parents[2] / "specs"


class Machine(NamedTuple):
    """A table, where it begins, and where nothing leaves it."""

    states: type[StrEnum]
    events: type[StrEnum]
    table: dict[tuple[Any, Any], Any]
    step: Callable[[Any, Any], Any]
    first: StrEnum
    final: frozenset[Any]
    page: str
    """The page of specs/ that shows the same table."""


MACHINES = {
    "execution": Machine(
        execution.ExecutionState,
        execution.ExecutionEvent,
        execution.TRANSITIONS,
        execution.step,
        execution.ExecutionState.PENDING,
        execution.SETTLED,
        "execution",
    ),
    "execution pass": Machine(
        replay.ExecutionPassState,
        replay.ExecutionPassEvent,
        replay.EXECUTION_PASS,
        replay.step_execution_pass,
        replay.ExecutionPassState.RUNNING,
        frozenset(set(replay.ExecutionPassState) - {replay.ExecutionPassState.RUNNING}),
        "execution",
    ),
    "function pass": Machine(
        replay.FunctionPassState,
        replay.FunctionPassEvent,
        replay.FUNCTION_PASS,
        replay.step_function_pass,
        replay.FunctionPassState.REPLAYING,
        replay.IS_OVER,
        "execution",
    ),
    "cancellation": Machine(
        replay.CancellationState,
        replay.CancellationEvent,
        replay.CANCELLATION,
        replay.step_cancellation,
        replay.CancellationState.UNTOLD,
        frozenset({replay.CancellationState.TOLD}),
        "execution",
    ),
    "prompt": Machine(
        prompt.PromptState,
        prompt.PromptEvent,
        prompt.TRANSITIONS,
        prompt.step,
        prompt.PromptState.OPEN,
        frozenset(set(prompt.PromptState) - {prompt.PromptState.OPEN}),
        "prompt",
    ),
    "namespace": Machine(
        namespace.NamespaceState,
        namespace.NamespaceEvent,
        namespace.TRANSITIONS,
        namespace.step,
        namespace.NamespaceState.SAVED,
        frozenset(),
        "session",
    ),
    "cell pass": Machine(
        cell_pass.CellPassState,
        cell_pass.CellPassEvent,
        cell_pass.TRANSITIONS,
        cell_pass.step,
        cell_pass.CellPassState.RUNNING,
        frozenset(set(cell_pass.CellPassState) - cell_pass.OPEN),
        "session",
    ),
    "component actor": Machine(
        actors.ComponentState,
        actors.ComponentEvent,
        actors.COMPONENT,
        actors.step_component,
        actors.ComponentState.CREATING,
        frozenset({actors.ComponentState.TERMINATED}),
        "actors",
    ),
    "actor": Machine(
        actors.ActorState,
        actors.ActorEvent,
        actors.ACTOR,
        actors.step_actor,
        actors.ActorState.STARTING,
        frozenset({actors.ActorState.STOPPED}),
        "actors",
    ),
    "child": Machine(
        actors.ChildState,
        actors.ChildEvent,
        actors.CHILD,
        actors.step_child,
        actors.ChildState.STARTING,
        frozenset(),
        "actors",
    ),
    "supervisor": Machine(
        actors.SupervisorState,
        actors.SupervisorEvent,
        actors.SUPERVISOR,
        actors.step_supervisor,
        actors.SupervisorState.INITIALIZING,
        frozenset({actors.SupervisorState.TERMINATED}),
        "actors",
    ),
    "health": Machine(
        actors.HealthState,
        actors.HealthEvent,
        actors.HEALTH,
        actors.step_health,
        actors.HealthState.UNKNOWN,
        frozenset(),
        "actors",
    ),
    "queue": Machine(
        queue.QueueState,
        queue.QueueEvent,
        queue.QUEUE,
        queue.step_queue,
        queue.QueueState.OPEN,
        frozenset(),
        "queues",
    ),
    "queue entry": Machine(
        queue.EntryState,
        queue.EntryEvent,
        queue.ENTRY,
        queue.step_entry,
        queue.EntryState.DELAYED,
        frozenset({queue.EntryState.GONE}),
        "queues",
    ),
    "owner": Machine(
        owner.OwnerState,
        owner.OwnerEvent,
        owner.TRANSITIONS,
        owner.step,
        owner.OwnerState.OWNED,
        frozenset({owner.OwnerState.FORGOTTEN, owner.OwnerState.CLOSED}),
        "session",
    ),
}

machines = pytest.mark.parametrize("name", MACHINES)


@machines
def test_every_event_in_every_state_is_a_transition_or_is_refused(name: str) -> None:
    machine = MACHINES[name]
    for state, event in itertools.product(machine.states, machine.events):
        after = machine.table.get((state, event))
        if after is None:
            with pytest.raises(IllegalTransition, match=f"{state} cannot {event}"):
                machine.step(state, event)
        else:
            assert machine.step(state, event) is after


@machines
def test_every_state_can_be_reached(name: str) -> None:
    machine = MACHINES[name]
    reached = {machine.first}
    while more := {after for (state, _), after in machine.table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(machine.states)


@machines
@given(data=st.data())
def test_a_final_state_is_never_left(name: str, data: st.DataObject) -> None:
    machine = MACHINES[name]
    state: Any = machine.first
    for event in data.draw(st.lists(st.sampled_from(list(machine.events)), max_size=30)):
        before = state
        try:
            state = machine.step(state, event)
        except IllegalTransition:
            pass
        assert state in machine.states
        if before in machine.final:
            assert state is before


@machines
def test_the_specification_shows_the_same_table(name: str) -> None:
    machine = MACHINES[name]
    events = [str(event) for event in machine.events]
    shown = next(
        (table for table in tables(SPECS / f"{machine.page}.md") if table[0][1:] == events),
        None,
    )
    assert shown is not None, f"specs/{machine.page}.md has no table with the events {events}"
    assert [row[0] for row in shown[2:]] == [str(state) for state in machine.states]
    for row in shown[2:]:
        expected = [str(machine.table.get((machine.states(row[0]), event), "")) for event in machine.events]
        assert row[1:] == expected, row[0]


def tables(page: Path) -> Iterable[list[list[str]]]:
    """The tables of a page: their rows' cells."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for is_table, rows in itertools.groupby(lines, key=lambda line: line.startswith("|")):
        if is_table:
            yield [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
