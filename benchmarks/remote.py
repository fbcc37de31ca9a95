"""The same store over HTTP: one promise operation, and from an answer to the code that waited for it."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="remote",
    what="over HTTP",
    unit="s",
    entrants=(
        Entrant("promise operation", "durable_remote", "operations"),
        Entrant("suspend-resume hop", "durable_remote", "hops"),
    ),
    comparisons=(
        Comparison("promise operation", None, Target("at most", 0.010)),
        Comparison("suspend-resume hop", None, Target("at most", 0.010)),
    ),
    size=100,
    size_quick=30,
)
"""Ours alone: `durable serve` in a process of its own, engine and client in another."""
