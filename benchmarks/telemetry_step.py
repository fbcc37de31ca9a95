"""The cost of telemetry for a step: on, off, and with an engine that has no place where it would be told of steps."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="telemetry-step",
    what="durable step, telemetry",
    unit="s",
    entrants=(
        Entrant("on", "durable_telemetry", "on"),
        Entrant("off", "durable_telemetry", "off"),
        Entrant("no hooks", "durable_telemetry", "bare"),
        Entrant("on, process", "durable_telemetry --durability=process", "on"),
        Entrant("off, process", "durable_telemetry --durability=process", "off"),
        Entrant("no hooks, process", "durable_telemetry --durability=process", "bare"),
    ),
    comparisons=(
        Comparison("on", "off", Target("at most", 1.1)),
        Comparison("off", "no hooks", Target("at most", 1.01)),
        Comparison("on, process", "off, process"),
        Comparison("off, process", "no hooks, process", Target("at most", 1.01)),
    ),
    size=900,
    size_quick=100,
)
