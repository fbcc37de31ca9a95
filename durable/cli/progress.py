"""An execution on stderr while it goes on: its steps as they are recorded, or what its code prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from durable.cli.execution_status import AwaitsAnswers, stand
from durable.cli.text_output import Out
from durable.engine.views import step_view
from durable.records.displays import shown
from durable.records.view_models import StepView
from durable.sessions.output.follow import LiveReader
from durable.sessions.output.live_output import Rewound
from durable.store.rows import PromiseRow

if TYPE_CHECKING:
    from durable.engine.engine import Engine


class Steps:
    """Says each step once, when it is settled; those recorded before it began here are counted."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._seen: set[str] = set()
        self._waits: set[str] = set()

    async def begin(self, engine: Engine, execution_id: str) -> bool:
        """Note what is recorded already. False when there is no such execution."""
        if await engine.store.reads.get_execution(execution_id) is None:
            return False
        self._seen.update(row.id for row in _settled(await engine.store.reads.children(execution_id)))
        return True

    async def say_goes_on(self, engine: Engine, execution_id: str) -> None:
        """Say so of one that exists, and how much of it is not run again; nothing of one that does not go on."""
        row = await engine.store.reads.get_execution(execution_id)
        if row is None or row.settled_at is not None or row.state == "interrupted":
            return
        count = len(self._seen)
        many = "step is" if count == 1 else "steps are"
        kept = f"; {count} recorded {many} not run again" if count else ""
        waits = isinstance(await stand(engine.store.reads, execution_id), AwaitsAnswers)
        self._out.say(f"{execution_id} exists and {'waits for an answer' if waits else 'goes on'}{kept}")

    async def look(self, engine: Engine, execution_id: str, *, last: bool) -> None:  # noqa: ARG002 - a Watcher
        """Say what is new in the record."""
        rows = await engine.store.reads.children(execution_id)
        for row in _settled(rows):
            if row.id not in self._seen:
                self._seen.add(row.id)
                self._out.say(described(step_view(row, None)))
        for row in rows:
            if row.state == "pending" and row.tags.get("durable:kind") in OUTSIDE and row.id not in self._waits:
                self._waits.add(row.id)
                self._out.say(f"{execution_id} waits for {how_to_go_on(row, execution_id)}")


def _settled(rows: list[PromiseRow]) -> list[PromiseRow]:
    return [row for row in rows if row.state != "pending" and not _is_detail(row)]


OUTSIDE = ("signal", "promise")
"""Kinds of operations that end when somebody outside says so."""


def how_to_go_on(row: PromiseRow, execution_id: str) -> str:
    """A signal or promise that somebody outside has to send, and the command that does."""
    name = row.tags.get("durable:name", "")
    if row.tags["durable:kind"] == "signal":
        return f"the signal {name!r}: durable signal {execution_id} {name} VALUE"
    return f"the promise {name!r}: durable promise resolve {row.id} VALUE"


def _is_detail(row: PromiseRow) -> bool:
    """The wait for a retry, and the timer of a limit that was met: nothing that the reader began."""
    met = row.tags.get("durable:kind") == "timer" and row.state == "rejected_canceled"
    return met or row.tags.get("durable:capability") == "retry"


def described(step: StepView) -> str:
    """A settled step on one line."""
    text = f"{step.id} {step.kind} {step.name}: {step.state}, {step.duration:.1f} s"
    return f"{text}: {step.error}" if step.error is not None else text


class OutputPrinter:
    """Passes on what an execution's code prints, to the streams it was printed to."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._reader: LiveReader | None = None
        self._ends_line = True

    async def look(self, engine: Engine, execution_id: str, *, last: bool) -> None:
        """Pass on what is new, and say when some of what was passed on counts no more."""
        if self._reader is None:
            self._reader = LiveReader(engine, execution_id)
        self._reader.engine = engine
        async for event in self._reader.look():
            if isinstance(event, Rewound):
                self._out.say(rewound(execution_id, event.offset))
            elif event.dropped:
                self._out.note(gap(event.dropped))
            elif event.stream != "stderr":
                text = shown(event.stream, event.data)
                self._out.data(text, end="")
                self._ends_line = text.endswith("\n")
            else:
                sys.stderr.write(event.data)
                sys.stderr.flush()
        if last and not self._ends_line:
            self._out.data("")  # as the Python prompt does, so that the value has a line of its own
            self._ends_line = True


def rewound(execution_id: str, offset: int) -> str:
    """The message that output was taken back."""
    return (
        f"{execution_id} went on from a checkpoint: what it had printed from character {offset} on counts no more, "
        "what follows takes its place"
    )


def gap(chars: int) -> str:
    """How a gap in the output is told of, beside it."""
    return f"[{chars:,} characters were not kept]"
