"""The options of commands that make a session: its profile, its limits, its permissions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from durable.cli.upkeep_options import Duration

if TYPE_CHECKING:
    from bridge.confine.limits import Limits, Profile
    from capabilities.permissions.levels import Level
    from durable.engine.engine import Engine
    from durable.sessions.language import Language
    from durable.sessions.session import Session

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(k|m|g|t)(i?)b?|b)?\Z", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
LEVELS = ("sandbox", "restricted", "standard", "trusted", "unrestricted")
BYTES = ("memory", "output", "disk")
SECONDS = ("cpu", "wall")
COUNTS = ("files", "processes")


@dataclass(frozen=True, slots=True)
class Making:
    """The options for making a session; an existing one keeps what it has, and something else is a Conflict."""

    profile: Profile | None = None
    limits: tuple[tuple[str, float], ...] = ()
    grants: tuple[str, ...] = ()
    level: Level | None = None
    permissions: str | None = None
    language: Language | None = None
    capabilities: tuple[str, ...] = ()
    """Where capabilities of the user's own are defined: files or modules."""

    def as_limits(self) -> Limits | None:
        """The limits; None where none was given. Raises BadArguments for what cannot be."""
        from bridge.confine.limits import Limits

        return Limits.read(dict(self.limits)) if self.limits else None

    async def session(self, engine: Engine, name: str) -> Session:
        """The session, made if need be."""
        return await engine.session(
            name,
            profile=self.profile,
            limits=self.as_limits(),
            grants=self.grants,
            level=self.level,
            permissions=self.permissions,
            language=self.language,
        )


class Limit(click.ParamType[tuple[str, float]]):
    """`memory=256MiB`, `wall=10s`, `processes=8`."""

    name = "limit"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, given, text = str(value).partition("=")
        if name in SECONDS and given:
            return name, Duration().convert(text, param, ctx)
        if name in COUNTS and text.isdecimal():
            return name, int(text)
        found = _SIZE.match(text.strip())
        if name in BYTES and found is not None:
            base = 1024 if found[3] or not found[2] else 1000
            return name, int(float(found[1]) * base ** _POWERS.get((found[2] or "").lower(), 0))
        known = "memory=256MiB, output=10MB, disk=1GiB, cpu=10s, wall=2m, files=64 or processes=8"
        raise click.BadParameter(f"{value!r} is not a limit; write {known}", ctx, param)


def making_sessions(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options to a command, which gets them together as `made_with`."""

    @wraps(command)
    def with_options(**given: Any) -> int:
        chosen = {field.name: given.pop(field.name) for field in fields(Making)}
        return command(made_with=Making(**chosen), **given)

    made: Callable[..., int] = with_options
    for option in (
        click.option("--grant", "grants", multiple=True, metavar="NAME[:WHAT]", help="A capability its code may call."),
        click.option(
            "--capabilities", multiple=True, metavar="FILE", help="A file or module with capabilities of your own."
        ),
        click.option("--level", type=click.Choice(LEVELS), help="The level of its permissions."),
        click.option("--permissions", metavar="FILE", help="The manifest of its permissions, TOML."),
        click.option("--limit", "limits", multiple=True, type=Limit(), metavar="NAME=N", help="What it may use."),
        click.option("--language", type=click.Choice(["python", "javascript"]), help="Of a new session's cells."),
        click.option("--profile", type=click.Choice(["open", "isolated"]), help="How a new session is held."),
    ):
        made = option(made)
    return made
