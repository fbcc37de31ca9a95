"""Five-field cron in UTC for the oracle: minute, hour, day of month, month, day of week.

`*`, numbers, names (JAN, SUN), lists, ranges and steps. 0 and 7 are Sunday. When both day fields are
restricted, either one suffices. Written for plainness: it walks the days of the calendar.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = {name: n for n, name in enumerate(_MONTH_NAMES, 1)}
DAYS = {name: n for n, name in enumerate(_DAY_NAMES)}
BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, MONTHS),
    (0, 7, DAYS),
)

HORIZON_DAYS = 366 * 9
"""29 February can be 8 years away (around 2100); what is not due by then never is."""


def next_run(cron: str, after_ms: int) -> int | None:
    """The first run after a time, both milliseconds since the epoch; None when the text is no cron or never due."""
    fields = cron.split()
    if len(fields) != len(BOUNDS):
        return None
    try:
        minutes, hours, days, months, weekdays = (
            _field(text, low, high, names) for text, (low, high, names) in zip(fields, BOUNDS, strict=True)
        )
    except ValueError:
        return None
    weekdays = {day % 7 for day in weekdays}
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    start = datetime.fromtimestamp(after_ms // 1000, UTC).replace(second=0) + timedelta(minutes=1)
    for offset in range(HORIZON_DAYS):
        day = start.date() + timedelta(days=offset)
        in_month, in_week = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month not in months or not (in_month or in_week if either else in_month and in_week):
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                due = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                if due >= start:
                    return int(due.timestamp()) * 1000
    return None


def _field(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = low, high
        else:
            first = _number(first_text, names)
            last = _number(last_text, names) if dash else (high if slash else first)
        if step < 1 or not low <= first <= last <= high:
            raise ValueError(text)
        chosen.update(range(first, last + 1, step))
    return chosen


def _number(text: str, names: dict[str, int]) -> int:
    if text.upper() in names:
        return names[text.upper()]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
