"""The commands of `%durable` in a cell (specs/jupyter.md, `%durable`)."""

from __future__ import annotations

import shlex
from datetime import datetime

from durable.core.errors import BadArguments
from durable.integrations.jupyter.notebook_session import NotebookSession
from durable.integrations.jupyter.restore_report import first_line
from durable.records.result import RestoreReport

USAGE = """%durable checkpoint [LABEL]        save the variables now
%durable restore [LABEL|NUMBER]    bring a checkpoint's variables back; --clear removes all others first
%durable diff [A] [B]              what changed between two checkpoints, or since the one before
%durable fork NAME                 a new session that begins here
%durable attach NAME               go on with another session's variables
%durable vars                      the variables, with type and size
%durable lost                      what could not be saved, and why
%durable undo                      what there was before the last restart
%durable timeline                  cells and checkpoints, newest last
%durable resume                    go on with a cell that was interrupted from elsewhere
%durable cancel                    end such a cell for good
%durable restart                   empty the session, as the front end's Restart does"""

TIMELINE_ROWS_MAX = 40
"""Cells of a timeline."""


class DurableMagic:
    """Runs one command at a time; each returns the text to show."""

    def __init__(self, notebook: NotebookSession) -> None:
        self._notebook = notebook
        self._commands = {
            "checkpoint": self._checkpoint,
            "restore": self._restore,
            "diff": self._diff,
            "fork": self._fork,
            "attach": self._attach,
            "vars": self._vars,
            "lost": self._lost,
            "undo": self._undo,
            "timeline": self._timeline,
            "resume": self._resume,
            "cancel": self._cancel,
            "restart": self._restart,
        }

    async def run(self, line: str) -> str:
        """Run `%durable LINE`. BadArguments says what there is."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise BadArguments(f"%durable {line}: {error}") from None
        if not words or words[0] in ("help", "--help", "-h"):
            return f"session {self._notebook.name}\n\n{USAGE}"
        command = self._commands.get(words[0])
        if command is None:
            raise BadArguments(f"%durable has no {words[0]!r}; it has\n{USAGE}")
        return await command(words[1:])

    async def _checkpoint(self, words: list[str]) -> str:
        label = " ".join(words) or None
        number = await self._notebook.session.checkpoint(label)
        return f"checkpoint {number}" + (f" {label!r}: `%durable restore {label}` brings it back" if label else "")

    async def _which(self, words: list[str], at: int, default: int) -> str | int:
        if len(words) > at:
            return int(words[at]) if words[at].isdecimal() else words[at]
        known = await self._notebook.session.checkpoints()
        if len(known) < -default:
            raise BadArguments("there is no such checkpoint yet: run a cell, or `%durable checkpoint`")
        return known[default].id

    async def _restore(self, words: list[str]) -> str:
        clear = "--clear" in words
        words = [word for word in words if word != "--clear"]
        which = await self._which(words, 0, -1)
        return restored(which, await self._notebook.session.restore(which, clear_existing=clear))

    async def _diff(self, words: list[str]) -> str:
        before = await self._which(words, 0, -2)
        after = await self._which(words, 1, -1)
        changes = await self._notebook.session.diff(before, after)
        if not changes:
            return f"nothing changed between checkpoints {before} and {after}"
        signs = {"added": "+", "removed": "-", "changed": "~"}
        return "\n".join(
            f"{signs[change.kind]} {change.name}: "
            + " → ".join(text for text in (change.before, change.after) if text is not None)
            for change in changes
        )

    async def _fork(self, words: list[str]) -> str:
        (name,) = self._one(words, "fork NAME")
        await self._notebook.session.checkpoint()
        await self._notebook.session.fork(name)
        await self._notebook.engine.host.let_go(name)
        return (
            f"session {name} begins with these variables: `%durable attach {name}` in a notebook, `durable repl {name}`"
        )

    async def _attach(self, words: list[str]) -> str:
        (name,) = self._one(words, "attach NAME")
        await self._notebook.take_from(name)
        return f"this notebook goes on with the variables of session {name}, which stays as it is"

    def _one(self, words: list[str], usage: str) -> list[str]:
        if len(words) != 1:
            raise BadArguments(f"write %durable {usage}")
        return words

    async def _vars(self, words: list[str]) -> str:  # noqa: ARG002
        found = await self._notebook.session.variables()
        if not found:
            return "no variables"
        widths = [max(len(getattr(one, name)) for one in found) for name in ("name", "type")]
        return "\n".join(
            f"{one.name:{widths[0]}}  {one.type:{widths[1]}}  {one.size:>12,} B  {one.repr}" for one in found
        )

    async def _lost(self, words: list[str]) -> str:
        history = self._notebook.engine.checkpoints_of(self._notebook.name)
        found = (await history.show(await self._which(words, 0, -1))).lost
        if not found:
            return "nothing: every variable can be restored"
        lines = [
            f"{one.name} ({one.kind}): {one.reason}" + (f" (made by {one.execution})" if one.execution else "")
            for one in found
        ]
        return "\n".join(lines)

    async def _undo(self, words: list[str]) -> str:  # noqa: ARG002
        name = await self._notebook.undo()
        return f"back is what there was before the restart ({name}); `%durable undo` again changes back"

    async def _restart(self, words: list[str]) -> str:  # noqa: ARG002
        name = await self._notebook.set_aside()
        return "the session is empty" + (f"; `%durable undo` brings back what it had ({name})" if name else "")

    async def _timeline(self, words: list[str]) -> str:  # noqa: ARG002
        by_execution: dict[str, list[str]] = {}
        for one in await self._notebook.session.checkpoints():
            label = f" {one.label!r}" if one.label else ""
            by_execution.setdefault(one.execution.removeprefix("exec:"), []).append(f"{one.id}{label}")
        lines = []
        for row in (await self._notebook.cells())[-TIMELINE_ROWS_MAX:]:
            code = str(row.param["args"][0].get("code", "")) if isinstance(row.param, dict) else ""
            at = datetime.fromtimestamp(row.created_at / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            saved = by_execution.pop(row.id, [])
            kept = f"  checkpoints {', '.join(saved)}" if saved else ""
            lines.append(f"{at}  {row.id:<24} {row.state:<11} {first_line(code, 60)}{kept}")
        rest = [number for numbers in by_execution.values() for number in numbers]
        return "\n".join([*lines, *([f"other checkpoints: {', '.join(rest)}"] if rest else [])]) or "no cells yet"

    async def _resume(self, words: list[str]) -> str:  # noqa: ARG002
        for row in await self._notebook.unfinished():
            if row.state == "interrupted":
                await self._notebook.engine.resume(row.id)
                return f"{row.id} goes on; its output is shown with the next cell"
        return "no cell of this session is interrupted"

    async def _cancel(self, words: list[str]) -> str:  # noqa: ARG002
        rows = await self._notebook.unfinished()
        for row in rows:
            await self._notebook.engine.cancel(row.id, "ended in the notebook")
        return f"ended: {', '.join(row.id for row in rows)}" if rows else "no cell of this session is unfinished"


def restored(which: str | int, report: RestoreReport) -> str:
    """The text of a restore that was asked for."""
    lines = [f"checkpoint {which}: {len(report.restored)} variables are back"]
    lines += [f"  {name}: made anew, {how}" for name, how in report.rebuilt]
    lines += [f"  {one.name}: lost, {one.reason}" for one in report.lost]
    return "\n".join(lines)
