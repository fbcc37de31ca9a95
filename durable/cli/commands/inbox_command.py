"""`durable inbox`: questions that wait for a person."""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings


@click.command("inbox", cls=Command, short_help="Questions that wait for a person.")
@click.option("--watch", is_flag=True, help="Go on: print each new question as it comes, until Ctrl-C.")
def command(watch: bool) -> int:
    """Questions that wait for a person, oldest first."""
    chosen = settings()
    return in_loop(lambda: _watch(chosen) if watch else _inbox(chosen))


async def _inbox(chosen: Settings) -> int:
    from durable.cli.engine_or_client import looked_at
    from durable.cli.text_output import line
    from durable.engine.views import prompt_view

    async with looked_at(chosen) as store:
        views = [prompt_view(row, chosen.named) for row in await store.reads.prompts()]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exit_codes.DONE
    rows = [(view.id, line(view.question), ", ".join(map(str, view.choices or ())), view.created_at) for view in views]
    out.table(("prompt", "question", "choices", "since"), rows, "nobody is asked anything")
    if views:
        out.say(f"answer one with: {views[0].command}")
    return exit_codes.DONE


async def _watch(chosen: Settings) -> int:
    """One line each, or one JSON document a line; those that are open already first."""
    import asyncio
    from dataclasses import asdict

    from durable.cli.engine_or_client import open_engine
    from durable.cli.text_output import line, to_text
    from durable.engine.views import prompt_view

    out, shown = chosen.out(), set[str]()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        while True:
            change = engine.changed()
            rows = await engine.store.reads.prompts()
            for row in rows:
                if row.id not in shown:
                    view = prompt_view(row, chosen.named)
                    out.data(to_text(asdict(view)) if out.json else f"{view.id}\t{line(view.question)}")
            shown = {row.id for row in rows}
            await asyncio.wait([change])
