"""Cron lines: what they mean and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from durable.store.cron import Cron, CronError


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
        # 02:30 does not exist on 2030-03-31 in Berlin, and exists twice on 2030-10-27.
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2030-03-30T12:00:00", "2030-04-01T00:30:00"),
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2030-10-26T12:00:00", "2030-10-27T00:30:00"),
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2030-10-27T00:30:00", "2030-10-28T01:30:00"),
    ],
)
def test_the_next_tick(line: str, after: str, expected: str) -> None:
    assert Cron.parse(line).after(ms(after)) == ms(expected)


@pytest.mark.parametrize(
    "line",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
     "*/0 * * * *", "a * * * *", "1, * * * *", "- * * * *", "0 0 30 2 *", "CRON_TZ=Mars/Base * * * * *", "² * * * *"],
)  # fmt: skip
def test_what_is_no_cron_is_refused(line: str) -> None:
    with pytest.raises(CronError):
        Cron.parse(line)
