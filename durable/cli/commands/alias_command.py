"""`durable alias OLD NEW`"""

from __future__ import annotations

import os
import re

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.exit_codes import Unusable

_ID = re.compile(r"(?:[^@]+::)?[^@:]([^@]*[^@:])?(?:@[1-9][0-9]*)?")


@click.command("alias", cls=Command, short_help="Say what a function is known by since it was renamed.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def command(old: str, new: str) -> int:
    """Let NEW run what is recorded as OLD: executions, also those that have ended, and schedules.

    Both are MODULE::FUNC, FILE::FUNC or the name that @durable.function(name=...) gives, with @VERSION or for all
    versions. `durable list --json` shows what executions are recorded as. In code the same is said with
    @durable.function(aliases=[OLD]), which also serves what is started as OLD later.
    """
    for text in (old, new):
        if not _ID.fullmatch(text):
            raise Unusable(f"{text!r} names no function; write MODULE::FUNC, FILE::FUNC or a given name")
    if old == new:
        raise Unusable(f"both are {old!r}: give what it was known by, then what it is known by now")
    chosen = settings()
    return in_loop(lambda: _alias(chosen, old, new))


async def _alias(chosen: Settings, old: str, new: str) -> int:
    from durable.cli.engine_or_client import opened
    from durable.core.errors import NotFound

    known_as, source = _named(new)
    request = {"old": old, "new": known_as, "source": source, "after": ""}
    executions = schedules = 0
    async with opened(chosen, create=False) as store:
        while True:
            data = (await store.request("function.alias", request)).data
            executions += data["executions"]
            schedules += data["schedules"]
            if not data["last"]:
                break
            request["after"] = data["last"]
    if not executions and not schedules:
        raise NotFound("function", old, "nothing is recorded as that; `durable list --json` shows what is")
    out = chosen.out()
    if out.json:
        out.document({"old": old, "new": known_as, "executions": executions, "schedules": schedules})
    else:
        out.say(f"{executions} executions and {schedules} schedules of {old} are {known_as} now")
    return exit_codes.DONE


def _named(new: str) -> tuple[str, str]:
    """The name of NEW in records, and the file it is loaded from where it is typed as one."""
    from durable.core.definition_id import absolute, where_of_file

    place, separator, name = new.rpartition("::")
    if separator and os.path.isfile(place):
        return f"{where_of_file(absolute(place))}::{name}", absolute(place)
    return new, ""
