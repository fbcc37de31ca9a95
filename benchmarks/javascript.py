"""JavaScript in QuickJS as WebAssembly, beside QuickJS as native code, Extism and Monty."""

from __future__ import annotations

from benchmarks.figures import Benchmark, Comparison, Entrant, Target

_OURS, _FUEL, _NO_EPOCHS = "ours", "ours, with fuel", "ours, without epochs"
_NATIVE, _SAME, _EXTISM, _MONTY = "native QuickJS", "native quickjs-ng", "Extism, an empty module", "Monty"
_CONTENDERS = {
    _OURS: "durable_javascript",
    _FUEL: "durable_javascript fuel",
    _NO_EPOCHS: "durable_javascript unguarded",
    _NATIVE: "native_quickjs",
    _SAME: "native_quickjs {apart}",
    _EXTISM: "extism_module",
    _MONTY: "monty_calls",
}


def _beside(
    turn: str, what: str, *others: str, size: int, size_quick: int, most: float | None = None, name: str = ""
) -> Benchmark:
    """One turn of ours beside those of others. most: a target for our own figure."""
    entrants = [Entrant(each, _CONTENDERS[each], turn, not each.startswith(_OURS)) for each in (_OURS, *others)]
    own = () if most is None else (Comparison(_OURS, None, Target("at most", most)),)
    compared = (*own, *(Comparison(_OURS, each) for each in others))
    return Benchmark(f"javascript-{name or turn}", what, "s", tuple(entrants), compared, size, size_quick)


def _cpu(turn: str, what: str) -> Benchmark:
    """Computing: the target is beside QuickJS as the issue names it, and it is metered by time then."""
    entrants = (_OURS, _FUEL, _NO_EPOCHS, _NATIVE, _SAME)
    return Benchmark(
        name=f"javascript-{turn}",
        what=what,
        unit="s",
        entrants=tuple(Entrant(each, _CONTENDERS[each], turn, each in (_NATIVE, _SAME)) for each in entrants),
        comparisons=(
            Comparison(_OURS, _NATIVE, Target("at most", 3.0)),
            Comparison(_OURS, _SAME),
            Comparison(_OURS, _NO_EPOCHS),
            Comparison(_FUEL, _NATIVE),
            Comparison(_FUEL, _SAME),
        ),
        size=10,
        size_quick=3,
    )


JAVASCRIPT = (
    _beside("instance", "a new instance, ready to run", _NATIVE, _SAME, _EXTISM, most=100e-6, size=200, size_quick=50),
    _beside(
        "evaluation",
        "1+1 in an instance that is there",
        _NATIVE,
        _SAME,
        _MONTY,
        most=25e-6,
        size=1000,
        size_quick=200,
        name="eval",
    ),
    _cpu("fib", "fib(25)"),
    _cpu("json", "2,000 times JSON there and back"),
    _cpu("sha256", "SHA-256 of 64 KB"),
    _beside("calls", "a call of an empty host function", _NATIVE, _SAME, _MONTY, size=20, size_quick=5, name="call"),
    _beside("snapshot", "a thousand objects: state taken", _MONTY, size=50, size_quick=10),
    _beside("restore", "a thousand objects: state given to a new instance", _MONTY, size=50, size_quick=10),
    _beside(
        "hundred",
        "100 trivial scripts at once, an instance each",
        _NATIVE,
        _SAME,
        most=0.56,
        size=5,
        size_quick=2,
    ),
)
