"""How an execution ended, or why it rests: data, message and exit code."""

from __future__ import annotations

from durable.cli import exit_codes
from durable.cli.command_group import Settings
from durable.cli.execution_status import AwaitsAnswers, GoesOn, HasEnded, IsHalted, Standing
from durable.cli.open_prompts import show_waiting
from durable.cli.text_output import Out
from durable.core.errors import ExecutionError, Halted
from durable.core.value_codec import undamaged
from durable.executions.states import PROMISE_OF
from durable.functions.failures import read_document, rebuild
from durable.records import notation
from durable.store.rows import ExecutionRow


def error_of(row: ExecutionRow) -> ExecutionError:
    """The error of an execution that did not complete."""
    return rebuild(PROMISE_OF[row.state], undamaged(row.value), row.id)


def report(settings: Settings, out: Out, execution_id: str, standing: Standing) -> int:
    """Print the result, or say why there is none; returns the exit code. Raises Halted."""
    match standing:
        case HasEnded(row):
            return report_settled(out, row)
        case AwaitsAnswers():
            show_waiting(settings, out, execution_id, standing)
            return exit_codes.WAITING
        case IsHalted(row):
            raise halted(execution_id, row)
        case GoesOn():
            raise AssertionError("it still goes on")


def report_settled(out: Out, row: ExecutionRow) -> int:
    """The result on stdout, or the user's traceback and what failed on stderr."""
    if row.state == "completed":
        value = notation.shown(undamaged(row.value))
        if row.session is not None and isinstance(value, dict):
            value = value.get("value") if value.get("value") is not None else value.get("repr") or None
        out.value(value)
        return exit_codes.DONE
    report_failed(out, row)
    return exit_codes.OF_STATE.get(row.state, exit_codes.FAILED)


def report_cell(out: Out, row: ExecutionRow) -> int:
    """A cell's value as Python's prompt shows it, or the user's traceback, which says it all."""
    tell_earlier(out, row)
    if row.state == "completed":
        value = undamaged(row.value)
        shown = value.get("repr") if isinstance(value, dict) else None
        if shown:
            out.repr(str(shown))
        return exit_codes.DONE
    if row.state == "failed" and error_of(row).traceback:
        out.traceback(error_of(row).traceback)
    else:
        report_failed(out, row)
    return exit_codes.OF_STATE.get(row.state, exit_codes.FAILED)


def tell_earlier(out: Out, row: ExecutionRow) -> None:
    """Tell what threads and tasks of earlier cells printed before this one, and which of them failed since."""
    value = row.value if row.state == "completed" else read_document(row.value)
    found = value if isinstance(value, dict) else {}
    if isinstance(found.get("earlier"), str):
        out.note("[from earlier work]\n" + found["earlier"].rstrip("\n"))
    for text in found.get("failures") or ():
        out.note(f"[{text}]")


def report_failed(out: Out, row: ExecutionRow) -> None:
    """Why it did not complete."""
    error = error_of(row)
    if error.traceback:
        out.traceback(error.traceback)
    if out.json:
        out.document(
            {
                "error": {
                    "code": error.code,
                    "message": str(error),
                    "exception_type": error.exception_type,
                    "traceback": error.traceback,
                    "execution_id": error.execution_id,
                }
            }
        )
    if row.state == "failed":
        out.say(f"{row.id} failed: {error}")
    else:
        out.say(str(error))


def halted(execution_id: str, row: ExecutionRow) -> Halted:
    """Why an execution rests that `row` holds up: itself, or one that it waits for."""
    return Halted(row.id, row.note or "", awaited=execution_id)
