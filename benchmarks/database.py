"""The same step and executions on PostgreSQL, each contender with a server of its own, set up alike."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

OURS = "durable_functions --postgres"
DBOS = "dbos_functions --postgres"

STEP = Benchmark(
    name="step-postgres",
    what="durable step on PostgreSQL",
    unit="s",
    entrants=(
        Entrant("durable-exec", OURS, "steps"),
        Entrant("DBOS on PostgreSQL", DBOS, "steps", peer_env=True),
    ),
    comparisons=(Comparison("durable-exec", "DBOS on PostgreSQL", Target("at most", 0.5)),),
    size=100,
    size_quick=30,
)

CELL = Benchmark(
    name="cell-postgres",
    what="`1+1` in a session, journaled on PostgreSQL",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_session --postgres", "journaled"),
        Entrant("on SQLite", "durable_session", "journaled"),
        Entrant("ipykernel", "ipykernel_session", "quick", peer_env=True),
    ),
    comparisons=(
        Comparison("durable-exec", None, Target("at most", 0.003)),
        Comparison("durable-exec", "on SQLite"),
        Comparison("durable-exec", "ipykernel"),
    ),
    size=200,
    size_quick=50,
)

RECOVERY = Benchmark(
    name="recovery-postgres",
    what="1,000 executions killed while waiting, on PostgreSQL: restart to all done",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_recovery --postgres", "1000"),
        Entrant("DBOS on PostgreSQL", "dbos_recovery", "1000", peer_env=True),
    ),
    comparisons=(Comparison("durable-exec", "DBOS on PostgreSQL", Target("at most", 1 / 3)),),
    size=1,
    size_quick=1,
)

EXECUTIONS = Benchmark(
    name="executions-postgres",
    what="one-step executions on PostgreSQL at concurrency 64",
    unit="1/s",
    entrants=(
        Entrant("durable-exec", OURS, "executions"),
        Entrant("DBOS on PostgreSQL", DBOS, "executions", peer_env=True),
    ),
    comparisons=(Comparison("durable-exec", "DBOS on PostgreSQL", Target("at least", 5.0)),),
    size=512,
    size_quick=128,
)
