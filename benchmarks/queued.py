"""From `enqueue` to the function running, beside DBOS, and beside the same on a store of 1,000,000 settled promises."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

DBOS_POLLS = "dbos_functions --poll=0.001"
"""The smallest interval that DBOS takes for messages, and for queues as well; 1 s is its default for both."""
SETTLED = "durable_functions --settled=1000000"

ENQUEUE = Benchmark(
    name="enqueue",
    what="enqueue to the function running",
    unit="s",
    entrants=(
        Entrant("durable-exec", "durable_functions", "enqueue"),
        Entrant("durable-exec, process", "durable_functions --durability=process", "enqueue"),
        Entrant("DBOS on SQLite", "dbos_functions", "enqueue", peer_env=True),
        Entrant("DBOS, polls each ms", DBOS_POLLS, "enqueue", peer_env=True),
    ),
    comparisons=(
        Comparison("durable-exec", "DBOS on SQLite", Target("at most", 1 / 3)),
        Comparison("durable-exec", "DBOS, polls each ms", Target("at most", 1 / 3)),
    ),
    size=30,
    size_quick=5,
)

FLAT_ENQUEUE = Benchmark(
    name="flat-enqueue",
    what="enqueue to the function running beside 1,000,000 settled promises",
    unit="s",
    entrants=(Entrant("1,000,000 settled", SETTLED, "enqueue"), Entrant("none", "durable_functions", "enqueue")),
    comparisons=(Comparison("1,000,000 settled", "none", Target("at most", 1.2)),),
    size=100,
    size_quick=30,
)

FLAT_LIST = Benchmark(
    name="flat-list",
    what="a page of 50 executions, and the queues with their counts, beside 1,000,000 settled promises",
    unit="s",
    entrants=(Entrant("1,000,000 settled", SETTLED, "list"), Entrant("50 settled", "durable_functions", "list")),
    comparisons=(Comparison("1,000,000 settled", "50 settled", Target("at most", 1.2)),),
    size=100,
    size_quick=30,
)

QUEUES = (ENQUEUE, FLAT_ENQUEUE, FLAT_LIST)
