"""A durable step: from calling it inside a running function to its result, recorded. One function at a time."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

RESTATE = "restate_functions --server {restate_server}"
TEMPORAL = "temporal_functions"

BENCHMARK = Benchmark(
    name="step",
    what="durable step",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_functions", "steps"),
        Entrant("durable-exec, process", "durable_functions --durability=process", "steps"),
        Entrant("DBOS on SQLite", "dbos_functions", "steps", peer_env=True),
        Entrant("Restate", RESTATE, "steps", peer_env=True),
        Entrant("Temporal", TEMPORAL, "steps", peer_env=True),
        Entrant("Temporal, local activity", TEMPORAL, "local_steps", peer_env=True),
        Entrant("SDK on a null store", "null_store", "steps"),
    ),
    comparisons=(
        Comparison("durable-exec", "DBOS on SQLite", Target("at most", 1 / 3)),
        Comparison("durable-exec", "Restate", Target("at most", 0.6)),
        Comparison("durable-exec", "Temporal", Target("at most", 1 / 3)),
        Comparison("durable-exec", "Temporal, local activity"),
        Comparison("durable-exec", "SDK on a null store"),
        Comparison("durable-exec, process", "SDK on a null store"),
    ),
    size=100,
    size_quick=30,
)
