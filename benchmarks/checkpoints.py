"""Checkpoints of large namespaces (namespaces.py): how long code pauses, what the first save, one small change and a
restore cost, beside dill, cloudpickle and Kishu, and beside writing and reading the same bytes.

The pause is the worker's, measured where it captures. Save, change and restore are a session's, store and all. dill and
cloudpickle have no increment, so after a small change they save everything again.
"""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

PEERS = ("cloudpickle", "dill", "Kishu")


def _times(case: str, what: str) -> Benchmark:
    at_200_mb = case == "array"
    return Benchmark(
        name=f"checkpoint-{case}",
        what=f"checkpoint of {what}",
        unit="s",
        entrants=(
            Entrant("pause", "large_checkpoint", f"{case} pause"),
            Entrant("pause p99", "large_checkpoint", f"{case} pause p99"),
            Entrant("capture", "large_checkpoint", f"{case} whole"),
            Entrant("capture, one change", "large_checkpoint", f"{case} change"),
            Entrant("save", "session_checkpoints", f"{case} save"),
            Entrant("save, one change", "session_checkpoints", f"{case} change"),
            Entrant("restore", "session_checkpoints", f"{case} restore"),
            Entrant("write + fsync", "large_pickles", f"{case} write", peer_env=True),
            Entrant("warm read", "large_pickles", f"{case} read", peer_env=True),
            Entrant("cloudpickle", "large_pickles", f"cloudpickle {case} save", peer_env=True),
            Entrant("cloudpickle, restore", "large_pickles", f"cloudpickle {case} restore", peer_env=True),
            Entrant("dill", "large_pickles", f"dill {case} save", peer_env=True),
            Entrant("dill, restore", "large_pickles", f"dill {case} restore", peer_env=True),
            Entrant("Kishu", "kishu_commits", f"{case} save", peer_env=True),
            Entrant("Kishu, one change", "kishu_commits", f"{case} change", peer_env=True),
            Entrant("Kishu, restore", "kishu_commits", f"{case} restore", peer_env=True),
        ),
        comparisons=(
            Comparison("pause", None, Target("at most", 0.005)),
            Comparison("pause p99", None, Target("at most", 0.010)),
            Comparison("capture, one change", None, Target("at most", 0.010)),
            Comparison("save, one change", None, Target("at most", 0.010)),
            Comparison("save, one change", "Kishu, one change"),
            Comparison("save", "write + fsync", Target("at most", 1.5) if at_200_mb else None),
            *(Comparison("save", peer, Target("at most", 1.0) if peer == "cloudpickle" else None) for peer in PEERS),
            Comparison("restore", "warm read", Target("at most", 1.5) if at_200_mb else None),
            *(Comparison("restore", f"{peer}, restore") for peer in PEERS),
        ),
        size=10,
        size_quick=4,
    )


def _bytes(case: str, what: str) -> Benchmark:
    return Benchmark(
        name=f"checkpoint-{case}-bytes",
        what=f"one small change beside {what}",
        unit="B",
        entrants=(
            Entrant("brought", "large_checkpoint", f"{case} bytes"),
            Entrant("Kishu", "kishu_commits", f"{case} bytes", peer_env=True),
        ),
        comparisons=(Comparison("brought", None, Target("at most", 16 * 2**10)), Comparison("brought", "Kishu")),
        size=4,
        size_quick=2,
    )


CASES = {
    "array": "an array of 200 MB and 20 small variables",
    "frame": "a frame of 1,000,000 rows with columns of objects",
    "small": "1,000 small variables",
}
LARGE = tuple(make(case, what) for case, what in CASES.items() for make in (_times, _bytes))
