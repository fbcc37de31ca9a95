"""Where an execution was at a checkpoint, and what its worker is sent to go on there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.protocol.messages import Checkpoint, Execute
from durable.core.frozen_record import FrozenRecord
from durable.sessions.execution.cell import Pass
from durable.sessions.execution.outcome import recordable


class ExecutionPosition(FrozenRecord, frozen=True):
    """Where an execution was at a checkpoint. `outcome` is set at its end; `counters` are calls per capability.

    `iteration`: finished iterations of that statement's resumable loop.
    """

    execution: str = ""
    statement: int = 0
    counters: dict[str, int] = msgspec.field(default_factory=dict)
    output_offset: int = 0
    outcome: dict[str, Any] | None = None
    iteration: int = 0

    @property
    def reached(self) -> tuple[bool, int, int, int]:
        """How far the code had come: greater where it went on. Calls count too."""
        return self.outcome is not None, self.statement, self.iteration, sum(self.counters.values())


def position_at(found: Pass, message: Checkpoint, told: Mapping[str, Any]) -> ExecutionPosition:
    """The position of a worker's checkpoint, held against the recorded calls. told: what its outcome says too."""
    taken = found.journal.taken()
    return ExecutionPosition(
        execution=found.execution_id,
        statement=message.statement,
        counters={name: min(n, taken.get(name, 0)) for name, n in message.counters.items()},
        output_offset=message.output_offset,
        outcome=None if message.outcome is None else {**recordable(message.outcome), **told},
        iteration=message.iteration,
    )


def request_from(
    found: Pass,
    begin: ExecutionPosition,
    code: str,
    filename: str,
    capabilities: list[str | dict[str, Any]] | None,
    saved_before: list[str],
) -> Execute:
    """The request to run the cell from there on. saved_before: capabilities before whose calls it is saved."""
    return Execute(
        id=found.execution_id,
        code=code,
        filename=filename,
        start_statement=begin.statement,
        start_iteration=begin.iteration,
        counters=begin.counters,
        inputs=found.cell.inputs if begin.statement == 0 else {},
        checkpoint=found.cell.checkpoint,
        checkpoint_every_s=found.cell.every_s,
        checkpoint_before=saved_before,
        capabilities=capabilities,
        output_offset=begin.output_offset,
        transaction=found.cell.transaction,
        traceparent=found.traceparent,
    )
