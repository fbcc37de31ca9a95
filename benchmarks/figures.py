"""Figures: the pairs that are compared, and their medians and ratios. No I/O.

A benchmark has entrants, which take turns round by round. An entrant's figure is the median of its rounds' medians. A
ratio is always ours / beside, taken within each round, so that a slow minute of the machine hits both sides; the
reported one is the median of the rounds' ratios, and its spread says how far to trust it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Unit = Literal["s", "1/s", "B"]
Bound = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Entrant:
    """One thing measured: a turn of a contender (a module of benchmarks.contenders)."""

    label: str
    contender: str
    turn: str
    peer_env: bool = False
    """Whether it runs in the peers' environment instead of this one."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for a ratio ours / beside, or, for a comparison with nothing, for our figure itself."""

    bound: Bound
    value: float

    def met(self, found: float) -> bool:
        """Whether what was found keeps the bound."""
        return found <= self.value if self.bound == "at most" else found >= self.value


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the report: an entrant of ours, beside a peer or a floor (or nothing), and the target if any."""

    ours: str
    beside: str | None = None
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`size` and `size_quick` go to every turn: how many samples it takes, or executions it runs."""

    name: str
    what: str
    unit: Unit
    entrants: tuple[Entrant, ...]
    comparisons: tuple[Comparison, ...]
    size: int
    size_quick: int


type Rounds = Sequence[Sequence[float]]
"""The samples of one entrant: for each round, one or more, in the benchmark's unit."""


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison, measured. Figures in the benchmark's unit; None where an entrant could not take part."""

    what: str
    unit: Unit
    ours_label: str
    beside_label: str | None
    ours: float | None
    beside: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    target: Target | None
    met: bool | None
    """Whether the median meets the target."""
    rounds: int
    rounds_met: int
    """In how many rounds it is met: where rounds disagree, the machine was too busy to tell."""


def figure(rounds: Rounds) -> float:
    """The median of the rounds' medians."""
    return median(median(samples) for samples in rounds)


def ratios(ours: Rounds, beside: Rounds) -> list[float]:
    """Ours / beside, round by round; no ratio to nothing."""
    found = [(median(one), median(other)) for one, other in zip(ours, beside, strict=True)]
    return [one / other for one, other in found if other]


def compare(benchmark: Benchmark, measured: Mapping[str, Rounds]) -> list[Line]:
    """The lines of a benchmark from the rounds of those entrants that could take part, by label."""
    return [_line(benchmark, comparison, measured) for comparison in benchmark.comparisons]


def _line(benchmark: Benchmark, comparison: Comparison, measured: Mapping[str, Rounds]) -> Line:
    ours = measured.get(comparison.ours)
    beside = measured.get(comparison.beside) if comparison.beside is not None else None
    ours_figure = figure(ours) if ours else None
    found = sorted(ratios(ours, beside)) if ours and beside else []
    ratio = median(found) if found else None
    judged = sorted(map(median, ours)) if ours and comparison.beside is None else found
    target = comparison.target
    return Line(
        what=benchmark.what,
        unit=benchmark.unit,
        ours_label=comparison.ours,
        beside_label=comparison.beside,
        ours=ours_figure,
        beside=figure(beside) if beside else None,
        ratio=ratio,
        ratio_low=found[0] if found else None,
        ratio_high=found[-1] if found else None,
        target=target,
        met=target.met(median(judged)) if target is not None and judged else None,
        rounds=len(judged),
        rounds_met=sum(target.met(one) for one in judged) if target is not None else 0,
    )
