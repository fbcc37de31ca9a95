"""Executions killed while they sleep: from starting again, their time having come, to the last one's end."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="recovery",
    what="executions killed while waiting: restart to all done",
    unit="s",
    entrants=(
        Entrant("durable-exec, 1,000", "durable_recovery", "1000"),
        Entrant("durable-exec, 10,000", "durable_recovery", "10000"),
        Entrant("Restate, 1,000", "restate_recovery --server {restate_server}", "1000", peer_env=True),
    ),
    comparisons=(
        Comparison("durable-exec, 1,000", "Restate, 1,000", Target("at most", 1 / 3)),
        Comparison("durable-exec, 10,000", None, Target("at most", 5.0)),
    ),
    size=1,
    size_quick=1,
)
