"""One-step executions per second on a store with 1,000,000 settled promises, beside an empty one."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="flat",
    what="one-step executions beside 1,000,000 settled promises",
    unit="1/s",
    entrants=(
        Entrant("1,000,000 settled", "durable_functions --settled=1000000", "executions"),
        Entrant("none", "durable_functions", "executions"),
        Entrant("1,000,000 settled, process", "durable_functions --settled=1000000 --durability=process", "executions"),
        Entrant("none, process", "durable_functions --durability=process", "executions"),
    ),
    comparisons=(
        Comparison("1,000,000 settled", "none", Target("at least", 0.8)),
        Comparison("1,000,000 settled, process", "none, process", Target("at least", 0.8)),
    ),
    size=512,
    size_quick=256,
)
