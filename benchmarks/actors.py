"""Actors: a turn beside a one-step execution and Restate's virtual object; messages, routing and lookup in memory."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target
from benchmarks.step_latency import RESTATE

OURS = "durable_actors"

ACTORS = (
    Benchmark(
        name="actor-turn",
        what="a request to a durable actor, one field changed",
        unit="s",
        entrants=(
            Entrant("durable-exec", OURS, "turn"),
            Entrant("one-step execution", OURS, "execution"),
            Entrant("Restate", RESTATE, "object_turn", peer_env=True),
        ),
        comparisons=(
            Comparison("durable-exec", "one-step execution", Target("at most", 1.5)),
            Comparison("durable-exec", "Restate", Target("at most", 0.7)),
        ),
        size=100,
        size_quick=30,
    ),
    Benchmark(
        name="actor-keys",
        what="requests to 64 durable actors at concurrency 64",
        unit="1/s",
        entrants=(
            Entrant("durable-exec", OURS, "keys"),
            Entrant("Restate", RESTATE, "object_keys", peer_env=True),
        ),
        comparisons=(Comparison("durable-exec", "Restate", Target("at least", 2.0)),),
        size=512,
        size_quick=128,
    ),
    Benchmark(
        name="actor-memory",
        what="requests to an actor in memory",
        unit="1/s",
        entrants=(Entrant("durable-exec", OURS, "memory"),),
        comparisons=(Comparison("durable-exec", None, Target("at least", 10_000)),),
        size=100,
        size_quick=30,
    ),
    Benchmark(
        name="actor-component",
        what="a request to a durable actor that is a component",
        unit="s",
        entrants=(Entrant("durable-exec", OURS, "component"), Entrant("a class in Python", OURS, "turn")),
        comparisons=(Comparison("durable-exec", "a class in Python"),),
        size=100,
        size_quick=30,
    ),
    Benchmark(
        name="actor-component-memory",
        what="requests to an actor in memory that is a component, a hundred at a time",
        unit="1/s",
        entrants=(Entrant("durable-exec", OURS, "component_memory"),),
        comparisons=(Comparison("durable-exec", None, Target("at least", 10_000)),),
        size=100,
        size_quick=30,
    ),
    Benchmark(
        name="actor-spawn",
        what="the start of an actor in memory whose component is compiled (A36)",
        unit="s",
        entrants=(Entrant("durable-exec", OURS, "spawn"),),
        comparisons=(Comparison("durable-exec", None, Target("at most", 5e-3)),),
        size=100,
        size_quick=30,
    ),
    Benchmark(
        name="actor-route",
        what="a message routed without a queue (211 ns in compiled code, A41)",
        unit="s",
        entrants=(Entrant("durable-exec", OURS, "route"),),
        comparisons=(Comparison("durable-exec", None, Target("at most", 1e-6)),),
        size=100,
        size_quick=30,
    ),
    Benchmark(
        name="actor-lookup",
        what="a look into the registry (A38)",
        unit="s",
        entrants=(Entrant("durable-exec", OURS, "lookup"),),
        comparisons=(Comparison("durable-exec", None, Target("at most", 0.2e-6)),),
        size=100,
        size_quick=30,
    ),
)
