"""`durable cancel ID`"""

from __future__ import annotations

import click

from durable.cli import exits
from durable.cli.app import Command, Settings, in_loop, settings
from durable.core.limits import CANCEL_GRACE_S


@click.command("cancel", cls=Command, short_help="End an execution for good.")
@click.argument("execution_id", metavar="ID")
@click.option(
    "--grace",
    default=CANCEL_GRACE_S,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="What a durable function has for its clean-up.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the execution.")
def command(execution_id: str, reason: str, grace: float) -> int:
    """End an execution for good, wherever it runs, and wait until it has. One that has ended otherwise is a conflict
    (exit 6).
    """
    chosen = settings()
    return in_loop(lambda: _cancel(chosen, execution_id.removeprefix("exec:"), reason, grace))


async def _cancel(chosen: Settings, execution_id: str, reason: str, grace: float) -> int:
    from durable.cli.driving import open_engine
    from durable.cli.standing import find, served
    from durable.core.errors import Conflict
    from durable.views import execution_view

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        await find(engine.store.reads, execution_id)
        await engine.cancel(execution_id, reason, grace=grace)
        row = await find(engine.store.reads, execution_id)
        living = await served(engine.store)
    if row.state != "cancelled":
        raise Conflict(f"{row.id} has ended before: it is {row.state}")
    if out.json:
        out.document(execution_view(row, living))
    out.say(f"{row.id} is cancelled")
    return exits.DONE
