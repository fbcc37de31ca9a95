"""Printing megabytes: from sending the code to having all of it, counted, and the value."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="printing",
    what="100 MB printed in lines of 100 characters, all of it received",
    unit="s",
    entrants=(
        Entrant("not journaled", "durable_session", "printed"),
        Entrant("journaled", "durable_session", "streamed"),
        Entrant("ipykernel", "ipykernel_session", "printed", peer_env=True),
    ),
    comparisons=(
        Comparison("not journaled", "ipykernel", Target("at most", 0.2)),
        Comparison("journaled", "ipykernel", Target("at most", 0.2)),
    ),
    size=100,
    size_quick=10,
)
