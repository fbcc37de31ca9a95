"""A checkpoint of a small namespace (namespace.py), whole and after one small change.

Ours is grouped, content-addressed and signed, and a lost name does not lose the others; the peers' is one pickle. All
in memory: the store's part is in the journaled cell.
"""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant

BENCHMARK = Benchmark(
    name="checkpoint",
    what="checkpoint of a small namespace",
    unit="s",
    entrants=(
        Entrant("whole", "durable_checkpoint", "whole"),
        Entrant("one change", "durable_checkpoint", "incremental"),
        Entrant("dill", "whole_pickles", "dill", peer_env=True),
        Entrant("cloudpickle", "whole_pickles", "cloudpickle", peer_env=True),
    ),
    comparisons=(
        Comparison("whole", "dill"),
        Comparison("whole", "cloudpickle"),
        Comparison("one change", "dill"),
        Comparison("one change", "cloudpickle"),
    ),
    size=50,
    size_quick=20,
)
