"""Stopping code: KeyboardInterrupt in what runs (p99 of a turn), a worker that was killed, code that holds the GIL."""

from __future__ import annotations

from benchmarks.contenders.interrupted import CODE
from benchmarks.figures import Benchmark, Comparison, Entrant, Target
from durable.core.limits import INTERRUPT_GRACE_S


def _interrupt(kind: str) -> Benchmark:
    return Benchmark(
        name=f"interrupt-{kind}",
        what=f"interrupt, {kind}, p99",
        unit="s",
        entrants=(
            Entrant("durable-exec", "durable_interrupt", kind),
            Entrant("ipykernel", "ipykernel_interrupt", kind, peer_env=True),
        ),
        comparisons=(
            Comparison("durable-exec", None, Target("at most", 0.020)),
            Comparison("durable-exec", "ipykernel"),
        ),
        size=100,
        size_quick=20,
    )


INTERRUPTS = tuple(_interrupt(kind) for kind in CODE)

KILLED = Benchmark(
    name="kill-noticed",
    what="SIGKILL of a worker to the engine's notice",
    unit="s",
    entrants=(Entrant("durable-exec", "durable_interrupt", "killed"),),
    comparisons=(Comparison("durable-exec", None, Target("at most", 0.005)),),
    size=20,
    size_quick=5,
)

HELD = Benchmark(
    name="interrupt-held",
    what="interrupt of C code that holds the GIL, to the restored session's next answer",
    unit="s",
    entrants=(Entrant("durable-exec", "durable_interrupt", "held"),),
    comparisons=(Comparison("durable-exec", None, Target("at most", 2 * INTERRUPT_GRACE_S + 0.1)),),
    size=3,
    size_quick=2,
)
