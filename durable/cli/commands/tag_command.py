"""`durable tag [ID] NAME=VALUE…`"""

from __future__ import annotations

from typing import Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.execution_filter import filter_of, many, named_options, named_or_chosen, preview
from durable.cli.text_output import counted


@click.command("tag", cls=Command, short_help="Give executions tags that they are found by.")
@click.argument("words", nargs=-1, metavar="[ID] NAME=VALUE...")
@many
@asynchronous
async def command(chosen: Settings, /, words: tuple[str, ...], limit: int, dry_run: bool, **options: Any) -> int:
    """Give an execution tags, or all that are chosen; one that has ended too. `NAME=` takes a tag off.

    With --dry-run the executions are shown as they are, and nothing is changed.
    """
    from durable.cli.engine_or_client import opened
    from durable.core import ids
    from durable.core.errors import BadArguments, StoreRefused
    from durable.store.operations.execution_tags import tags_of

    execution_id, tags = _parted(words, **options)
    click.get_current_context().params["execution_id"] = execution_id  # one that is named: 3 where there is no store
    out = chosen.out()
    async with opened(chosen, create=False) as store:
        rows = await named_or_chosen(store, execution_id, filter_of(**options), limit)
        if dry_run:
            return await preview(out, store, rows)
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            try:
                asked = {"id": ids.execution_promise(row.id), "tags": tags}
                found[row.id] = (await store.request("execution.tag", asked)).data["tags"]
            except StoreRefused as refused:
                raise BadArguments(refused.message) from None
    if out.json:
        out.document([{"id": id, "tags": each} for id, each in found.items()])
    else:
        before = {row.id: tags_of(row.tags) for row in rows}
        changed = sum(found[id] != before[id] for id in found)
        out.say(f"{counted(changed, 'execution')} of {len(found)} changed")
    return exit_codes.DONE


def _parted(words: tuple[str, ...], **options: Any) -> tuple[str | None, dict[str, str | None]]:
    """The ID, where one is named, and the tags."""
    execution_id = words[0].removeprefix("exec:") if words and "=" not in words[0] else None
    given = named_options(**options)
    if (execution_id is None) == (not given):
        raise click.UsageError("name an ID, or choose executions by --state, --function, --where or another option")
    tags: dict[str, str | None] = {}
    for word in words[execution_id is not None :]:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{word!r} is not NAME=VALUE")
        tags[name] = value or None
    if not tags:
        raise click.UsageError("say which tags: NAME=VALUE, or NAME= to take one off")
    return execution_id, tags
