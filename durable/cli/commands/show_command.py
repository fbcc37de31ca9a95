"""`durable show ID`: everything about one execution."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.records.view_models import DetailView

SHOWN_CHARS_MAX = 10_000
_WHOLE = "--full or --json shows all"


@click.command("show", cls=Command, short_help="Everything about one execution.")
@click.argument("execution_id", metavar="ID")
@click.option("--full", is_flag=True, help=f"Show values of more than {SHOWN_CHARS_MAX:,} characters whole.")
@asynchronous
async def command(chosen: Settings, execution_id: str, full: bool) -> int:
    """Everything about one execution: its state, arguments and result, each step with what is under it, each question.

    With --json all of it, and its record, which `durable import` recreates it from in another store.
    """
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import find, served
    from durable.engine.views import detail_view
    from durable.executions import exported_record

    async with looked_at(chosen) as store:
        row = await find(store.reads, execution_id)
        detail = await detail_view(store.reads, row, await served(store), chosen.named)
        exported = (
            await exported_record.export(store, row) if chosen.json and detail.execution.kind == "function" else None
        )
    out = chosen.out()
    if out.json:
        out.document({**detail.to_json(), "record": exported})
    else:
        _print(out, detail, sys.maxsize if full else SHOWN_CHARS_MAX)
    return exit_codes.DONE


def _print(out: Out, detail: DetailView, limit: int) -> None:
    from durable.cli.tables import STEP_COLUMNS, note_of, step_rows
    from durable.cli.text_output import cut, line, plain, to_text
    from durable.records.duration_text import duration

    view = detail.execution
    fields = [
        ("id", view.id),
        ("state", f"{view.state} (stuck)" if view.stuck else view.state),
        ("what", view.function if view.kind == "function" else view.name),
        ("arguments", to_text(detail.arguments)),
        ("began", view.created_at),
        ("took" if view.settled_at else "age", duration(view.duration)),
        ("deadline", view.timeout_at),
        ("starts", f"{view.starts}" + (f", {view.attempts} without progress" if view.attempts else "")),
        ("engine", "" if view.engine_pid is None else f"{view.engine} (pid {view.engine_pid})"),
        ("note", note_of(view)),
        ("from", view.forked_from),
        ("rewound as", view.rewound_as),
        ("retried as", view.retried_as),
        ("result", to_text(detail.result) if view.state == "completed" else ""),
    ]
    for name, value in fields:
        if value:
            out.data(f"{name:<10} {line(cut(value, limit, _WHOLE))}")
    if detail.traceback:
        out.data(plain(cut(detail.traceback.rstrip("\n"), limit, _WHOLE)))
    if detail.steps:
        out.data("")
        out.table(STEP_COLUMNS, step_rows(detail, with_branches=out.is_terminal()))
    for lost in detail.discards:
        what = "its result" if lost.step == view.id else f"the result of {lost.step}"
        out.data(line(f"{lost.at}: {what} was thrown away, another engine had the execution by then ({lost.reason})"))
    for prompt in detail.prompts:
        out.data("")
        out.data(plain(f"{prompt.execution} asks: {cut(prompt.question, limit, _WHOLE)}\n  {prompt.command}"))
