"""JavaScript in QuickJS as WebAssembly, beside QuickJS as native code, Extism and Monty."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

_TIME, _FUEL, _NATIVE = "metered by time", "metered by fuel too", "native QuickJS"


def _cpu(turn: str, what: str) -> Benchmark:
    return Benchmark(
        name=f"javascript-{turn}",
        what=what,
        unit="s",
        entrants=(
            Entrant(_TIME, "durable_javascript", turn),
            Entrant(_FUEL, "durable_javascript fuel", turn),
            Entrant(_NATIVE, "native_quickjs", turn, peer_env=True),
        ),
        comparisons=(Comparison(_TIME, _NATIVE, Target("at most", 3.0)), Comparison(_FUEL, _NATIVE)),
        size=10,
        size_quick=3,
    )


JAVASCRIPT = (
    Benchmark(
        name="javascript-instance",
        what="a new instance, ready to run",
        unit="s",
        entrants=(
            Entrant("ours", "durable_javascript", "instance"),
            Entrant(_NATIVE, "native_quickjs", "instance", peer_env=True),
            Entrant("Extism, an empty module", "extism_module", "instance", peer_env=True),
        ),
        comparisons=(
            Comparison("ours", None, Target("at most", 100e-6)),
            Comparison("ours", _NATIVE),
            Comparison("ours", "Extism, an empty module"),
        ),
        size=200,
        size_quick=50,
    ),
    Benchmark(
        name="javascript-eval",
        what="1+1 in an instance that is there",
        unit="s",
        entrants=(
            Entrant("ours", "durable_javascript", "evaluation"),
            Entrant(_NATIVE, "native_quickjs", "evaluation", peer_env=True),
            Entrant("Monty", "monty_calls", "evaluation", peer_env=True),
        ),
        comparisons=(
            Comparison("ours", None, Target("at most", 25e-6)),
            Comparison("ours", _NATIVE),
            Comparison("ours", "Monty"),
        ),
        size=1000,
        size_quick=200,
    ),
    _cpu("fib", "fib(25)"),
    _cpu("json", "2,000 times JSON there and back"),
    _cpu("sha256", "SHA-256 of 64 KB"),
    Benchmark(
        name="javascript-call",
        what="a call of an empty host function",
        unit="s",
        entrants=(
            Entrant("ours", "durable_javascript", "calls"),
            Entrant(_NATIVE, "native_quickjs", "calls", peer_env=True),
            Entrant("Monty", "monty_calls", "calls", peer_env=True),
        ),
        comparisons=(Comparison("ours", _NATIVE), Comparison("ours", "Monty")),
        size=20,
        size_quick=5,
    ),
    Benchmark(
        name="javascript-snapshot",
        what="the state of an instance with a thousand objects",
        unit="s",
        entrants=(
            Entrant("taken", "durable_javascript", "snapshot"),
            Entrant("restored", "durable_javascript", "restore"),
        ),
        comparisons=(Comparison("taken", None), Comparison("restored", None)),
        size=50,
        size_quick=10,
    ),
    Benchmark(
        name="javascript-hundred",
        what="100 trivial scripts at once, an instance each",
        unit="s",
        entrants=(Entrant("ours", "durable_javascript", "hundred"),),
        comparisons=(Comparison("ours", None, Target("at most", 0.56)),),
        size=5,
        size_quick=2,
    ),
)
