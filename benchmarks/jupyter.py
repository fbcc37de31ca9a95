"""The Jupyter kernel beside ipykernel, both through jupyter_client: start to first result, `1+1`, 100 MB printed."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target


def _beside(name: str, what: str, turn: str, most: float, size: int, quick: int) -> Benchmark:
    return Benchmark(
        name=name,
        what=what,
        unit="s",
        entrants=(
            Entrant("durable kernel", "durable_kernel", turn),
            Entrant("ipykernel", "ipykernel_session", turn, peer_env=True),
        ),
        comparisons=(Comparison("durable kernel", "ipykernel", Target("at most", most)),),
        size=size,
        size_quick=quick,
    )


KERNEL = (
    _beside("kernel-start", "a kernel's start to its first result", "start", 0.5, 3, 1),
    _beside("kernel-cell", "`1+1` in a kernel", "quick", 0.8, 200, 40),
    _beside("kernel-printing", "100 MB printed by a kernel, all of it received", "printed", 0.5, 100, 10),
)
"""Run with the extra and the group `jupyter`."""
