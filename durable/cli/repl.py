"""A conversation with a session: read, run as an execution, show, again."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from durable.cli import exit_codes
from durable.cli.command_group import Settings
from durable.cli.engine_or_client import CommandWork, follow_here, open_engine, opened
from durable.cli.execution_status import AwaitsAnswers, HasEnded, IsHalted, Standing, find, first_unsettled, served
from durable.cli.open_prompts import asker, show_waiting
from durable.cli.progress import OutputPrinter
from durable.cli.repl_input import Reader
from durable.cli.report import halted, report_cell
from durable.cli.session_options import Making
from durable.cli.text_output import Out
from durable.core.definition_id import CELL
from durable.core.errors import Conflict, DurableError, EngineClosed, StoreFull
from durable.core.limits import INTERRUPT_GRACE_S

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.sessions.session import Session

DEAF_S = 2 * INTERRUPT_GRACE_S
"""Code that goes on so long after Ctrl-C may be ended by the next one, with its worker."""


async def talk(chosen: Settings, name: str, made_with: Making) -> int:
    """Until Ctrl-D, or until the session's code waits for somebody else."""
    out = chosen.out()
    async with opened(chosen, create=True) as store:
        serving = CELL not in (await served(store)).functions
    async with open_engine(chosen, out, serve=serving, capabilities=made_with.capabilities) as engine:
        session = await made_with.session(engine, name)
        return await Conversation(chosen, out, engine, session, serving=serving).run()


class Conversation:
    """One person at one session, through one engine: its own, or as a client of another."""

    def __init__(self, chosen: Settings, out: Out, engine: Engine, session: Session, *, serving: bool) -> None:
        self._chosen = chosen
        self._out = out
        self._engine = engine
        self._session = session
        self._serving = serving
        self._ask = asker(chosen, out)
        self._interrupts: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Read and run until the end; the exit code."""
        reader = Reader(self._complete, self._session.language)
        before = await first_unsettled(self._engine.store.reads, self._session.name)
        if before is not None:
            self._out.say(f"{before.id} has not ended; it goes on first")
            code = await self._follow(before.id)
            if code is not None:
                return code
        while True:
            text = await reader.read()
            if text is None:
                self._out.say(f"{self._session.name} stays; go on with: durable repl {self._session.name}")
                return exit_codes.DONE
            if not text.strip():
                continue
            try:
                execution = await self._session.submit(text)
            except DurableError as error:
                self._out.say(str(error))
                continue
            code = await self._follow(execution.id)
            if code is not None:
                return code

    async def _complete(self, text: str) -> list[str]:
        """Nothing where another engine has the session, whose worker answers that one only, and in JavaScript."""
        if not self._serving or self._session.language != "python":
            return []
        try:
            return await self._session.complete(text)
        except DurableError:
            return []

    async def _follow(self, execution: str) -> int | None:
        """Show it until it rests; an exit code when the conversation cannot go on after it."""
        loop = asyncio.get_running_loop()
        deaf = asyncio.Event()

        def interrupt() -> None:
            task = loop.create_task(self._interrupt(execution, deaf))
            self._interrupts.add(task)
            task.add_done_callback(self._interrupts.discard)

        old = signal.signal(signal.SIGINT, lambda _number, _frame: loop.call_soon_threadsafe(interrupt))
        try:
            standing = await self._rest(execution)
        except StoreFull as full:
            self._out.say(str(full))
            return None
        finally:
            signal.signal(signal.SIGINT, old)
            for task in self._interrupts:
                task.cancel()
        match standing:
            case HasEnded(row):
                report_cell(self._out, row)
                return None
            case AwaitsAnswers():
                show_waiting(self._chosen, self._out, execution, standing)
                return exit_codes.WAITING
            case IsHalted(row):
                error = halted(execution, row)
                self._out.say(str(error))
                return exit_codes.code_of(error)
            case _:
                raise AssertionError("it still goes on")

    async def _rest(self, execution: str) -> Standing:
        job = CommandWork(self._never, frozenset((CELL,)), OutputPrinter(self._out), self._ask, execution)
        while True:
            standing = await follow_here(self._engine, job, execution, serving=self._serving)
            if standing is not None:
                return standing
            await self._engine.serve()  # the engine that had it is gone
            self._serving = True

    async def _never(self, _engine: Engine) -> str:
        raise AssertionError("it is submitted already")

    async def _interrupt(self, execution: str, deaf: asyncio.Event) -> None:
        """KeyboardInterrupt in the code. What waits, has not begun, or is `deaf` is cancelled."""
        try:
            row = await find(self._engine.store.reads, execution)
            runs = row.state == "running" and not deaf.is_set()
            if not (runs and await self._engine.interrupt(execution, raises=True)):
                await self._engine.cancel(execution, "ended by Ctrl-C")
                return
        except (Conflict, EngineClosed) as error:
            self._out.say(str(error))
            return
        await asyncio.sleep(DEAF_S)
        if not deaf.is_set():
            deaf.set()
            self._out.say("it goes on; Ctrl-C again ends its worker, the variables stay as before this input")


__all__ = ["talk"]
