"""`durable notebook run|export|sync`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.exit_codes import Unusable
from durable.cli.session_options import Making, making_sessions
from durable.core import ids

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.integrations.notebook.notebook_run import CellReport
    from durable.store.rows import ExecutionRow


@click.group("notebook", short_help="Notebooks: run durably, export, sync.")
def command() -> None:
    """Notebooks as files: run so that a run that was cut goes on, written from a session, brought up to date."""


@command.command("run", cls=Command, short_help="Run a notebook; go on where its run stopped.")
@click.argument("notebook", metavar="NB.ipynb", type=click.Path(path_type=Path))
@click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter; JSON, else text."
)
@click.option("-o", "--output", metavar="OUT", help="Where the notebook with its outputs goes [NB.run.ipynb].")
@click.option("--id", "run_id", metavar="ID", help="The run's id, which is its session's name.")
@click.option("--from", "first", metavar="CELL", type=click.IntRange(min=1), help="Run again from this code cell on.")
@click.option("--allow-errors", is_flag=True, help="Go on after a cell that fails.")
@making_sessions
@asynchronous
async def run(
    chosen: Settings,
    notebook: Path,
    parameters: tuple[str, ...],
    output: str | None,
    run_id: str | None,
    first: int | None,
    allow_errors: bool,
    made_with: Making,
) -> int:
    """Run the cells of a notebook in a session of their own, each an execution.

    Killed, failed or waiting: the same command again goes on at that cell, with what was changed in it or after it. A
    run that has come to its end is not run again: another one begins, or, with --id, its outputs are written.
    """
    from durable.integrations.notebook.notebook_file import read_notebook, with_parameters

    given = dict(map(_parameter, parameters))
    if run_id is not None:
        ids.check_session_name(run_id)
    path = notebook.absolute()
    found = with_parameters(read_notebook(path), given)
    target = (path.with_name(f"{path.stem}.run.ipynb") if output is None else Path(output)).absolute()
    begin = None if first is None else first - 1
    return await _run(chosen, found, path, target, given, run_id, begin, made_with, allow_errors=allow_errors)


def _parameter(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not given:
        raise Unusable(f"{text!r} is no parameter; write -p name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


async def _run(
    chosen: Settings,
    found: Any,
    path: Path,
    target: Path,
    given: dict[str, Any],
    run_id: str | None,
    first: int | None,
    made_with: Making,
    *,
    allow_errors: bool,
) -> int:
    from durable.cli.engine_or_client import CommandWork, follow_here, open_engine
    from durable.cli.execution_status import AwaitsAnswers, HasEnded, IsHalted
    from durable.cli.open_prompts import asker, show_waiting
    from durable.cli.report import halted
    from durable.core.definition_id import CELL
    from durable.integrations.notebook.notebook_run import NotebookRun, choose_run, prepare_environment

    out = chosen.out()
    chosen.store = _absolute(chosen.path)
    prepare_environment(path.parent)
    waits: list[AwaitsAnswers] = []

    async with open_engine(chosen, out, serve=True, capabilities=made_with.capabilities) as engine:

        async def follow(execution: str) -> ExecutionRow:
            job = CommandWork(_never, frozenset((CELL,)), None, asker(chosen, out), execution)
            standing = await follow_here(engine, job, execution, serving=True)
            if isinstance(standing, IsHalted):
                raise halted(execution, standing.row)
            if isinstance(standing, AwaitsAnswers):
                waits.append(standing)
            row = standing.row if isinstance(standing, HasEnded) else await engine.store.reads.get_execution(execution)
            assert row is not None
            return row

        job = NotebookRun(engine, None, found, target, follow, _teller(out, found), allow_errors)  # type: ignore[arg-type]
        planned = [cell for cell, _ in job.cells()]
        name = run_id or await choose_run(engine.store.reads, path, given, planned)
        out.say(f"runs as {name}")
        job.session = await made_with.session(engine, name)
        failed = await job.run(first)
        _write(job.notebook, target)
        if failed is not None and waits:
            show_waiting(chosen, out, failed.id, waits[0])
            out.say("then go on with the same command")
            return exit_codes.WAITING
        return _report(out, name, target, job.reports, failed)


def _write(notebook: Any, target: Path) -> None:
    from durable.integrations.notebook.notebook_file import write_notebook

    try:
        write_notebook(notebook, target)
    except OSError as error:
        raise Unusable(
            f"{target} cannot be written ({error.strerror}); what ran is recorded, so run it again with another -o"
        ) from None


async def _never(_engine: Any) -> str:
    raise AssertionError("it is submitted already")


def _teller(out: Out, notebook: Any) -> Any:
    from durable.integrations.jupyter.restore_report import first_line
    from durable.integrations.notebook.notebook_file import is_run

    count = sum(map(is_run, notebook.cells))

    def tell(report: CellReport, code: str) -> None:
        memory = "" if report.memory is None else f", {report.memory / 2**20:,.0f} MiB"
        how = "was done" if report.was_done else f"{report.state} in {report.seconds:.1f} s{memory}"
        out.say(f"[{report.index + 1}/{count}] {how}: {first_line(code, 60)}")

    return tell


def _report(out: Out, name: str, target: Path, reports: list[CellReport], failed: ExecutionRow | None) -> int:
    from durable.integrations.notebook.notebook_run import error_of_row

    if out.json:
        cells = [
            {"cell": one.index + 1, "execution": one.execution, "state": one.state, "seconds": one.seconds}
            | {"memory": one.memory, "was_done": one.was_done}
            for one in reports
        ]
        state = "completed" if failed is None else failed.state
        out.document({"id": name, "state": state, "output": str(target), "cells": cells})
    if failed is None:
        took = sum(one.seconds for one in reports)
        most = max((one.memory or 0 for one in reports), default=0)
        out.say(f"{len(reports)} cells, {took:.1f} s, at most {most / 2**20:,.0f} MiB: {target}")
        return exit_codes.DONE
    error = error_of_row(failed)
    if error.traceback:
        out.traceback(error.traceback)
    out.say(f"cell {reports[-1].index + 1} failed: {error}")
    out.say(f"outputs so far: {target}; mend the cell and run the same command: it goes on there")
    return exit_codes.OF_STATE.get(failed.state, exit_codes.FAILED)


@command.command("export", cls=Command, short_help="Write a session's cells as a notebook.")
@click.argument("session")
@click.option("-o", "--output", metavar="OUT", help="The file [SESSION.ipynb].")
@asynchronous
async def export(chosen: Settings, session: str, output: str | None) -> int:
    """Write every cell of SESSION, with what it showed, to a notebook."""
    from durable.cli.engine_or_client import open_engine
    from durable.core.errors import NotFound
    from durable.integrations.notebook.session_notebook import exported

    out = chosen.out()
    target = Path(output or f"{session}.ipynb").absolute()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        if all(row.name != session for row in await engine.store.reads.sessions()):
            raise NotFound("session", session, "`durable session list` has them all")
        found = await exported(engine, session)
    _write(found, target)
    out.say(f"{len(found.cells)} cells: {target}")
    if out.json:
        out.document({"session": session, "output": str(target), "cells": len(found.cells)})
    return exit_codes.DONE


@command.command("sync", cls=Command, short_help="Bring a notebook's file up to date with its session.")
@click.argument("notebook", metavar="NB.ipynb", type=click.Path(path_type=Path))
@click.option("--session", metavar="NAME", help="The session, where it is not that of the notebook's path.")
@asynchronous
async def sync(chosen: Settings, notebook: Path, session: str | None) -> int:
    """Write into a notebook what its cells have shown in its session, also while nobody had it open."""
    from durable.cli.engine_or_client import open_engine
    from durable.core.errors import NotFound
    from durable.integrations.jupyter.notebook_name import session_name
    from durable.integrations.notebook.notebook_file import read_notebook
    from durable.integrations.notebook.session_notebook import synced

    out = chosen.out()
    path = notebook.absolute()
    found = read_notebook(path)
    name = session or session_name(str(path), Path("/"))
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        if all(row.name != name or row.closed for row in await engine.store.reads.sessions()):
            raise NotFound("session", name, "`durable session list` has them all; give one with --session")
        changed = await synced(engine, name, found)
    if changed:
        _write(found, path)
    out.say(f"{changed} cells of {path} brought up to date with session {name}")
    if out.json:
        out.document({"session": name, "output": str(path), "cells": changed})
    return exit_codes.DONE


def _absolute(store: str) -> str:
    """The store's name from any directory."""
    from durable.store.target import parsed

    found = parsed(store)
    return str(found.absolute()) if isinstance(found, Path) else store
