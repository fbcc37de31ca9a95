"""Memory that the engine's process grows by for each promise that is pending and awaited in it."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="pending",
    what="memory of a pending, awaited promise",
    unit="B",
    entrants=(Entrant("10,000", "durable_pending", "10000"), Entrant("100,000", "durable_pending", "100000")),
    comparisons=(
        Comparison("10,000", None, Target("at most", 2048)),
        Comparison("100,000", None, Target("at most", 2048)),
    ),
    size=1,
    size_quick=1,
)
