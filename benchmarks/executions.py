"""One-step executions per second, 64 at a time: start one, await its result, start the next."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target
from benchmarks.step_latency import RESTATE, TEMPORAL

BENCHMARK = Benchmark(
    name="executions",
    what="one-step executions at concurrency 64",
    unit="1/s",
    entrants=(
        Entrant("durable-exec", "durable_functions", "executions"),
        Entrant("durable-exec, process", "durable_functions --durability=process", "executions"),
        Entrant("DBOS on SQLite", "dbos_functions", "executions", peer_env=True),
        Entrant("Restate", RESTATE, "executions", peer_env=True),
        Entrant("Temporal", TEMPORAL, "executions", peer_env=True),
        Entrant("SDK on a null store", "null_store", "executions"),
    ),
    comparisons=(
        Comparison("durable-exec", "DBOS on SQLite", Target("at least", 10.0)),
        Comparison("durable-exec", "Restate", Target("at least", 2.0)),
        Comparison("durable-exec", "Temporal", Target("at least", 3.0)),
        Comparison("durable-exec", "SDK on a null store"),
        Comparison("durable-exec, process", "SDK on a null store"),
    ),
    size=512,
    size_quick=128,
)
