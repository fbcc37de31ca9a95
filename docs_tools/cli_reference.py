"""The page of the commands, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from durable.cli.command_group import root

COMMON = ("store", "trust_store", "json")
"""Options of every command, said once."""

HEAD = """# Command line

Every command, made from the commands themselves. stdout is data, stderr is everything else.
[Exit codes](../errors.md#exit-codes-of-commands) are on the page of errors.
What `--json` prints is in `specs/cli.md` of the repository.

These go with every command, before or after it:

| option | meaning |
|---|---|
| `--store PATH\\|URL` | the store; `DURABLE_STORE`, else `.durable/state.db` |
| `--trust-store` | open the store though another user prepared it, now and later |
| `--json` | data as JSON |
| `-h`, `--help` | what a command does |
"""


def page() -> str:
    """The page as Markdown."""
    context = click.Context(root, info_name="durable")
    return HEAD + "".join(_sections(root, context))


def _sections(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield f"\n## {inner.command_path}\n\n{_text(command.help)}\n"
            yield from _sections(command, inner)
        else:
            level = "##" if context.parent is None else "###"
            yield f"\n{level} {inner.command_path}\n\n{_command(command, inner)}"


def _command(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [row for each in command.get_params(context) if each.name not in COMMON and (row := _row(each, context))]
    table = "\n| option | meaning |\n|---|---|\n" + "".join(rows) if rows else ""
    return f"``` text\n{usage}\n```\n\n{_text(command.help)}\n{table}"


def _row(parameter: click.Parameter, context: click.Context) -> str:
    record = parameter.get_help_record(context)
    if record is None or not record[1] or "--help" in parameter.opts:
        return ""
    names, meaning = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {meaning} |\n"


def _text(help: str | None) -> str:
    """A command's own words: paragraphs, with what looks like HTML left as text."""
    lines = (help or "").replace("\b", "").splitlines()
    return "\n".join(line.strip() for line in lines).strip().replace("<", "&lt;")
