"""The report at the end of the demo, read from the two stores and the journal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from durable.demo.supervisor import DemoRun
from durable.engine.views import ServedFunctions, detail_view
from durable.records.view_models import DetailView, StepView


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One step or recorded call: how often its body really ran, and what is recorded of it."""

    id: str
    kind: str
    name: str
    state: str
    runs: int | None
    """How often the body ran; None where it cannot run twice: a question, or a cell, which goes on where it was cut."""

    @property
    def cut_off(self) -> int:
        """Runs that a kill cut off before their result was recorded."""
        return max(0, (self.runs or 0) - 1)


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the demo found out."""

    seed: int
    kills: list[str]
    engines: int
    restored: list[str]
    rows: list[ReportRow]
    result: Any
    undisturbed: Any

    @property
    def equal(self) -> bool:
        """Whether the killed job and the undisturbed one came to the same result."""
        return self.result is not None and self.result == self.undisturbed

    def to_json(self) -> dict[str, Any]:
        """The documented JSON."""
        from dataclasses import asdict

        return {**asdict(self), "equal": self.equal}


async def findings(seed: int, run: DemoRun, reference: DemoRun) -> Findings:
    """Read both stores."""
    disturbed, undisturbed = await _detail(run), await _detail(reference)
    ran = Counter(run.journal.read_text("utf-8").splitlines())
    rows = [_row(step, ran) for step in disturbed.steps]
    return Findings(seed, run.done, run.engines, run.restored, rows, disturbed.result, undisturbed.result)


async def _detail(run: DemoRun) -> DetailView:
    from durable.store.sqlite.store import Store

    store = await Store.open(run.store, create=False)
    try:
        row = await store.reads.get_execution(run.id)
        assert row is not None
        return await detail_view(store.reads, row, ServedFunctions(frozenset(), {}))
    finally:
        await store.close()


def _row(step: StepView, ran: Counter[str]) -> ReportRow:
    is_call = ":" in step.id
    runs: int | None = ran[f"call\t{step.id}"] if is_call else ran[f"step\t{step.name}"]
    if step.kind == "execute" or ":input:" in step.id:
        runs = None
    return ReportRow(step.id, "call" if is_call else step.kind, step.name, step.state, runs)
