"""The data set: weekly CO2 at Mauna Loa, 1958 to 2001 (its source is named in examples/data/README.md)."""

from __future__ import annotations

import csv
from pathlib import Path

NAME = "mauna_loa_co2_weekly.csv"


def path() -> Path:
    """Where it is: inside the installed package, or in examples/data of a source tree."""
    here = Path(__file__).resolve()
    places = (here.parent / "data" / NAME, here.parents[2] / "examples" / "data" / NAME)
    return next((place for place in places if place.is_file()), places[0])


def read(file: str) -> list[tuple[int, float | None]]:
    """Each week as (YYYYMMDD, ppmv); None where there was no sample."""
    with open(file, encoding="ascii", newline="") as stream:
        return [(int(row["date"]), float(row["co2"]) if row["co2"] else None) for row in csv.DictReader(stream)]


def year(file: str, wanted: int) -> list[float]:
    """The weeks of one year that have a value, ppmv."""
    return [value for date, value in read(file) if date // 10_000 == wanted and value is not None]
