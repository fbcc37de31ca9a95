"""`durable exec SESSION CODE|-f FILE|-`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.exit_codes import Unusable
from durable.cli.session_options import Making, making_sessions
from durable.cli.text_output import Out
from durable.core import ids

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.store.rows import ExecutionRow


@click.command("exec", cls=Command, short_help="Run code in a session.")
@click.argument("session")
@click.argument("code", required=False)
@click.option("-f", "--file", "path", metavar="FILE", help="Take the code from a file.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Deadline in seconds.")
@click.option(
    "--checkpoint",
    type=click.Choice(["auto", "statement"]),
    default="auto",
    help="Save at good moments, or after every statement.",
)
@making_sessions
def command(
    session: str,
    code: str | None,
    path: str | None,
    timeout: float | None,
    checkpoint: Literal["auto", "statement"],
    made_with: Making,
) -> int:
    """Run CODE in SESSION, which keeps its variables whatever happens to its processes.

    CODE `-` is read from stdin. What the code prints comes as it is printed, the value of its last expression last.
    """
    ids.check_session_name(session)
    text = _code(code, path)
    chosen = settings()
    return in_loop(lambda: _exec(chosen, session, text, timeout, checkpoint, made_with))


def _code(code: str | None, path: str | None) -> str:
    if (code is None) == (path is None):
        raise Unusable("give the code, `-f FILE`, or `-` to read it from stdin")
    if path is None:
        return sys.stdin.read() if code == "-" else str(code)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


async def _exec(
    chosen: Settings,
    session: str,
    code: str,
    timeout: float | None,
    checkpoint: Literal["auto", "statement"],
    made_with: Making,
) -> int:
    from durable.cli.engine_or_client import CommandWork, drive
    from durable.cli.execution_status import AwaitsAnswers, HasEnded, first_unsettled
    from durable.cli.open_prompts import asker, show_waiting
    from durable.cli.progress import OutputPrinter
    from durable.cli.report import report
    from durable.core.definition_id import CELL

    out = chosen.out()
    out.protect()
    made: list[str] = []

    async def begin(engine: Engine) -> str:
        found = await made_with.session(engine, session)
        before = await first_unsettled(engine.store.reads, session)
        execution = await found.submit(code, timeout=timeout, checkpoint=checkpoint)
        made.append(execution.id)
        if before is not None:
            out.say(f"{before.id} has not ended; it goes on first, then {execution.id}")
        return execution.id

    watcher = None if out.json else OutputPrinter(out)
    job = CommandWork(
        begin, frozenset((CELL,)), watcher, asker(chosen, out), create=True, capabilities=made_with.capabilities
    )
    try:
        standing = await drive(chosen, out, job)
    except BaseException as error:
        if made and not isinstance(error, Exception):
            out.say(f"{made[0]} is kept; go on with: durable resume {made[0]}, or end it: durable cancel {made[0]}")
        raise
    if isinstance(standing, HasEnded) and standing.row.id == made[0]:
        return await _ended(chosen, out, standing.row)
    if isinstance(standing, AwaitsAnswers) and all(row.execution != made[0] for row in standing.prompts):
        show_waiting(chosen, out, made[0], standing)
        out.say(f"{made[0]} is behind it; follow it with: durable wait {made[0]}")
        return exit_codes.WAITING
    return report(chosen, out, made[0], standing)


async def _ended(chosen: Settings, out: Out, row: ExecutionRow) -> int:
    from durable.cli.report import report_cell

    if not out.json:
        return report_cell(out, row)
    value = row.value if row.state == "completed" and isinstance(row.value, dict) else {}
    out.document(await _as_json(chosen, row, value))
    return exit_codes.DONE if row.state == "completed" else exit_codes.OF_STATE.get(row.state, exit_codes.FAILED)


async def _as_json(chosen: Settings, row: ExecutionRow, value: dict[str, Any]) -> dict[str, Any]:
    from durable.cli.engine_or_client import opened
    from durable.cli.report import error_of
    from durable.records.result import Texts
    from durable.records.stored_output import CopyRow

    async with opened(chosen, create=False) as store:
        chunks = await store.reads.output(row.id, limit=2**31)
    printed = Texts.of(CopyRow(chunk.offset, chunk.stream, chunk.text, chunk.chars) for chunk in chunks)
    error = None
    if row.state != "completed":
        found = error_of(row)
        error = {
            "code": found.code,
            "message": str(found),
            "exception_type": found.exception_type,
            "traceback": found.traceback,
        }
    return {
        "id": row.id,
        "state": row.state,
        "value": value.get("value"),
        "repr": str(value.get("repr") or ""),
        "stdout": printed.stdout,
        "stderr": printed.stderr,
        "displays": [{"data": one.data, "metadata": one.metadata} for one in printed.displays],
        "dropped": sum(chunk.dropped for chunk in chunks),
        "error": error,
        "execution_time": float(value.get("execution_time") or 0.0),
    }
