"""A cell's pass: what its leaf is told, and which of its checkpoints count."""

from __future__ import annotations

import pytest

from durable.core.errors import WorkerDied
from durable.core.states import IllegalTransition
from durable.functions.replay.matching import Journal
from durable.records.stored_output import StoredCopy
from durable.sessions.execution.cell import CellDone, CellParam, CellWaits, Died, Gone, Pass


@pytest.fixture
def cell_pass() -> Pass:
    return Pass("exec:s@1", CellParam(code="1", session="s"), Journal("exec:s@1"), StoredCopy(1_000))


async def test_only_the_first_outcome_counts(cell_pass: Pass) -> None:
    cell_pass.finish(CellDone({"value": 1}))
    cell_pass.finish(Died(WorkerDied("later")))
    assert await cell_pass.turn() == CellDone({"value": 1})
    assert cell_pass.lives
    assert not cell_pass.open


async def test_of_a_stopped_pass_the_checkpoint_at_its_end_counts(cell_pass: Pass) -> None:
    cell_pass.stop()
    cell_pass.let_go()
    assert await cell_pass.turn() == Gone()
    assert not cell_pass.takes_checkpoint(final=False)
    assert cell_pass.takes_checkpoint(final=True)
    assert not cell_pass.worker_ends


async def test_of_an_interrupted_pass_none_does_and_its_worker_ends(cell_pass: Pass) -> None:
    cell_pass.interrupt()
    assert await cell_pass.turn() == Gone()
    assert not cell_pass.takes_checkpoint(final=True)
    assert cell_pass.worker_ends
    with pytest.raises(IllegalTransition):
        cell_pass.interrupt()


async def test_a_pass_that_is_let_go_while_it_is_parked_has_no_outcome(cell_pass: Pass) -> None:
    cell_pass.open_calls = {1: "exec:s@1:input:1", 2: "exec:s@1:input:1"}
    cell_pass.wait()
    assert await cell_pass.turn() == CellWaits(("exec:s@1:input:1",))
    assert not cell_pass.parked
    cell_pass.park()
    assert cell_pass.parked
    cell_pass.let_go()
    assert await cell_pass.turn() is None
    assert not cell_pass.lives


async def test_an_answer_lets_the_code_run_on(cell_pass: Pass) -> None:
    cell_pass.wait()
    cell_pass.park()
    cell_pass.go_on()
    assert cell_pass.runs
    assert not cell_pass.waits
