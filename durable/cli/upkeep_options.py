"""The options of upkeep: a store that is a file of this machine, and durations."""

from __future__ import annotations

import re
from pathlib import Path

import click

from durable.cli.command_group import Settings
from durable.cli.exit_codes import Unusable

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\Z")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def path_of(chosen: Settings) -> Path:
    """The store's file. Unusable when the store is a server's: upkeep happens beside the file."""
    from durable.store.target import is_database, is_url, parsed

    if is_database(chosen.path):
        raise Unusable("this is upkeep of a store's file; a database has the server's own")
    if is_url(chosen.path):
        raise Unusable(f"{chosen.path} is a server; run this where its store is, with --store PATH")
    return Path(parsed(chosen.path))


class Duration(click.ParamType[float]):
    """`30d`, `12h`, `90m`, `10s`, `1.5h`, or a number of seconds; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = _DURATION.match(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a duration; write 30d, 12h, 90m or 10s", param, ctx)
        return float(found[1]) * _SECONDS[found[2] or "s"]


def size(count: int) -> str:
    """A number of bytes for people."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError
