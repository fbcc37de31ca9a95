"""Checkpoints of large namespaces (namespaces.py): how long code pauses, and what one small change costs.

Ours is measured to the payload's last byte, as the engine gets it; cloudpickle has no increment, so after one small
change everything is written again. Both in one environment, because a session's packages are.
"""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target


def _benchmark(case: str, what: str) -> Benchmark:
    return Benchmark(
        name=f"checkpoint-{case}",
        what=what,
        unit="s",
        entrants=(
            Entrant("whole: pause", "large_checkpoint", f"{case} pause"),
            Entrant("whole", "large_checkpoint", f"{case} whole"),
            Entrant("one change", "large_checkpoint", f"{case} change"),
            Entrant("cloudpickle", "large_pickles", case),
        ),
        comparisons=(
            Comparison("whole: pause", None, Target("at most", 0.010)),
            Comparison("whole: pause", "cloudpickle"),
            Comparison("whole", "cloudpickle"),
            Comparison("one change", None, Target("at most", 0.010)),
            Comparison("one change", "cloudpickle"),
        ),
        size=10,
        size_quick=4,
    )


ARRAY = _benchmark("array", "checkpoint of an array of 200 MB and 20 small variables")
SMALL = _benchmark("small", "checkpoint of 1,000 small variables")
