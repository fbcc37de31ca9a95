"""Ten years of ticks in three time zones, compared with cronsim, which follows Debian's cron (specs/schedules.md)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from durable.core.cron import Every, line_of

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney")
LINES = (
    "30 2 * * *",
    "0 3 * * 0",
    "15,45 1-3 * * 1-5",
    "0 0 29 2 *",
    "0 12 1,15 * 5",
    "59 23 31 * *",
    "5 0 1 */3 *",
)


def ours(line: str, zone: str, end: datetime) -> Iterator[datetime]:
    ticks = line_of(f"CRON_TZ={zone} {line}")
    at = int(BEGIN.timestamp() * 1000)
    while (at := ticks.after(at)) < end.timestamp() * 1000:
        yield datetime.fromtimestamp(at / 1000, UTC)


def reference(line: str, zone: str, end: datetime) -> Iterator[datetime]:
    for at in CronSim(line, BEGIN.astimezone(ZoneInfo(zone))):
        if at >= end:
            return
        yield at.astimezone(UTC)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("line", LINES)
def test_ten_years_equal_the_reference(line: str, zone: str) -> None:
    assert list(ours(line, zone, END)) == list(reference(line, zone, END))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("line", ["*/30 * * * *", "0 * * * *", "*/20 2 * * *", "7 */2 * * *"])
def test_what_goes_by_the_time_that_passes(line: str, zone: str) -> None:
    """The days around a change of clocks in each zone: there are many ticks."""
    end = BEGIN + timedelta(days=100)
    assert list(ours(line, zone, end)) == list(reference(line, zone, end))


def test_seconds_by_every() -> None:
    at, ticks = int(BEGIN.timestamp() * 1000) + 1, []
    for _ in range(10):
        at = line_of("@every 15s").after(at)
        ticks.append(at)
    assert {second - first for first, second in pairwise(ticks)} == {15_000}
    assert ticks[0] % 15_000 == 0
    assert Every.parse("@every 2h").after(0) == 7_200_000
