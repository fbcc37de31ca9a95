"""A call of an empty host function from code in a session: a hundred in one cell, per call."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="capabilities",
    what="call of an empty host function",
    unit="s",
    entrants=(
        Entrant("journaled", "durable_calls", "journaled"),
        Entrant("not journaled", "durable_calls", "quick"),
        Entrant("Monty", "monty_calls", "calls", peer_env=True),
    ),
    comparisons=(
        Comparison("journaled", None, Target("at most", 1.5e-3)),
        Comparison("not journaled", None, Target("at most", 150e-6)),
        Comparison("journaled", "Monty"),
        Comparison("not journaled", "Monty"),
    ),
    size=20,
    size_quick=5,
)
