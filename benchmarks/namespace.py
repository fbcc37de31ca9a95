"""A small namespace, as an analysis session has after some cells, for the checkpoint benchmark."""

from __future__ import annotations

import sys
import types

SOURCE = """
import datetime, json, math, re
from collections import Counter
from dataclasses import dataclass

rate, count, title, active, nothing = 0.125, 42, "rainfall by month", True, None
months = ["January", "February", "March", "April", "May", "June"]
rainfall = [[round(math.sin(month * station) ** 2 * 90, 1) for month in range(12)] for station in range(1, 9)]
by_month = dict(zip(months, rainfall))
text = "It rained in the hills and it rained in the plain; " * 20
words = Counter(re.findall("[a-z]+", text.lower()))
since = datetime.datetime(2024, 2, 29, 12, 30)
pattern = re.compile("rain(ed|fall)?")
settings = {"units": "mm", "stations": list(range(8)), "report": {"title": title, "pages": (1, 2, 3)}}
shared = settings["stations"]

@dataclass
class Station:
    name: str
    height_m: float
    readings: list

    def mean(self):
        return sum(self.readings) / len(self.readings)

stations = [Station(f"station {n}", 100.0 * n, readings) for n, readings in enumerate(rainfall)]

def wettest():
    return max(stations, key=lambda station: station.mean()).name

def total(*, scale=1.0):
    return scale * sum(sum(row) for row in rainfall)

answers = {station.name: station.mean() for station in stations}
"""

CHANGE = "count += 1"
"""What happens between two checkpoints."""


def fresh() -> types.ModuleType:
    """A new `__main__` that holds the namespace, as a session's worker has it."""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(SOURCE, "<namespace>", "exec"), module.__dict__)
    return module


def change(module: types.ModuleType) -> None:
    """One small change."""
    exec(CHANGE, module.__dict__)
