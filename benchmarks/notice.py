"""From a commit in one process to its being seen in another, with notifications and with all of them lost."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="notice",
    what="commit to seen, two processes",
    unit="s",
    entrants=(
        Entrant("notified", "durable_notice", "notified"),
        Entrant("notifications lost", "durable_notice", "lost"),
    ),
    comparisons=(
        Comparison("notified", None, Target("at most", 0.005)),
        Comparison("notifications lost", None, Target("at most", 0.100)),
    ),
    size=200,
    size_quick=40,
)
