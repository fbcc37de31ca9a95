"""Calls of WebAssembly: core modules beside Extism, components beside wasmtime's own package; what guards cost."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

_OURS, _EXTISM, _FLOOR = "ours", "Extism", "wasmtime's package"


def _module(name: str, what: str, turn: str, size: int) -> Benchmark:
    return Benchmark(
        name=name,
        what=what,
        unit="s",
        entrants=(
            Entrant(_OURS, "durable_modules", turn),
            Entrant(_EXTISM, "extism_module", turn, peer_env=True),
        ),
        comparisons=(Comparison(_OURS, _EXTISM),),
        size=size,
        size_quick=size // 4,
    )


def _component(name: str, what: str, turn: str) -> Benchmark:
    return Benchmark(
        name=name,
        what=what,
        unit="s",
        entrants=(
            Entrant(_OURS, "durable_modules", f"component-{turn}"),
            Entrant(_FLOOR, "durable_modules", f"bare-{turn}"),
        ),
        comparisons=(Comparison(_OURS, _FLOOR),),
        size=200,
        size_quick=50,
    )


MODULES = (
    _module("wasm-compile", "a module that was not seen before: compiled, instantiated, called", "compile", 40),
    _module("wasm-instance", "a compiled module: instantiated, called", "instance", 200),
    _module("wasm-call", "a call of an instance that is there", "call", 400),
    _component("component-instance", "a compiled component: instantiated, called", "instance"),
    _component("component-call", "a call of a component's instance, a record and a list of 10 numbers", "call"),
    Benchmark(
        name="guards",
        what="40,000,000 rounds of a loop in a module",
        unit="s",
        entrants=(
            Entrant("time", "durable_guards", "time"),
            Entrant("fuel and time", "durable_guards", "fuel"),
            Entrant("no guard", "durable_guards", "none"),
        ),
        comparisons=(Comparison("time", "no guard"), Comparison("fuel and time", "no guard")),
        size=5,
        size_quick=2,
    ),
    Benchmark(
        name="ticker",
        what="processor time of a second in which no code runs",
        unit="s",
        entrants=(Entrant("ticking", "durable_guards", "ticking"), Entrant("resting", "durable_guards", "resting")),
        comparisons=(Comparison("ticking", None), Comparison("resting", None)),
        size=3,
        size_quick=1,
    ),
    Benchmark(
        name="decision",
        what="a decision about a call",
        unit="s",
        entrants=(
            Entrant("seen before", "durable_decisions", "cached"),
            Entrant("new resource", "durable_decisions", "new"),
        ),
        comparisons=(
            Comparison("seen before", None, Target("at most", 5e-6)),
            Comparison("new resource", None, Target("at most", 5e-6)),
        ),
        size=1000,
        size_quick=200,
    ),
)
