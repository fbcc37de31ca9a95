"""Runs a front end's cells in the notebook's session, and tells what came of them (specs/jupyter.md, Cells)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any

from durable.core.background import eager_task
from durable.core.errors import Conflict, DurableError, Halted, StoreError, StoreFull, StoreUnreachable
from durable.core.events import BackgroundFailed, Event, SessionRestored, log_event
from durable.core.limits import INTERRUPT_GRACE_S
from durable.engine.engine import Engine
from durable.functions.failures import read_document, rebuild
from durable.integrations.jupyter.cell_output import CellOutput
from durable.integrations.jupyter.code_checks import help_asked, hides_result, is_plain, split_magic
from durable.integrations.jupyter.durable_magic import DurableMagic
from durable.integrations.jupyter.kernel import KernelOptions
from durable.integrations.jupyter.kernel_history import code_of, history
from durable.integrations.jupyter.kernel_sockets import KernelSockets
from durable.integrations.jupyter.kernel_wire import NOBODY, KernelMessage
from durable.integrations.jupyter.missed_output import MissedOutput
from durable.integrations.jupyter.notebook_session import CellValue, NotebookSession, default_store, is_restore
from durable.integrations.jupyter.open_question import OpenQuestion
from durable.integrations.jupyter.restore_report import first_line, report_of
from durable.records.result import Result
from durable.sessions.output.live_output import Rewound
from durable.store.changes import StoreChange
from durable.store.rows import PromiseRow

DEAF_S = 2 * INTERRUPT_GRACE_S
"""Code that goes on so long after an interrupt is ended by the next one, with its worker."""

CALLBACK_LOOK_S = 0.1
"""Between two interrupts of a widget's callback."""

PARENTS_MAX = 1_000
"""Cells whose front end's message is remembered, for widgets that take their output."""


