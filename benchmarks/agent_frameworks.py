"""Integrations of agent frameworks beside what the frameworks have themselves: the time of a node, and of a step."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

_AHEAD = Target("at most", 1.0)

FRAMEWORKS = (
    Benchmark(
        name="graph-node",
        what="a node of a LangGraph graph",
        unit="s",
        entrants=(
            Entrant("DurableSaver", "durable_graph", "nodes"),
            Entrant("durable_graph", "durable_graph", "function"),
            Entrant("SqliteSaver", "langgraph_savers", "nodes", peer_env=True),
            Entrant("AsyncSqliteSaver", "langgraph_savers", "async", peer_env=True),
            Entrant("no saver", "langgraph_savers", "none", peer_env=True),
        ),
        comparisons=(
            Comparison("DurableSaver", "SqliteSaver", _AHEAD),
            Comparison("DurableSaver", "AsyncSqliteSaver"),
            Comparison("durable_graph", "SqliteSaver", _AHEAD),
            Comparison("DurableSaver", "no saver"),
        ),
        size=5,
        size_quick=3,
    ),
    Benchmark(
        name="graph-node-postgres",
        what="a node of a LangGraph graph, PostgreSQL",
        unit="s",
        entrants=(
            Entrant("DurableSaver", "durable_graph --postgres", "nodes"),
            Entrant("AsyncPostgresSaver", "langgraph_savers --postgres", "nodes", peer_env=True),
        ),
        comparisons=(Comparison("DurableSaver", "AsyncPostgresSaver"),),
        size=5,
        size_quick=3,
    ),
    Benchmark(
        name="agent-step",
        what="a step of a Pydantic AI agent",
        unit="s",
        entrants=(
            Entrant("durable-exec", "durable_agent", "steps"),
            Entrant("DBOS on SQLite", "dbos_agent", "steps", peer_env=True),
            Entrant("not recorded", "durable_agent", "none"),
        ),
        comparisons=(
            Comparison("durable-exec", "DBOS on SQLite", _AHEAD),
            Comparison("durable-exec", "not recorded"),
        ),
        size=5,
        size_quick=3,
    ),
)
