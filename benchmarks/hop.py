"""A promise operation, and the hop from settling what a suspended function waits for to its code running again."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

PROCESS, POWER = "durable_hop --durability=process", "durable_hop"

PROMISE = Benchmark(
    name="promise",
    what="promise operation",
    unit="s",
    entrants=(Entrant("process", PROCESS, "operations"), Entrant("power", POWER, "operations")),
    comparisons=(Comparison("process", None, Target("at most", 0.001)), Comparison("power")),
    size=200,
    size_quick=40,
)
HOP = Benchmark(
    name="hop",
    what="settled to running again",
    unit="s",
    entrants=(Entrant("process", PROCESS, "hops"), Entrant("power", POWER, "hops")),
    comparisons=(Comparison("process", None, Target("at most", 0.001)), Comparison("power")),
    size=100,
    size_quick=20,
)
