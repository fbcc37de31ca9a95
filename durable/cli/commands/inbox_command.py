"""`durable inbox`: questions that wait for a person."""

from __future__ import annotations

import click

from durable.cli import exits
from durable.cli.app import Command, Settings, in_loop, settings


@click.command("inbox", cls=Command, short_help="Questions that wait for a person.")
def command() -> int:
    """Questions that wait for a person, oldest first."""
    chosen = settings()
    return in_loop(lambda: _inbox(chosen))


async def _inbox(chosen: Settings) -> int:
    from durable.cli.driving import opened
    from durable.cli.out import line
    from durable.views import prompt_view

    async with opened(chosen, create=False) as store:
        views = [prompt_view(row, chosen.named) for row in await store.reads.prompts()]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exits.DONE
    rows = [(view.id, line(view.question), ", ".join(map(str, view.choices or ())), view.created_at) for view in views]
    out.table(("prompt", "question", "choices", "since"), rows, "nobody is asked anything")
    if views:
        out.say(f"answer one with: {views[0].command}")
    return exits.DONE
