"""How a run is shown: a table for people, a document for `--json`."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Line, Target, Unit, figure
from benchmarks.rounds import Report


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
    }


def shown(value: float | None, unit: Unit) -> str:
    """A figure with three digits and a unit that fits."""
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / 2**20:.3g} MiB" if value >= 2**17 else f"{value / 2**10:.3g} KiB"
    if unit == "1/s":
        return f"{value:,.0f}/s"
    for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value * 1e6:.3g} µs"


def target_shown(target: Target | None, unit: Unit, *, ratio: bool) -> str:
    """The bound as it is read: of the ratio, or of our figure."""
    if target is None:
        return ""
    sign = "≤" if target.bound == "at most" else "≥"
    return f"{sign} {ratio_shown(target.value) if ratio else shown(target.value, unit)}"


def ratio_shown(ratio: float | None) -> str:
    """A ratio with three digits."""
    return "-" if ratio is None else f"{ratio:.3g}×"


def row(line: Line) -> tuple[str, ...]:
    """One line of the table."""
    spread = "" if line.ratio_low is None else f"{ratio_shown(line.ratio_low)} … {ratio_shown(line.ratio_high)}"
    return (
        line.what,
        line.ours_label,
        shown(line.ours, line.unit),
        line.beside_label or "",
        "" if line.beside_label is None else shown(line.beside, line.unit),
        "" if line.beside_label is None else ratio_shown(line.ratio),
        spread,
        target_shown(line.target, line.unit, ratio=line.beside_label is not None),
        verdict(line),
    )


def verdict(line: Line) -> str:
    """Whether the target is met, and in how many rounds where they do not agree."""
    if line.target is None:
        return ""
    if line.met is None:
        return "not measured"
    said = "yes" if line.met else "no"
    return said if line.rounds_met in (0, line.rounds) else f"{said} ({line.rounds_met} of {line.rounds})"


def show(console: Console, reports: Sequence[Report], missing: dict[str, str], where: dict[str, Any]) -> None:
    """Print the table, what took part, and what did not and why."""
    table = Table(title="ratios are ours / beside, medians of interleaved rounds")
    for name in ("what", "ours", "p50", "beside", "p50", "ratio", "rounds", "target", "met"):
        table.add_column(name, justify="right" if name in ("p50", "ratio") else "left", overflow="fold")
    for report in reports:
        for line in report.lines:
            table.add_row(*row(line))
        table.add_section()
    console.print(table)
    console.print(
        f"{where['processors']} processors, Linux {where['kernel']}, Python {where['python']}, SQLite {where['sqlite']}"
    )
    for report in reports:
        syncs = f"a sync cost {shown(median(report.syncs), 's')} ({shown(min(report.syncs), 's')} … "
        syncs += f"{shown(max(report.syncs), 's')}), load {median(report.loads):.1f} (… {max(report.loads):.1f})"
        console.print(f"  during {report.benchmark.name}: {syncs}", highlight=False)
    for about in dict.fromkeys(about for report in reports for about in report.about.values()):
        console.print(f"  {about}", highlight=False)
    for report in reports:
        for label, why in report.absent.items():
            console.print(f"not measured: {label} in {report.benchmark.name}: {why}", markup=False)
    for what, why in missing.items():
        console.print(f"could not be installed: {what}: {why}", markup=False)


def document(reports: Sequence[Report], missing: dict[str, str], where: dict[str, Any]) -> dict[str, Any]:
    """The run as JSON; figures in seconds or executions per second, samples round by round."""
    return {
        "machine": where,
        "missing": missing,
        "benchmarks": [
            {
                "name": report.benchmark.name,
                "what": report.benchmark.what,
                "unit": report.benchmark.unit,
                "lines": [asdict(line) for line in report.lines],
                "p50": {label: figure(rounds) for label, rounds in report.samples.items()},
                "samples": report.samples,
                "syncs": report.syncs,
                "loads": report.loads,
                "about": report.about,
                "not_measured": report.absent,
            }
            for report in reports
        ],
    }
