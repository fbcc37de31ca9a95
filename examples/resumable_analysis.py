"""An analysis over many statements, whose worker is killed in the middle: it goes on at the statement it was in.

    python examples/resumable_analysis.py

What the code asked the host for before the kill (here: the weeks of a year) is answered from the record after it.
"""

import asyncio
import csv
import os
import tempfile
from pathlib import Path

import durable

STORE = os.environ.get("DURABLE_STORE", ".durable/examples.db")
DATA = Path(__file__).parent / "data" / "mauna_loa_co2_weekly.csv"

asked: list[int] = []


@durable.capability
def weeks(year: int) -> list[float]:
    """The weekly CO2 of one year, ppm."""
    asked.append(year)
    with DATA.open(encoding="ascii", newline="") as stream:
        return [float(row["co2"]) for row in csv.DictReader(stream) if row["date"].startswith(f"{year}") and row["co2"]]


CODE = """
import os, signal, statistics
means = {}
for year in range(1960, 1965): means[year] = statistics.fmean(weeks(year))
print("five years are in")
if not os.path.exists(marker): open(marker, "w").close(); os.kill(os.getpid(), signal.SIGKILL)
for year in range(1965, 1970): means[year] = statistics.fmean(weeks(year))
print("ten years are in")
round(statistics.linear_regression(list(means), list(means.values())).slope, 3)
"""


async def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        async with durable.open(STORE, capabilities=[weeks]) as engine:
            session = await engine.session("analysis", grants=["weeks"])
            result = await session.execute(CODE, inputs={"marker": f"{scratch}/killed"}, checkpoint="statement")
            print(result.stdout, end="")
            print(f"{result.unwrap()} ppm a year")
            print(f"the host was asked {len(asked)} times for {len(set(asked))} years; the worker died once")
            assert asked == list(range(1960, 1970))
            assert result.stdout == "five years are in\nten years are in\n"


if __name__ == "__main__":
    asyncio.run(main())
