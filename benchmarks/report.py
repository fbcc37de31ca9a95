"""How a run is shown: a table for people, a document for `--json`."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Line, Target, Unit, figure
from benchmarks.rounds import Report

SYNCS = 50
PAGE_BYTES = 4096


def machine(directory: Path) -> dict[str, Any]:
    """What the figures depend on besides the code: processors, versions, and what a sync of 4 KiB costs here."""
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "sync_s": sync_cost(directory),
        "load": os.getloadavg()[0],
    }


def sync_cost(directory: Path) -> float:
    """The median of some writes of 4 KiB into a file that has its size, each with fdatasync, in seconds."""
    samples = []
    page = bytes(PAGE_BYTES)
    with (directory / "sync").open("wb", buffering=0) as file:
        file.write(page * SYNCS)
        os.fsync(file.fileno())
        for number in range(SYNCS):
            os.pwrite(file.fileno(), page, number * PAGE_BYTES)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append(time.perf_counter() - started)
    return median(samples)


def shown(value: float | None, unit: Unit) -> str:
    """A figure with three digits and a unit that fits."""
    if value is None:
        return "-"
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
    met = {None: "", True: "yes", False: "no"}[line.met]
    if line.target is not None and line.met is None:
        met = "not measured"
    return (
        line.what,
        line.ours_label,
        shown(line.ours, line.unit),
        line.beside_label or "",
        "" if line.beside_label is None else shown(line.beside, line.unit),
        "" if line.beside_label is None else ratio_shown(line.ratio),
        spread,
        target_shown(line.target, line.unit, ratio=line.beside_label is not None),
        met,
    )


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
        f"{where['processors']} processors, Python {where['python']}, SQLite {where['sqlite']}, "
        f"a sync costs {shown(where['sync_s'], 's')}, load {where['load']:.2g}"
    )
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
                "about": report.about,
                "not_measured": report.absent,
            }
            for report in reports
        ],
    }
