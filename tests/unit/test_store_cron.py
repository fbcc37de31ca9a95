"""Cron lines: what they mean, what is refused, and what becomes of them when clocks change (specs/store.md, S15)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from durable.core.cron import Cron, CronError


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("line", "after", "expected"),
    [
        ("* * * * *", "2030-01-01T00:00:00", "2030-01-01T00:01:00"),
        ("*/15 * * * *", "2030-01-01T00:46:00", "2030-01-01T01:00:00"),
        ("0 9 * * 1-5", "2030-01-04T09:00:00", "2030-01-07T09:00:00"),
        ("0 0 29 2 *", "2030-01-01T00:00:00", "2032-02-29T00:00:00"),
        ("30 4 1,15 * fri", "2030-01-01T05:00:00", "2030-01-04T04:30:00"),
        ("0 0 * * 7", "2030-01-01T00:00:00", "2030-01-06T00:00:00"),
        ("0 0 1 JAN *", "2030-01-01T00:00:00", "2031-01-01T00:00:00"),
        ("5/20 0 * * *", "2030-01-01T00:06:00", "2030-01-01T00:25:00"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", "2030-07-01T00:00:00", "2030-07-01T07:00:00"),
        ("@hourly", "2030-01-01T00:46:00", "2030-01-01T01:00:00"),
        ("@Daily", "2030-01-01T00:46:00", "2030-01-02T00:00:00"),
        ("@midnight", "2030-01-01T00:46:00", "2030-01-02T00:00:00"),
        ("@weekly", "2030-01-01T00:46:00", "2030-01-06T00:00:00"),
        ("@monthly", "2030-01-01T00:46:00", "2030-02-01T00:00:00"),
        ("@yearly", "2030-01-01T00:46:00", "2031-01-01T00:00:00"),
        ("CRON_TZ=Asia/Tokyo @daily", "2030-01-01T00:00:00", "2030-01-01T15:00:00"),
    ],
)
def test_the_next_tick(line: str, after: str, expected: str) -> None:
    assert Cron.parse(line).after(ms(after)) == ms(expected)


@pytest.mark.parametrize(
    "line",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
     "@often", "@daily 1", "@reboot", "*/0 * * * *",
     "a * * * *", "1, * * * *", "- * * * *", "0 0 30 2 *", "CRON_TZ=Mars/Base * * * * *", "² * * * *"],
)  # fmt: skip
def test_what_is_no_cron_is_refused(line: str) -> None:
    with pytest.raises(CronError):
        Cron.parse(line)


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("zone", "line", "after", "expected"),
    [
        # What the clock skips runs once, right after the change.
        (BERLIN, "30 2 * * *", "2030-03-30T02:30+01:00", ["2030-03-31T03:00+02:00", "2030-04-01T02:30+02:00"]),
        (BERLIN, "0,20,40 2 * * *", "2030-03-30T02:40+01:00", ["2030-03-31T03:00+02:00", "2030-04-01T02:00+02:00"]),
        (BERLIN, "0 2,3 * * *", "2030-03-31T01:00+01:00", ["2030-03-31T03:00+02:00", "2030-04-01T02:00+02:00"]),
        (BERLIN, "30 2 31 3 *", "2030-03-30T00:00+01:00", ["2030-03-31T03:00+02:00", "2031-03-31T02:30+02:00"]),
        (NEW_YORK, "15 2 * * 0", "2030-03-09T00:00-05:00", ["2030-03-10T03:00-04:00", "2030-03-17T02:15-04:00"]),
        (LORD_HOWE, "15 2 * * *", "2030-10-05T03:00+10:30", ["2030-10-06T02:30+11:00", "2030-10-07T02:15+11:00"]),
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T00:00-03:00",
         ["2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"]),
        # What the clock shows twice runs the first time.
        (BERLIN, "30 2 * * *", "2030-10-26T02:30+02:00", ["2030-10-27T02:30+02:00", "2030-10-28T02:30+01:00"]),
        (NEW_YORK, "30 1 * * *", "2030-11-02T01:30-04:00", ["2030-11-03T01:30-04:00", "2030-11-04T01:30-05:00"]),
        (LORD_HOWE, "45 1 * * *", "2030-04-06T01:45+11:00", ["2030-04-07T01:45+11:00", "2030-04-08T01:45+10:30"]),
        # Every hour and every minute go by the time that passes.
        (BERLIN, "30 * * * *", "2030-10-27T01:30+02:00",
         ["2030-10-27T02:30+02:00", "2030-10-27T02:30+01:00", "2030-10-27T03:30+01:00"]),
        (BERLIN, "30 0-23 * * *", "2030-10-27T02:30+02:00", ["2030-10-27T02:30+01:00", "2030-10-27T03:30+01:00"]),
        (BERLIN, "30 * * * *", "2030-03-31T00:30+01:00", ["2030-03-31T01:30+01:00", "2030-03-31T03:30+02:00"]),
        (BERLIN, "* * * * *", "2030-10-27T02:58+02:00",
         ["2030-10-27T02:59+02:00", "2030-10-27T02:00+01:00", "2030-10-27T02:01+01:00"]),
        (BERLIN, "* * * * *", "2030-03-31T01:58+01:00", ["2030-03-31T01:59+01:00", "2030-03-31T03:00+02:00"]),
        (NEW_YORK, "*/20 1 * * *", "2030-11-03T01:39-04:00", ["2030-11-03T01:40-04:00", "2030-11-03T01:00-05:00"]),
        (BERLIN, "0 */2 * * *", "2030-03-31T00:00+01:00", ["2030-03-31T04:00+02:00", "2030-03-31T06:00+02:00"]),
        (LORD_HOWE, "*/15 * * * *", "2030-04-07T01:45+11:00", ["2030-04-07T01:30+10:30", "2030-04-07T01:45+10:30"]),
        # A zone without changes, and one that left out a whole day.
        ("Asia/Kolkata", "30 2 * * *", "2030-03-30T12:00+05:30", ["2030-03-31T02:30+05:30", "2030-04-01T02:30+05:30"]),
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T12:00-10:00", ["2011-12-31T12:00+14:00", "2012-01-01T12:00+14:00"]),
    ],
)  # fmt: skip
def test_clock_changes(zone: str, line: str, after: str, expected: list[str]) -> None:
    cron, at = Cron.parse(f"CRON_TZ={zone} {line}"), int(datetime.fromisoformat(after).timestamp()) * 1000
    found = []
    for _ in expected:
        at = cron.after(at)
        found.append(datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).isoformat(timespec="minutes"))
    assert found == expected


def walked(cron: Cron, after_ms: int, until_ms: int) -> list[int]:
    """The ticks as a cron daemon finds them that looks at the clock of the zone each minute of the time that passes.

    When the clock has jumped ahead, the fixed jobs of the minutes that it left out are run; when it has jumped back,
    fixed jobs rest until it is where it was.
    """
    ticks, reached = [], None
    at = datetime.fromtimestamp(after_ms / 1000, UTC)
    while (at := at + timedelta(minutes=1)).timestamp() * 1000 <= until_ms:
        wall = at.astimezone(cron.zone).replace(tzinfo=None, fold=0)
        looked_at = [wall]
        if cron.fixed and reached is not None:
            behind = wall - reached
            if behind <= timedelta():
                looked_at = [] if -behind < timedelta(hours=3) else [wall]
            elif behind < timedelta(hours=3):
                minutes = behind // timedelta(minutes=1)
                looked_at = [wall - timedelta(minutes=n) for n in range(minutes)]
        reached = wall if reached is None or not cron.fixed or looked_at else reached
        if any(due(cron, each) for each in looked_at):
            ticks.append(int(at.timestamp()) * 1000)
    return ticks


def due(cron: Cron, wall: datetime) -> bool:
    in_month, in_week = wall.day in cron.days, wall.isoweekday() % 7 in cron.weekdays
    day = in_month or in_week if cron.either_day else in_month and in_week
    return wall.minute in cron.minutes and wall.hour in cron.hours and wall.month in cron.months and day


CHANGES = [
    (BERLIN, "2030-03-31T01:00"), (BERLIN, "2030-10-27T01:00"), (NEW_YORK, "2030-03-10T07:00"),
    (NEW_YORK, "2030-11-03T06:00"), (LORD_HOWE, "2030-04-06T15:00"), (LORD_HOWE, "2030-10-05T15:30"),
    ("America/Sao_Paulo", "2018-11-04T03:00"), ("America/Havana", "2030-11-03T05:00"),
    ("Asia/Tokyo", "2030-04-01T00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_any_line_ticks_as_a_daemon_that_looks_each_minute(zone: str, change: str) -> None:
    seed = f"{zone} {change}"
    dice = random.Random(seed)

    def field(low: int, high: int, every: str) -> str:
        values = ",".join(map(str, sorted(dice.sample(range(low, high + 1), dice.randint(1, 3)))))
        return dice.choice(["*", every, values, values, f"{low}-{high}"])

    for _ in range(6):
        line = f"CRON_TZ={zone} {field(0, 59, '*/7')} {field(0, 4, '*/2')} * * {dice.choice(['*', '*', '0,6'])}"
        cron, at = Cron.parse(line), ms(change) - 30 * 3_600_000
        until = ms(change) + 30 * 3_600_000
        found: list[int] = []
        expected = walked(cron, at, until)
        while (at := cron.after(at)) <= until:
            assert not found or at > found[-1]
            found.append(at)
        assert found == expected, (seed, line)


def test_no_tick_is_more_than_one_period_late_for_a_year() -> None:
    lines = {
        "30 2 * * *": 24,
        "0 0 * * *": 24,
        "15 * * * *": 1,
        "0 */2 * * *": 2,
        "0,30 2 * * *": 23.5,
        "*/20 2 * * *": 24,
    }
    for zone in (BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kolkata"):
        for line, hours in lines.items():
            cron, at = Cron.parse(f"CRON_TZ={zone} {line}"), ms("2026-01-01T00:00:00")
            while at < ms("2027-01-01T00:00:00"):
                following = cron.after(at)
                assert at < following <= at + 2 * hours * 3_600_000, (zone, line, at)
                at = following
