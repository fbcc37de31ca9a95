"""Ten years of ticks in three time zones, compared with cronsim, which follows Debian's cron (specs/schedules.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from durable.core.cron import CronError, Every, line_of
from durable.core.errors import BadArguments
from durable.engine.schedule_operations import line_for, next_times

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
    "0 6 L * *",
    "0 6 15,L * 1",
    "30 9 * * 1#1,fri#5",
    "0 18 * 1-6 5L",
    "0 18 13 * 1L",
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


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("* * * * * *", "seconds are `@every 15s`"),
        ("CRON_TZ=Europe/Berlin @every 15s", "has no time zone"),
        ("CRON_TZ=localtime @daily", "another one on each machine"),
        ("0 0 * * 1#6", "'1#6' is not within 0-7"),
        ("0 0 LW * *", "'lw' is not within 1-31"),
        ("@every 1h30", "such as `@every 15s`, `@every 1h30m`"),
        ("x" * 5000, "x…'"),
    ],
)
def test_what_is_no_line(line: str, says: str) -> None:
    with pytest.raises(CronError, match=re.escape(says)) as caught:
        line_of(line)
    assert len(str(caught.value)) < 400


def test_lines_as_people_write_them() -> None:
    assert line_for(" @Every 1h30m ", None) == "@every 1h30m"
    assert line_for("0 9 * * 1", "Europe/Berlin") == "CRON_TZ=Europe/Berlin 0 9 * * 1"
    for when, timezone in (("@every 5s", "UTC"), (5, "UTC"), ("TZ=UTC @daily", "UTC")):
        with pytest.raises(BadArguments, match=r"time ?zone"):
            line_for(when, timezone)
    late = datetime(9999, 12, 30, tzinfo=UTC)
    for line in ("0 9 * * *", "@every 366d"):
        with pytest.raises(BadArguments, match="before the year 10000"):
            next_times(line, 3, after=late)


def test_seconds_by_every() -> None:
    at, ticks = int(BEGIN.timestamp() * 1000) + 1, []
    for _ in range(10):
        at = line_of("@every 15s").after(at)
        ticks.append(at)
    assert {second - first for first, second in pairwise(ticks)} == {15_000}
    assert ticks[0] % 15_000 == 0
    assert Every.parse("@every 2h").after(0) == 7_200_000
    assert Every.parse("@every 1h30m").after(0) == 5_400_000
