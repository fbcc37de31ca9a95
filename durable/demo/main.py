"""The demo from beginning to end."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from durable.cli import exit_codes
from durable.cli.open_prompts import on_terminal
from durable.cli.text_output import Out, plain, to_text
from durable.demo import data
from durable.demo.job import ANSWER, EVENTS, QUESTION, STEPS, YEARS
from durable.demo.plan import Kill, plan
from durable.demo.summary import Findings, ReportRow, findings
from durable.demo.supervisor import DemoRun, EngineDied, answer_all

if TYPE_CHECKING:
    from durable.store.rows import PromptRow


async def demo(out: Out, *, seed: int, kills: int, store: str | None) -> int:
    """Run the job killed and undisturbed, side by side; exit 1 when their results differ."""
    if not data.path().is_file():
        raise exit_codes.Unusable(f"the data set is missing: {str(data.path())!r}; install durable-exec again")
    scratch = Path(tempfile.mkdtemp(prefix="durable-demo-"))
    try:
        return await _demo(out, seed, kills, store, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def _demo(out: Out, seed: int, kills: int, store: str | None, scratch: Path) -> int:
    name = f"demo-{secrets.token_hex(3)}"
    place = Path(store).expanduser().absolute() if store is not None else scratch / "demo.db"
    place.parent.mkdir(parents=True, exist_ok=True)
    drawn = plan(seed, kills)
    for directory in ("killed", "undisturbed"):
        (scratch / directory).mkdir()
    run = DemoRun(place, scratch / "killed", name, name, deque(drawn), out.note)
    quiet = scratch / "undisturbed"
    reference = DemoRun(quiet / "demo.db", quiet, name, name, deque(), lambda _: None)
    out.say(f"seed {seed} (repeat it with: durable demo --seed {seed} --kills {kills})")
    out.note(f"The job: 43 years of weekly CO2 at Mauna Loa, in {EVENTS} pieces that are recorded: {len(STEPS)} steps,")
    out.note(f"{len(YEARS)} calls by a session's code of {_statements()} statements, and one question. It runs twice:")
    out.note("undisturbed, and here, where SIGKILL ends")
    for victim in [planned(kill) for kill in drawn] or ["nothing"]:
        out.note(f"  {victim}")
    try:
        if not await _both(out, run, reference):
            out.say("the demo's engine ended by itself; please report this with the seed")
            return exit_codes.FAILED
        found = await findings(seed, run, reference)
    finally:
        await run.stop()
        await reference.stop()
    _show(out, found, kills)
    if store is not None:
        out.say(f"look around: durable show {name} --store {store}")
    return exit_codes.DONE if found.equal else exit_codes.FAILED


async def _both(out: Out, run: DemoRun, reference: DemoRun) -> bool:
    """Run both to their end; False when an engine ended by itself."""
    asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(_row: PromptRow) -> str:
        if not asked.done():
            asked.set_result(await _typed(out) if on_terminal() else ANSWER)
        return asked.result()

    async def repeat(_row: PromptRow) -> str:
        return await asyncio.shield(asked)

    failed = ""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run.go())
            group.create_task(reference.go())
            group.create_task(answer_all(run, ask))
            group.create_task(answer_all(reference, repeat))
    except* EngineDied as broken:
        first: BaseException = broken
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        failed = str(first) or "it said nothing"
    if failed:
        out.note(failed)
    return not failed


async def _typed(out: Out) -> str:
    from durable.cli.open_prompts import read_line

    out.note(f"The session asks: {QUESTION} [{ANSWER}] ", end="")
    while True:
        text = (await read_line(asyncio.get_running_loop().create_future())) or ANSWER
        if text.strip().isdigit() and 2002 <= int(text) <= 2100:
            return text.strip()
        out.note("A year from 2002 to 2100, please: ", end="")


def _statements() -> int:
    import ast

    from durable.demo.job import SCRIPT

    return len(ast.parse(SCRIPT).body)


def planned(kill: Kill) -> str:
    """The plan of one kill in words."""
    victim = "the session's worker" if kill.target == "worker" else "the engine"
    return f"{victim} just after the {ordinal(kill.event)} of the {EVENTS} began"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    end = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{end}"


def _show(out: Out, found: Findings, kills: int) -> None:
    if out.json:
        out.document(found)
        return
    out.data("")
    out.table(("recorded", "kind", "name", "state", "ran", ""), [_cells(rows) for rows in _folded(found.rows)])
    cut = sum(row.cut_off for row in found.rows)
    out.data("")
    out.data(f"seed {found.seed}: {len(found.kills)} of {kills} kills: {', '.join(found.kills) or 'none'}")
    out.data(f"engines started: {found.engines}; session restored {len(found.restored)} times: {_restored(found)}")
    out.data(f"{len(found.rows)} steps and calls recorded; run again because a kill cut them off: {cut}")
    if found.equal:
        out.data(plain(f"result, equal to the undisturbed run's: {found.result['conclusion']}"))
        return
    out.data(plain(f"result: {to_text(found.result)}\nundisturbed: {to_text(found.undisturbed)}"))
    out.say("the results differ; please report this with the seed")


def _restored(found: Findings) -> str:
    return "; ".join(dict.fromkeys(found.restored)) or "nothing"


def _folded(rows: list[ReportRow]) -> list[list[ReportRow]]:
    """Neighbours that differ in their number alone share a line."""
    folded: list[list[ReportRow]] = []
    for row in rows:
        last = folded[-1][-1] if folded else None
        alike = last is not None and (last.name, last.state, last.runs) == (row.name, row.state, row.runs)
        if alike:
            folded[-1].append(row)
        else:
            folded.append([row])
    return folded


def _cells(rows: list[ReportRow]) -> tuple[object, ...]:
    first, last = rows[0], rows[-1]
    number = last.id.rpartition(":")[2]
    shown = first.id if len(rows) == 1 else f"{first.id} to {number}"
    ran = "" if first.runs is None else f"{first.runs}" if len(rows) == 1 else f"{first.runs} each"
    notes = {"execute": "goes on where it was cut", "call": "asked once" if first.runs is None else ""}
    note = "cut off and run again" if first.cut_off else notes.get(first.kind, "")
    return (shown, first.kind, first.name, first.state, ran, note)
