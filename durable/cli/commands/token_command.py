"""`durable token …`: tokens with names and roles, for `durable serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from durable.http.access.tokens import TokensFile

_ROLES = ("read", "answer", "operate", "admin")


@click.group("token", short_help="Tokens of people and programs: add, list, remove.")
def command() -> None:
    """Tokens with which people and programs use `durable serve`, each with a name and a role."""


def _with_file(made: Callable[..., Any]) -> Callable[..., Any]:
    option = click.option(
        "--tokens-file", type=click.Path(dir_okay=False), help="The file that holds them [default: <store>.tokens]."
    )
    return option(made)


@command.command("add", cls=Command)
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What it may do; each includes those before.")
@click.option("--team", "teams", multiple=True, metavar="TEAM", help="A team that it answers for; may be repeated.")
@_with_file
@asynchronous
async def add(chosen: Settings, name: str, role: Any, teams: tuple[str, ...], tokens_file: str | None) -> int:
    """Make a token for NAME and print it. It is kept as a digest, so it is shown this once; a running server knows it
    within a second.

    read looks at everything. answer answers questions, too. operate starts, stops and continues executions and runs
    code. admin changes permissions, forgets what is kept, and reads who did what.
    """
    token = (await _file(chosen, tokens_file)).add(name, role, teams)
    out = chosen.out()
    if out.json:
        out.document({"name": name, "role": role, "teams": list(teams), "token": token})
    else:
        out.say(f"the token of {name}, with the role {role}; it is not shown again:")
        out.data(token)
    return exit_codes.DONE


@command.command("list", cls=Command)
@_with_file
@asynchronous
async def list_(chosen: Settings, tokens_file: str | None) -> int:
    """The names and roles, in the order in which they were made."""
    holders = [each.holder for each in (await _file(chosen, tokens_file)).read().values()]
    out = chosen.out()
    if out.json:
        out.document([{"name": each.name, "role": each.role, "teams": list(each.teams)} for each in holders])
        return exit_codes.DONE
    rows = [(each.name, each.role, " ".join(each.teams)) for each in holders]
    out.table(("name", "role", "teams"), rows, "no tokens; `durable token add NAME --role read` makes one")
    return exit_codes.DONE


@command.command("remove", cls=Command)
@click.argument("name")
@_with_file
@asynchronous
async def remove(chosen: Settings, name: str, tokens_file: str | None) -> int:
    """Revoke the token of NAME; a running server refuses it within a second."""
    (await _file(chosen, tokens_file)).remove(name)
    out = chosen.out()
    out.say(f"the token of {name} is revoked")
    if out.json:
        out.document({"name": name, "state": "removed"})
    return exit_codes.DONE


async def _file(chosen: Settings, named: str | None) -> TokensFile:
    """The file of tokens of the command's store. StoreMissing."""
    from durable.http.access.tokens import TokensFile
    from durable.store.port import open_direct

    store = await open_direct(chosen.path, create=False)
    try:
        if named is not None:
            return TokensFile(Path(named), store.path)
        if store.file is None:
            store.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return TokensFile(Path(f"{store.path}.tokens"), store.path)
    finally:
        await store.close()
