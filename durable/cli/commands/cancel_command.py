"""`durable cancel [ID]`"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.execution_filter import chooses_many, chosen_rows, filter_of, many, preview, tell_changed
from durable.core import ids
from durable.core.limits import CANCEL_GRACE_S

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.executions.execution_search import ExecutionFilter
    from durable.store.port import StoreFace
    from durable.store.rows import ExecutionRow

LET_GO_S = 2.0
"""Beyond the grace, for the store's writer to end what was not ended."""


@click.command("cancel", cls=Command, short_help="End an execution for good.")
@click.argument("execution_id", metavar="[ID]", required=False)
@click.option(
    "--grace",
    default=CANCEL_GRACE_S,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="What a durable function has for its clean-up.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the execution.")
@many
@asynchronous
async def command(
    chosen: Settings,
    /,
    execution_id: str | None,
    reason: str,
    grace: float,
    limit: int,
    dry_run: bool,
    **options: Any,
) -> int:
    """End an execution for good, wherever it runs, and wait until it has. A durable function cleans up first: here,
    where no engine that serves it is alive. One that has ended otherwise is a conflict (exit 6).

    With options that choose in place of ID, all of those that have not ended are cancelled, the newest first;
    --dry-run shows which they are.
    """
    chooses_many(execution_id, **options)
    if execution_id is not None:
        return await _cancel(chosen, execution_id.removeprefix("exec:"), reason, grace)
    return await _cancel_all(chosen, filter_of(**options), reason, grace, limit, dry_run)


async def _cancel_all(
    chosen: Settings, wanted: ExecutionFilter, reason: str, grace: float, limit: int, dry_run: bool
) -> int:
    from durable.cli.engine_or_client import opened
    from durable.core.errors import Conflict
    from durable.executions.states import OPEN

    out = chosen.out()
    async with opened(chosen, create=False) as store:
        rows = await chosen_rows(store, wanted, limit, OPEN)
        if dry_run:
            return await preview(out, store, rows)
    cancelled = []
    for row in rows:
        try:
            await _cancel(replace(chosen, json=False), row.id, reason, grace)
            cancelled.append(row.id)
        except Conflict as error:
            out.say(str(error))
    return tell_changed(out, cancelled, len(rows), "cancelled")


async def _cancel(chosen: Settings, execution_id: str, reason: str, grace: float) -> int:
    from durable.cli.engine_or_client import open_engine, opened
    from durable.cli.execution_status import find, served
    from durable.core.errors import Conflict
    from durable.engine.views import execution_view

    out = chosen.out()
    async with opened(chosen, create=False) as store:
        row = await find(store.reads, execution_id)
        serving = bool(grace) and await _cleans_up_here(out, store, row)
        if serving:  # before an engine is there, which would go on with the function meanwhile
            import_module("durable.engine.engine")  # the grace is the code's, not the import's
            wish = {"id": ids.execution_promise(row.id), "reason": reason, "grace_ms": int(grace * 1000)}
            await store.request("execution.cancel", {**wish, "serves": True})
    end = _EndOfGrace(out, row.id, grace) if serving else nullcontext()
    with end:
        async with open_engine(chosen, out, serve=serving, create=False) as engine:
            await engine.cancel(execution_id, reason, grace=grace)
            row = await find(engine.store.reads, execution_id)
            living = await served(engine.store)
    if row.state != "cancelled":
        raise Conflict(f"{row.id} has ended before: it is {row.state}")
    if out.json:
        out.document(execution_view(row, living))
    out.say(f"{row.id} is cancelled")
    return exit_codes.DONE


class _EndOfGrace:
    """Ends this process where the function's own code holds its loop beyond the grace: the store has ended it then."""

    def __init__(self, out: Out, execution: str, grace_s: float) -> None:
        self._out = out
        self._execution = execution
        self._timer = threading.Timer(grace_s + LET_GO_S, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        if self._out.json:
            self._out.document({"id": self._execution, "state": "cancelled"})
        self._out.say(f"{self._execution} is cancelled; its code did not let go, and is ended with this command")
        sys.stdout.flush()
        os._exit(exit_codes.DONE)


async def _cleans_up_here(out: Out, store: StoreFace, row: ExecutionRow) -> bool:
    """Whether it is a function that has begun, which no engine that is alive serves and this process can."""
    from durable.cli.execution_status import served
    from durable.cli.load_target import load_ids
    from durable.core.definition_id import CELL
    from durable.executions.states import SETTLED

    function = row.function
    if row.state in SETTLED or not row.starts or not function or function == CELL:
        return False
    if (await served(store)).serve([function]):
        return False
    out.protect()
    for reason in (await load_ids({function}, store.reads)).values():
        out.say(f"{row.id} ends without its clean-up, which nobody can run: {reason}")
        return False
    return True
