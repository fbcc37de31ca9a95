"""Control of executions: a signal to the code that waits for it, and a parent's fan-out to its children."""

from __future__ import annotations

from benchmarks.database import DBOS, OURS
from benchmarks.figures import Benchmark, Comparison, Entrant, Target
from benchmarks.queued import DBOS_POLLS
from benchmarks.step_latency import RESTATE, TEMPORAL

THIRD = Target("at most", 1 / 3)

SIGNAL = Benchmark(
    name="signal",
    what="a signal sent to the waiting code running again",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_functions", "signals"),
        Entrant("DBOS on SQLite", "dbos_functions", "signals", peer_env=True),
        Entrant("DBOS, polls each ms", DBOS_POLLS, "signals", peer_env=True),
        Entrant("Temporal", TEMPORAL, "signals", peer_env=True),
        Entrant("Restate, a workflow's promise", RESTATE, "signals", peer_env=True),
    ),
    comparisons=(
        Comparison("durable-exec", "DBOS on SQLite", THIRD),
        Comparison("durable-exec", "DBOS, polls each ms", THIRD),
        Comparison("durable-exec", "Temporal", THIRD),
        Comparison("durable-exec", "Restate, a workflow's promise"),
    ),
    size=20,
    size_quick=5,
)

SIGNAL_POSTGRES = Benchmark(
    name="signal-postgres",
    what="a signal sent to the waiting code running again, on PostgreSQL",
    unit="s",
    entrants=(
        Entrant("durable-exec", OURS, "signals"),
        Entrant("DBOS on PostgreSQL", DBOS, "signals", peer_env=True),
    ),
    comparisons=(Comparison("durable-exec", "DBOS on PostgreSQL", THIRD),),
    size=20,
    size_quick=5,
)

FAN_OUT = Benchmark(
    name="fan-out",
    what="1,000 children of one step each, until their parent has the sum",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_functions", "fan_out"),
        Entrant("DBOS on SQLite", "dbos_functions", "fan_out", peer_env=True),
        Entrant("Restate", RESTATE, "fan_out", peer_env=True),
    ),
    comparisons=(
        Comparison("durable-exec", "DBOS on SQLite", THIRD),
        Comparison("durable-exec", "Restate", THIRD),
    ),
    size=1_000,
    size_quick=1_000,
)

CONTROL = (SIGNAL, SIGNAL_POSTGRES, FAN_OUT)
