"""`durable lint`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, settings
from durable.cli.text_output import counted


@click.command("lint", cls=Command, short_help="Find in durable functions what a replay would not do again.")
@click.argument("targets", nargs=-1, required=True, metavar="MODULE|FILE|FOLDER...")
@click.option("--select", multiple=True, metavar="CODE", help="Only these codes, or those that begin so; repeatable.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Not these codes; repeatable.")
def command(targets: tuple[str, ...], select: tuple[str, ...], ignore: tuple[str, ...]) -> int:
    """Read the source of durable functions, and of what they call directly: `file:line:col: CODE what, why, instead`.

    Nothing is imported or run. A comment `# noqa: DUR001` lets one line pass. Exit 1 where anything is found.
    """
    from durable.lint.lint_targets import check_targets

    found, files = check_targets(targets, select=select, ignore=ignore)
    out = settings().out()
    if out.json:
        out.document([each.to_json() for each in found])
    else:
        for each in found:
            out.data(each.line())
        out.note(f"{counted(len(found), 'problem')} in {counted(files, 'file')}")
    return exit_codes.FAILED if found else exit_codes.DONE
