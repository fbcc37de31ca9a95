"""`1+1` in a session that is warm: from sending the code to having its value in the caller's process."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="cell",
    what="`1+1` in a session",
    unit="s",
    entrants=(
        Entrant("not journaled", "durable_session", "quick"),
        Entrant("journaled", "durable_session", "journaled"),
        Entrant("ipykernel", "ipykernel_session", "quick", peer_env=True),
        Entrant("raw pipe", "raw_pipe", "quick"),
    ),
    comparisons=(
        Comparison("not journaled", "raw pipe", Target("at most", 2.0)),
        Comparison("not journaled", "ipykernel"),
        Comparison("journaled", "ipykernel", Target("at most", 1.0)),
    ),
    size=200,
    size_quick=50,
)
