"""Cron lines in UTC or a named zone (`CRON_TZ=Europe/Paris 0 9 * * 1-5`): parse one, find the next tick.

Fields: minute, hour, day of month, month, day of week (0 or 7 is Sunday); `*`, lists, ranges, steps, English names;
`L` is the last day of a month, `5L` or `friL` its last Friday, `1#2` its second Monday.
`@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually` stand for five fields. When both days
are restricted either one is enough, as in cron. Clock changes are treated as Vixie cron does (specs/store.md, S15).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from durable.core.frozen_record import FrozenRecord

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


class CronError(ValueError):
    """A cron line that does not follow the grammar, or never fires."""


NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: i
    for i, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_YEARS_AHEAD = 8
"""A date that the Gregorian calendar has at all comes within eight years (29 February around a common century)."""
_CHANGE_MAX = timedelta(hours=3)
"""A longer jump of the clock is no daylight saving: what it skips is not made up for (Vixie cron's limit)."""
_OF_A_WEEK = re.compile(r"([0-9a-z]+)(?:#([1-5])|l)", re.ASCII)
_NO_ZONES = ("localtime", "posixrules")
_SHOWN_CHARS = 100
"""Characters of a line that an error shows."""
_MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60


class _Field(FrozenRecord, frozen=True):
    """One of the five: its name for messages, its bounds, and the names of its values."""

    name: str
    low: int
    high: int
    names: dict[str, int]

    def parse(self, text: str) -> frozenset[int]:
        found: set[int] = set()
        for part in text.lower().split(","):
            span, slash, step_text = part.partition("/")
            step = self._number(step_text, "step", 1, {}) if slash else 1
            if span == "*":
                first, last = self.low, self.high
            else:
                start, dash, end = span.partition("-")
                first = self._number(start, self.name, self.low, self.names)
                last = self._number(end, self.name, self.low, self.names) if dash else self.high if slash else first
            if first > last:
                raise CronError(f"the {self.name} range {span!r} runs backwards")
            found.update(range(first, last + 1, step))
        return frozenset(found)

    def _number(self, text: str, what: str, low: int, names: dict[str, int]) -> int:
        value = names.get(text, -1)
        if value < 0 and text.isascii() and text.isdigit():
            value = int(text)
        if not low <= value <= self.high:
            raise CronError(f"the {what} {text!r} is not within {low}-{self.high}")
        return value


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """A parsed line. `fixed`: it names hours and minutes; else every hour or minute counts, by the time that passes."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    fixed: bool
    zone: tzinfo
    last_day: bool = False
    weeks: frozenset[tuple[int, int]] = frozenset()
    """Days of the week of one week in the month: its number from 1, or 0 for the last one."""

    @classmethod
    def parse(cls, line: str) -> Cron:
        """Parse five fields or a nickname, optionally after `CRON_TZ=<zone>`; CronError says what is wrong."""
        try:
            cron = cls._parse(line)
            cron.after(0)
        except CronError as error:
            raise CronError(f"cron {_short(line)}: {error}") from None
        return cron

    @classmethod
    def _parse(cls, line: str) -> Cron:
        fields = line.split()
        zone: tzinfo = UTC
        if fields and fields[0].startswith(("CRON_TZ=", "TZ=")):
            zone = _zone(fields.pop(0).partition("=")[2])
        if len(fields) == 1 and fields[0].startswith("@"):
            fields = _nickname(fields[0]).split()
        if len(fields) != len(_FIELDS):
            if fields and fields[0].lower() == EVERY.strip():
                raise CronError("`@every` counts time alone, it has no time zone")
            raise CronError(
                f"it has {len(fields)} fields, expected 5: minute, hour, day of month, month, day of week "
                "(`0 9 * * 1-5` is 09:00 from Monday to Friday); seconds are `@every 15s`"
            )
        minute, hour, month_day, month, weekday = _FIELDS
        days, last_day = _month_days(month_day, fields[2])
        weekdays, weeks = _weekdays(weekday, fields[4])
        minutes, hours = minute.parse(fields[0]), hour.parse(fields[1])
        return cls(
            minutes,
            hours,
            days,
            month.parse(fields[3]),
            weekdays,
            either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
            fixed=not any(text.startswith("*") for text in fields[:2]) and len(minutes) < 60 and len(hours) < 24,
            zone=zone,
            last_day=last_day,
            weeks=weeks,
        )

    @cached_property
    def times(self) -> list[int]:
        """The minutes of a day at which it fires, in order."""
        return [hour * 60 + minute for hour in sorted(self.hours) for minute in sorted(self.minutes)]

    def after(self, time_ms: int) -> int:
        """The first tick strictly after that time, in milliseconds since the epoch; CronError when there is none."""
        try:
            # The day before is looked at too: what a change at midnight skipped fires after it.
            day = datetime.fromtimestamp(time_ms / 1000, self.zone).date() - timedelta(days=1)
            for _ in range(366 * _YEARS_AHEAD):
                if self._on(day):
                    found = self._first(day, time_ms)
                    if found is not None:
                        return found
                day += timedelta(days=1)
        except (OverflowError, ValueError):
            raise CronError("it does not fire any more before the year 10000") from None
        raise CronError("it never fires: no month has that day")

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        weekday = day.isoweekday() % 7
        in_month = day.day in self.days or (self.last_day and day.day == _last_day(day))
        in_week = weekday in self.weekdays or (bool(self.weeks) and self._in_its_week(weekday, day))
        return in_month or in_week if self.either_day else in_month and in_week

    def _in_its_week(self, weekday: int, day: date) -> bool:
        is_last = day.day + 7 > _last_day(day)
        return (weekday, (day.day + 6) // 7) in self.weeks or (is_last and (weekday, 0) in self.weeks)

    def _first(self, day: date, time_ms: int) -> int | None:
        """Its first tick of that day after that time."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        if _offset(midnight) == _offset(midnight + timedelta(days=1)):
            start_ms = _ms(midnight)
            place = bisect_right(self.times, (time_ms - start_ms) // _MINUTE_MS)
            return None if place == len(self.times) else start_ms + self.times[place] * _MINUTE_MS
        ticks = _of_changed_day(self, midnight)
        place = bisect_right(ticks, time_ms)
        return None if place == len(ticks) else ticks[place]

    def ticks(self, at: datetime) -> list[int]:
        """When it fires for a wall clock time of a day with a clock change."""
        first, second = _ms(at.replace(fold=0)), _ms(at.replace(fold=1))
        if first == second:
            return [first]
        if first < second:  # it occurs twice
            return [first] if self.fixed else [first, second]
        # It is skipped: `first` reads it with the offset before the change, `second` with the one after it.
        if not self.fixed or timedelta(milliseconds=first - second) >= _CHANGE_MAX:
            return []
        return [_change(self.zone, second, first)]


EVERY = "@every "
"""The beginning of a line that counts time alone: `@every 15s`."""
_UNITS_MS = {"ms": 1, "s": 1_000, "m": _MINUTE_MS, "h": 60 * _MINUTE_MS, "d": _DAY_MINUTES * _MINUTE_MS}
_EVERY_MS_MIN = 100
_SPAN = re.compile(r"(\d{1,12})(ms|s|m|h|d)", re.ASCII)
_SPANS = re.compile(rf"(?:{_SPAN.pattern})+", re.ASCII)


class Every(FrozenRecord, frozen=True):
    """Ticks at the multiples of a span of time since 1970: of 15 s at :00, :15, :30 and :45, in any process."""

    span_ms: int

    @classmethod
    def parse(cls, line: str) -> Every:
        """Parse `@every 15s` or `@every 1h30m`; the units are ms, s, m, h and d. CronError."""
        span = line.removeprefix(EVERY).strip()
        spans = _SPAN.findall(span) if _SPANS.fullmatch(span) else []
        span_ms = sum(int(count) * _UNITS_MS[unit] for count, unit in spans)
        if not _EVERY_MS_MIN <= span_ms <= 366 * _UNITS_MS["d"]:
            raise CronError(f"{_short(line)} is not `@every` with 100ms to 366d, such as `@every 15s`, `@every 1h30m`")
        return cls(span_ms)

    def after(self, time_ms: int) -> int:
        """The first tick strictly after that time, in milliseconds since the epoch."""
        return (time_ms // self.span_ms + 1) * self.span_ms


def line_of(text: str) -> Cron | Every:
    """The meaning of a schedule's line: `@every …`, or a cron line. CronError."""
    return Every.parse(text) if text.startswith(EVERY) else Cron.parse(text)


@lru_cache(maxsize=32)
def _of_changed_day(cron: Cron, midnight: datetime) -> list[int]:
    """All ticks of a day with a clock change, in order. Remembered: each of them is asked for in turn."""
    found = {tick for minute in cron.times for tick in cron.ticks(midnight + timedelta(minutes=minute))}
    return sorted(found)


def _month_days(field: _Field, text: str) -> tuple[frozenset[int], bool]:
    """The days of a month, and whether its last one is among them."""
    plain = [part for part in text.split(",") if part.lower() != "l"]
    return field.parse(",".join(plain)) if plain else frozenset(), len(plain) < text.count(",") + 1


def _weekdays(field: _Field, text: str) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    """The days of every week, 0 for Sunday, and those of one week of the month."""
    plain, weeks = list[str](), set[tuple[int, int]]()
    for part in text.lower().split(","):
        found = _OF_A_WEEK.fullmatch(part)
        if found is None:
            plain.append(part)
        else:
            [weekday] = field.parse(found[1])
            weeks.add((weekday % 7, int(found[2] or 0)))
    every = field.parse(",".join(plain)) if plain else frozenset()
    return frozenset(each % 7 for each in every), frozenset(weeks)


def _last_day(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _short(line: str) -> str:
    return repr(line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}…")


def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name in _NO_ZONES:
        raise CronError(f"the time zone {name!r} is another one on each machine; write one as in CRON_TZ=Europe/Paris")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CronError(f"there is no time zone {name!r}; write one as in CRON_TZ=Europe/Paris") from None


def _nickname(name: str) -> str:
    if name.lower() not in NICKNAMES:
        raise CronError(f"there is no {name!r}; there are {', '.join(NICKNAMES)}, or five fields")
    return NICKNAMES[name.lower()]


def _offset(at: datetime) -> timedelta:
    return at.utcoffset() or timedelta()


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def _change(zone: tzinfo, before_ms: int, after_ms: int) -> int:
    """The moment between two at which the zone's offset changes."""
    low, high = before_ms // 1000, after_ms // 1000
    old = _offset(datetime.fromtimestamp(low, zone))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, zone)) == old:
            low = middle
        else:
            high = middle
    return high * 1000
