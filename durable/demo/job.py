"""The job of the demo: a durable function with steps, and a session that analyses the data and asks one question.

Whatever really runs (a step's body, a call's effect) notes itself in a journal outside the store, so that the report
can count what ran against what is recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import durable
from durable.demo import data

JOURNAL_VARIABLE = "DURABLE_DEMO_JOURNAL"
YEARS = range(1959, 2002)
DECADES = (1960, 1970, 1980, 1990)
STEP_S = 0.15
CALL_S = 0.04
"""How long a step and a call take: as a small service would."""

QUESTION = "Up to which year shall the trend be carried on?"
ANSWER = "2030"

STEPS = ("inspect", "years", *(f"decade {decade}" for decade in DECADES), "check", "conclude")
EVENTS = len(STEPS) + len(YEARS) + 1
"""How many things really run in a run that nobody disturbs: steps, calls, and the question."""

FIRST_CALL = 3
LAST_CALL = FIRST_CALL + len(YEARS) - 1
"""Which of those events, counted from 1, are the session's calls: they follow the first two steps."""

SCRIPT = "\n".join(
    (
        "import math, statistics",
        "yearly, spread = {}, {}",
        "def mean(values):",
        "    spread[year] = max(values) - min(values)",
        "    return statistics.fmean(values)",
        *(f"year = {year}; yearly[year] = mean(weeks(year))" for year in YEARS),
        "print(f'{len(yearly)} years, {min(yearly.values()):.1f} to {max(yearly.values()):.1f} ppm')",
        "slope, intercept = statistics.linear_regression(list(yearly), list(yearly.values()))",
        "print(f'{slope:.3f} ppm a year over all years')",
        "early = statistics.linear_regression(*zip(*[(y, v) for y, v in yearly.items() if y < 1980])).slope",
        "late = statistics.linear_regression(*zip(*[(y, v) for y, v in yearly.items() if y >= 1980])).slope",
        "print(f'{early:.3f} before 1980, {late:.3f} since')",
        f"horizon = int(input({QUESTION!r}))",
        "last = max(yearly)",
        "forecast = yearly[last] + late * (horizon - last)",
        "print(f'{forecast:.1f} ppm in {horizon}, if nothing changes')",
        "{'years': len(yearly), 'slope': round(slope, 6), 'early': round(early, 6), 'late': round(late, 6),"
        " 'season': round(statistics.fmean(spread.values()), 6), 'horizon': horizon, 'forecast': round(forecast, 6)}",
    )
)


@dataclass(frozen=True)
class Report:
    """The findings of the job: figures in ppm, rates in ppm a year."""

    weeks: int
    without_value: int
    file: str
    decades: dict[str, float]
    analysis: dict[str, Any]
    conclusion: str


def note(kind: str, name: str) -> None:
    """Say, outside the store and at once, that this really runs now; stdout tells the demo, which kills by it."""
    line = f"{kind}\t{name}\n"
    with Path(os.environ[JOURNAL_VARIABLE]).open("a", encoding="utf-8") as journal:
        journal.write(line)
    os.write(1, line.encode())


async def inspect(file: str) -> dict[str, Any]:
    """How many weeks there are, how many have no value, and the file's digest."""
    note("step", "inspect")
    await asyncio.sleep(STEP_S)
    rows = data.read(file)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return {"weeks": len(rows), "without_value": sum(value is None for _, value in rows), "file": digest[:16]}


async def years(file: str) -> list[int]:
    """The years that are whole enough to be compared."""
    note("step", "years")
    await asyncio.sleep(STEP_S)
    return [year for year in YEARS if len(data.year(file, year)) > 26]


async def decade(file: str, first: int) -> float:
    """The mean of ten years."""
    note("step", f"decade {first}")
    await asyncio.sleep(STEP_S)
    return round(statistics.fmean(value for year in range(first, first + 10) for value in data.year(file, year)), 6)


async def check(analysis: dict[str, Any], decades: dict[str, float]) -> bool:
    """Whether the session's slope agrees with the decades'."""
    note("step", "check")
    await asyncio.sleep(STEP_S)
    rise = (decades["1990"] - decades["1960"]) / 30
    return abs(rise - float(analysis["slope"])) < 0.1


async def conclude(analysis: dict[str, Any], agrees: bool) -> str:
    """The finding in a sentence."""
    note("step", "conclude")
    await asyncio.sleep(STEP_S)
    faster = analysis["late"] / analysis["early"]
    return (
        f"CO2 rose {faster:.2f} times as fast after 1980 as before; carried on, {analysis['forecast']:.1f} ppm in "
        f"{analysis['horizon']}. Session and steps {'agree' if agrees else 'disagree'}."
    )


@durable.capability
def weeks(year: int) -> list[float]:
    """The weekly values of one year: what a slow data service would answer."""
    note("call", durable.call_id().removeprefix("exec:"))
    time.sleep(CALL_S)
    return data.year(str(data.path()), year)


@durable.function
async def carbon(ctx: durable.Context, file: str, session: str) -> Report:
    """Inspect the file, analyse it in a session, average its decades side by side, check and conclude."""
    seen = await ctx.options(name="inspect").run(inspect, file)
    kept = await ctx.options(name="years").run(years, file)
    cell = await ctx.execute(SCRIPT, session=session, inputs={"kept": kept})
    means = await asyncio.gather(*(ctx.options(name=f"decade {first}").run(decade, file, first) for first in DECADES))
    decades = {str(first): mean for first, mean in zip(DECADES, means, strict=True)}
    agrees = await ctx.options(name="check").run(check, cell.value, decades)
    conclusion = await ctx.options(name="conclude").run(conclude, cell.value, agrees)
    return Report(decades=decades, analysis=cell.value, conclusion=conclusion, **seen)