class CellRunner:
    """One notebook's session, and the cell that runs in it."""

    def __init__(self, sockets: KernelSockets, options: KernelOptions, inputs: asyncio.Queue[KernelMessage]) -> None:
        self.count = 0
        self.comms: dict[str, str] = {}
        self._sockets = sockets
        self._options = options
        self._inputs = inputs
        self._opening = asyncio.Lock()
        self._notebook: NotebookSession | None = None
        self._notices: list[str] = []
        self._cut: list[str] = []
        self._left: list[str] = []
        self._waits_for_store = self._leaves = False
        self._execution: str | None = None
        self._interrupted_at = 0.0
        self._delivers = False
        self._parent = NOBODY
        self._parents: dict[str, str] = {}
        self._missed = MissedOutput(options.notebook, options.directory)
        self._reading = asyncio.Lock()
        self._beside: asyncio.Task[None] | None = None
        self._question: OpenQuestion | None = None

    # -- opening ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store and restore the session, once it can be. Raises what keeps it from that."""
        async with self._opening:
            if self._notebook is not None:
                return
            options = self._options
            store = options.store or default_store(options.directory)
            self._notebook = notebook = await NotebookSession.open(
                store, options.session, profile=options.profile, observer=self._observe
            )
            unfinished = await notebook.unfinished()
            self._cut = [row.id for row in unfinished]
            here = bool(unfinished) or await notebook.restored()
            await self._counted()
            pid = None if here else await notebook.owner_pid()
            if pid is not None:
                self._notices.append(
                    f"Session {notebook.name} is used by another kernel too, in process {pid}: its cells run there, one"
                    " at a time, with the same variables. Completion and widgets work in that one only. Shut one of"
                    " the two down to have them here.\n"
                )
            await self._tell_of_moved()
            self._question = OpenQuestion(self._sockets, notebook.engine, self._inputs, store)
            self._ask_when_asked(notebook.engine, at_once=bool(unfinished))
            self._beside = asyncio.create_task(self._tell_beside())

    def _ask_when_asked(self, engine: Engine, *, at_once: bool) -> None:
        """Ask questions from the first one on: what that takes is imported with it, or `at_once`."""
        if at_once or engine.store.local is None:
            engine.on_prompt(self._asked)
            return

        def look(change: StoreChange) -> None:
            if change.prompts or change.foreign:
                stop()
                engine.on_prompt(self._asked)

        stop = engine.store.watch(look)

    async def _tell_of_moved(self) -> None:
        """Say where the variables of a notebook with another name are, when this one has none."""
        notebook = self._notebook
        assert notebook is not None
        if self._options.unnamed or await notebook.cells(1):
            return
        found = await self._missed.moved_from(notebook)
        if found is not None:
            self._notices.append(
                f"This notebook has no session yet. Session {found} ran cells that are in it, and its notebook is no"
                f" longer where it was: `%durable attach {found}` goes on with its variables.\n"
            )

    async def _counted(self) -> None:
        assert self._notebook is not None
        try:
            count = await self._notebook.ask("count", {})
        except DurableError:
            count = None
        self.count = int(count) if count is not None else len(await self._notebook.cells())

    def _observe(self, event: Event) -> None:
        log_event(event)
        if is_restore(event, self._options.session):
            assert isinstance(event, SessionRestored)
            widgets = "Widgets that were shown do not answer any more; show them again.\n" if self.comms else ""
            self._notices.append(report_of(event) + widgets)
            for name in self.comms:
                self._sockets.publish("comm_close", {"comm_id": name, "data": {}}, self._parent)
            self.comms.clear()

    async def restart(self) -> None:
        """Empty the session; what it had is set aside."""
        if self._notebook is not None:
            await self._notebook.set_aside()

    async def close(self, *, forget: bool) -> None:
        """Close the session and its engine."""
        if self._beside is not None:
            self._beside.cancel()
        if self._notebook is not None:
            try:
                await self._notebook.close(forget=forget)
            except DurableError as error:  # the store is away: what is there is there, and others see that we are gone
                log_event(BackgroundFailed("closing", str(error)))

    @property
    def notebook(self) -> NotebookSession:
        """The open session."""
        assert self._notebook is not None
        return self._notebook

    # -- cells --------------------------------------------------------------------------------------------------

    def begin_recording(self, message: KernelMessage) -> asyncio.Task[str] | None:
        """Record a cell while front ends are told that it runs; its execution. None where something comes before it."""
        code = str(message.content.get("code", ""))
        told = self._notices or self._cut or self._left or not self._missed.is_known(message)
        if self._notebook is None or told or not _is_recorded(message) or not is_plain(code):
            return None
        return eager_task(self._notebook.submit(code))

    async def execute(self, message: KernelMessage, recording: asyncio.Task[str] | None = None) -> dict[str, Any]:
        """Run a cell; the content of its reply. recording: what `begin_recording` gave for it."""
        content = message.content
        code = str(content.get("code", ""))
        silent = bool(content.get("silent"))
        recorded = _is_recorded(message)
        self._parent = message
        if not silent:
            number = self.count + 1 if recorded else self.count
            self._sockets.publish("execute_input", {"code": code, "execution_count": number}, message)
        if not recorded:
            reply = await self._unrecorded(code, message, silent=silent)
        elif recording is not None:
            reply = await self._run(recording, code, message)
        else:
            await self._tell_notices(message)
            reply = await self._cell(code, message)
        expressions = content.get("user_expressions")
        values: dict[str, Any] = {}
        if reply["status"] == "ok" and isinstance(expressions, dict) and expressions:
            values = await self.ask("expressions", expressions, waits=True) or {}
        return {"execution_count": self.count, "payload": [], "user_expressions": values, **reply}

    async def _cell(self, code: str, message: KernelMessage) -> dict[str, Any]:
        asked = help_asked(code)
        if asked is not None:
            name, detail = asked
            given = {"code": name, "cursor_pos": len(name), "detail_level": detail}
            found = await self.ask("inspect", given, waits=True)
            if found["found"]:
                page = {"source": "page", "data": {"text/plain": found["text"]}, "start": 0}
                return {"status": "ok", "payload": [page]}
        commands, code = split_magic(code)
        magic = DurableMagic(self.notebook)
        for command in commands:
            text = await magic.run(command)
            self._sockets.publish("stream", {"name": "stdout", "text": f"{text}\n"}, message)
            await self._counted()
        if commands and not code.strip():
            return {"status": "ok"}
        return await self._run(self.notebook.submit(code), code, message)

    async def _run(self, recording: Awaitable[str], code: str, message: KernelMessage) -> dict[str, Any]:
        """Show a cell from its record on; the content of its reply."""
        execution = await recording
        self.count += 1
        return await self._shown(execution, code, message, fresh=True)

    async def _shown(self, execution: str, code: str, message: KernelMessage, *, fresh: bool = False) -> dict[str, Any]:
        """Show a cell until it ends; the content of its reply."""
        output = self._output(message, hides=hides_result(code))
        self._remember(execution, message)
        self._execution, self._interrupted_at = execution, 0.0
        self._waits_for_store = self._leaves = False
        try:
            row = await self._follow(execution, output, fresh=fresh)
        except Halted as error:
            return self._told(
                output, "Halted", f"{error}. `%durable resume` goes on with it, `%durable cancel` ends it"
            )
        except (StoreFull, StoreUnreachable) as error:
            self._left.append(execution)
            return self._told(output, type(error).__name__, str(error))
        finally:
            self._execution = None
            self._missed.ran(execution, message, self.count, code)
        return {**self._ended(execution, row, output), "payload": list(output.payloads.values())}

    async def _follow(self, execution: str, output: CellOutput, *, fresh: bool = False) -> PromiseRow:
        row: PromiseRow | None = None
        async for event in self.notebook.follow(execution, fresh=fresh):
            if isinstance(event, PromiseRow):
                row = event  # nothing comes after it; a generator that is left before its end costs a task
            elif event is None:
                output.flush()
                await self._tell_restored(output)
            elif isinstance(event, StoreError):
                self._tell_trouble(event, output)
            elif isinstance(event, CellValue):
                output.result(event.text)
            elif isinstance(event, Rewound):
                output.rewind()
                output.publish("stream", {"name": "stderr", "text": _REWOUND}, {}, [])
            else:
                output.add(event)
        assert row is not None, "an execution that is followed ends"
        return row

    def _tell_trouble(self, error: StoreError, output: CellOutput) -> None:
        """Say once that the store takes nothing, and what to do; raise it when the user does not want to wait."""
        if self._leaves:
            raise error
        if not self._waits_for_store:
            self._waits_for_store = True
            output.flush()
            output.publish("display_data", _notice(f"{error}.\n{_WAITS}"), {}, [])

    def _ended(self, execution: str, row: PromiseRow, output: CellOutput) -> dict[str, Any]:
        if row.state == "resolved":
            found = row.value if isinstance(row.value, dict) else {}
            output.result(str(found.get("repr") or ""))
            self._tell_record(found, output)
            return {"status": "ok"}
        record = read_document(row.value)
        self._tell_record(record, output)
        if row.state == "rejected_canceled" and self._interrupted_at:
            return self._told(output, "KeyboardInterrupt", "")
        error = rebuild(row.state, row.value, execution)
        name = (error.exception_type or type(error).__name__).rpartition(".")[2]
        text = error.exception_message if row.state == "rejected" and error.exception_message else str(error)
        if row.state == "rejected" and not error.exception_message and error.traceback:
            text = ""
        return self._told(output, name, text, error.traceback.rstrip("\n").split("\n") if error.traceback else None)

    def _told(self, output: CellOutput, name: str, text: str, traceback: list[str] | None = None) -> dict[str, Any]:
        output.flush()
        lines = traceback if traceback is not None else [f"{name}: {text}" if text else name]
        content = {"ename": name, "evalue": text, "traceback": lines}
        output.publish("error", content, {}, [])
        return {"status": "error", **content}

    def _tell_record(self, record: dict[str, Any], output: CellOutput) -> None:
        """Tell of a cell's record what is neither output nor value."""
        if record.get("not_saved"):
            text = f"[not saved: {record['not_saved']}; after a crash the session goes on from before this cell]\n"
            output.publish("stream", {"name": "stderr", "text": text}, {}, [])

    async def _unrecorded(self, code: str, message: KernelMessage, *, silent: bool) -> dict[str, Any]:
        """Run code that a front end wants for itself: no record, no history."""
        output = self._output(message, hides=silent)
        result = await self.notebook.run_unrecorded(code)
        for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
            if text:
                output.publish("stream", {"name": stream, "text": text}, {}, [])
        for one in result.displays:
            if one.action != "result" or not silent:
                content = {"data": one.data, "metadata": one.metadata, "transient": {}}
                output.publish("display_data", content, {}, [])
        await self._counted()
        if result.error is None:
            output.result("" if any(one.action == "result" for one in result.displays) else result.repr)
            return {"status": "ok"}
        return self._told(output, *_named(result))

    def _output(self, message: KernelMessage, *, hides: bool = False) -> CellOutput:
        return CellOutput(
            lambda kind, content, metadata, buffers: self._sockets.publish(
                kind, content, message, metadata=metadata, buffers=buffers
            ),
            execution_count=self.count,
            hides_result=hides,
            parents=self._parents,
            comms=self.comms,
        )

    def _remember(self, execution: str, message: KernelMessage) -> None:
        self._parents[execution] = message.id
        while len(self._parents) > PARENTS_MAX:
            del self._parents[next(iter(self._parents))]

    # -- what is told before a cell -----------------------------------------------------------------------------

    async def _tell_notices(self, message: KernelMessage) -> None:
        """First what happened since the last cell: a restore, a cell that was cut, what nobody saw."""
        self._say(message, *self._notices)
        self._notices.clear()
        said = dict.fromkeys(self._cut, "This cell was cut and goes on where it was")
        said |= dict.fromkeys(self._left, "This cell waited for the store")
        self._cut, self._left = [], []
        rows = {row.id: row for row in await self.notebook.cells()} if said else {}
        for execution, text in said.items():
            code = code_of(rows[execution]) if execution in rows else ""
            self._say(message, f"{text}: {first_line(code)}\n")
            await self._shown(execution, code, message)
            self._say(message, *self._notices)
            self._notices.clear()
        for execution, number, code in self._missed.of(message):
            self._say(message, f"While this page was closed, In [{number}] went on: {first_line(code)}\n")
            await self._follow(execution, self._output(message, hides=True))

    async def _tell_restored(self, output: CellOutput) -> None:
        if self._notices:
            for text in self._notices:
                output.publish("display_data", _notice(text), {}, [])
            self._notices.clear()

    def _say(self, message: KernelMessage, *texts: str) -> None:
        for text in texts:
            self._sockets.publish("display_data", _notice(text), message)

    async def _tell_beside(self) -> None:
        """Pass on what threads, tasks and callbacks print while no cell runs."""
        while True:
            changed = self.notebook.may_have_printed()
            await self._pass_on(self._parent)
            await changed

    async def _pass_on(self, parent: KernelMessage) -> None:
        async with self._reading:
            output = self._output(parent, hides=True)
            async for event in self.notebook.printed_beside():
                output.add(event)
            output.flush()

    # -- what front ends ask ------------------------------------------------------------------------------------

    async def ask(self, what: str, arguments: dict[str, Any], *, waits: bool = False) -> Any:
        """The worker's answer; None where another kernel has it, or code runs."""
        try:
            return await self.notebook.ask(what, arguments, waits=waits)
        except Conflict:
            return None

    async def history(self, asked: dict[str, Any]) -> list[Any]:
        """The answer to a `history_request`."""
        return list(history(await self.notebook.cells(), asked))

    async def deliver(self, message: KernelMessage) -> None:
        """Run a widget's callbacks for a front end's message."""
        content = message.content
        name = str(content.get("comm_id", ""))
        if message.kind == "comm_open":
            self.comms[name] = str(content.get("target_name", ""))
        elif name not in self.comms:
            if message.kind == "comm_msg":
                self._sockets.publish("comm_close", {"comm_id": name, "data": {}}, message)
            return
        before, self._parent = self._parent, message
        buffers = [base64.b64encode(buffer).decode() for buffer in message.buffers]
        given = {"header": message.header, "content": content, "metadata": message.metadata, "buffers": buffers}
        self._delivers = True
        try:
            if not await self.ask("comm", given, waits=True):
                self.comms.pop(name, None)
                self._sockets.publish("comm_close", {"comm_id": name, "data": {}}, message)
            await self.notebook.engine.store.request("session.get", {"session": self.notebook.name})
            await self._pass_on(message)
        except DurableError as error:
            log_event(BackgroundFailed("a message of a widget", str(error)))
        finally:
            self._parent, self._delivers = before, False

    async def interrupt(self) -> None:
        """KeyboardInterrupt in the code that runs. What waits, or goes on for DEAF_S after it, is cancelled."""
        execution = self._execution
        if execution is None:
            until = time.monotonic() + DEAF_S
            while self._delivers and self._notebook is not None and time.monotonic() < until:
                await self._notebook.interrupt_callbacks()
                await asyncio.sleep(CALLBACK_LOOK_S)  # it may not have begun
            return
        now = time.monotonic()
        if self._waits_for_store:
            self._leaves = bool(self._interrupted_at)
            await self.notebook.give_up_saving()
        deaf = self._interrupted_at and now - self._interrupted_at > DEAF_S
        self._interrupted_at = self._interrupted_at or now
        try:
            state = await (await self.notebook.engine.get(execution)).state()
            if state == "running" and not deaf and await self.notebook.engine.interrupt(execution, raises=True):
                return
        except Conflict:
            pass  # there is no code to raise it in
        if self._waits_for_store:
            return
        await self.notebook.engine.cancel(execution, "interrupted")

    async def _asked(self, prompt: Any) -> None:
        """A question is open: ask it in the front end whose cell it is of."""
        if self._question is None or prompt.notice != "asked":
            return
        for _ in range(2):
            if prompt.execution == self._execution:
                await self._question.ask(prompt, self._parent, partial(self._say_plain, self._parent))
                return
            await asyncio.sleep(0)  # its cell is being recorded

    def _say_plain(self, parent: KernelMessage, text: str) -> None:
        self._sockets.publish("stream", {"name": "stderr", "text": text}, parent)


_REWOUND = (
    "[the worker ended; the cell goes on from its last checkpoint, and what follows takes the place of some above]\n"
)


_WAITS = (
    "The cell waits and then goes on by itself. Interrupt it to end it without its variables being saved, and once more"
    " to leave it: the next cell shows what became of it.\n"
)


def _is_recorded(message: KernelMessage) -> bool:
    """Whether a cell is an execution of the session, or code that a front end wants for itself."""
    return bool(message.content.get("store_history", True)) and not message.content.get("silent")


def _notice(text: str) -> dict[str, Any]:
    return {"data": {"text/plain": text.rstrip("\n")}, "metadata": {"durable": "notice"}, "transient": {}}


def _named(result: Result) -> tuple[str, str, list[str] | None]:
    error = result.error
    assert error is not None
    name = (error.exception_type or type(error).__name__).rpartition(".")[2]
    return name, error.exception_message or str(error), error.traceback.splitlines() or None
