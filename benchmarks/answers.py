"""A wait for a person and its answer: from an answer to the next wait, with both recorded."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant

BENCHMARK = Benchmark(
    name="answers",
    what="an answer to the next wait",
    unit="s",
    entrants=(
        Entrant("function", "durable_answers", "function"),
        Entrant("session", "durable_answers", "session"),
        Entrant("LangGraph", "langgraph_answers", "cycles", peer_env=True),
        Entrant("LangGraph, sync", "langgraph_answers sync", "cycles", peer_env=True),
    ),
    comparisons=(
        Comparison("function", "LangGraph"),
        Comparison("function", "LangGraph, sync"),
        Comparison("session", "LangGraph"),
        Comparison("session", "LangGraph, sync"),
    ),
    size=10,
    size_quick=3,
)
