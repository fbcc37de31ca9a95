"""Five-field cron in UTC or a named zone (`CRON_TZ=Europe/Paris 0 9 * * 1-5`): parse a line, find the next minute.

Fields: minute, hour, day of month, month, day of week (0 or 7 is Sunday); `*`, lists, ranges, steps, English names.
When both days are restricted either one is enough, as in cron. A local time that a clock change skips does not fire;
one that occurs twice fires once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class CronError(ValueError):
    """A cron line that does not follow the grammar."""


_MONTHS = {
    name: i
    for i, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_YEARS_AHEAD = 8
"""A date that the Gregorian calendar has at all comes within eight years (29 February around a common century)."""


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, 1, high, {}) if slash else 1
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, low, high, names)
            last = _number(end, low, high, names) if dash else high if slash else first
        if first > last:
            raise CronError(f"cron range {span!r} runs backwards")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, low: int, high: int, names: dict[str, int]) -> int:
    value = names.get(text, -1)
    if value < 0 and text.isascii() and text.isdigit():
        value = int(text)
    if not low <= value <= high:
        raise CronError(f"cron value {text!r} is not within {low}-{high}")
    return value


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed line."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo

    @classmethod
    def parse(cls, line: str) -> Cron:
        """Parse five fields, optionally after `CRON_TZ=<zone>`; CronError names what is wrong."""
        fields = line.split()
        zone: tzinfo = UTC
        if fields and fields[0].startswith(("CRON_TZ=", "TZ=")):
            name = fields.pop(0).partition("=")[2]
            try:
                zone = ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise CronError(f"unknown time zone {name!r} in cron {line!r}") from error
        if len(fields) != 5:
            raise CronError(f"cron {line!r} has {len(fields)} fields, expected 5: minute hour day month weekday")
        minute, hour, day, month, weekday = fields
        cron = cls(
            _field(minute, 0, 59, {}),
            _field(hour, 0, 23, {}),
            _field(day, 1, 31, {}),
            _field(month, 1, 12, _MONTHS),
            frozenset(each % 7 for each in _field(weekday, 0, 7, _DAYS)),
            not day.startswith("*") and not weekday.startswith("*"),
            zone,
        )
        cron.after(0)
        return cron

    def after(self, time_ms: int) -> int:
        """The first firing strictly after that time, in milliseconds since the epoch; CronError when there is none."""
        start = datetime.fromtimestamp(time_ms / 1000, self.zone)
        day = start.date()
        for _ in range(366 * _YEARS_AHEAD):
            if self._on(day.month, day.day, (day.weekday() + 1) % 7):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                        found = int(at.timestamp()) * 1000
                        if found > time_ms and _exists(at):
                            return found
            day += timedelta(days=1)
        raise CronError("this cron never fires")

    def _on(self, month: int, day: int, weekday: int) -> bool:
        if month not in self.months:
            return False
        if self.either_day:
            return day in self.days or weekday in self.weekdays
        return day in self.days and weekday in self.weekdays


def _exists(at: datetime) -> bool:
    """Whether that wall clock time is not skipped by a clock change."""
    return at.astimezone(UTC).astimezone(at.tzinfo).replace(tzinfo=None) == at.replace(tzinfo=None)
