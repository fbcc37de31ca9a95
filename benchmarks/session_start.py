"""A new session: from asking for it to the value of its first cell, `1+1`; fifty at once; their memory."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

BENCHMARK = Benchmark(
    name="session-start",
    what="session start",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_session", "start"),
        Entrant("ipykernel", "ipykernel_session", "start", peer_env=True),
        Entrant("raw pipe", "raw_pipe", "start"),
    ),
    comparisons=(
        Comparison("durable-exec", None, Target("at most", 0.010)),
        Comparison("durable-exec", "ipykernel", Target("at most", 1 / 50)),
        Comparison("durable-exec", "raw pipe"),
    ),
    size=3,
    size_quick=2,
)

FIFTY = Benchmark(
    name="fifty-sessions",
    what="50 sessions at once, to the last first result",
    unit="s",
    entrants=(Entrant("durable-exec", "durable_session", "fifty"),),
    comparisons=(Comparison("durable-exec", None, Target("at most", 0.5)),),
    size=50,
    size_quick=50,
)

MEMORY = Benchmark(
    name="session-memory",
    what="memory that a session's worker shares with nobody",
    unit="B",
    entrants=(Entrant("durable-exec", "durable_session", "memory"),),
    comparisons=(Comparison("durable-exec", None, Target("at most", 5 * 2**20)),),
    size=10,
    size_quick=5,
)
