"""One life of an engine that runs one execution, until that ends or the engine is killed (specs/testing.md).

In a thread the engine is dropped: its writer stops at the commit, its loop is never run again, so that nothing of it
goes on, not even `finally`; its locks are given up, as the end of a process does. A process of its own gets SIGKILL.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from bridge.launch.zygote import Zygote
from durable.core.errors import ExecutionError, Halted
from durable.core.events import Event, StepBegun
from durable.executions.exported_record import export
from durable.testing import engine_under_test
from durable.testing.engine_under_test import EngineUnderTest
from durable.testing.errors import ScriptFailed, Stuck
from durable.testing.fake_time import BEGIN, FakeTime
from durable.testing.own_thread import run_in_thread

NAME = "crash-test"
"""The id of the execution."""

STEPS_END_S = 10.0
"""How long a synchronous step that was under way may go on after a crash; a thread cannot be killed."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Where a life ends: before or after the commit of this number, from 1."""

    commit: int
    when: Literal["before", "after"]

    def __str__(self) -> str:
        return f"{self.when} commit {self.commit}"


@dataclass
class LifeResult:
    """The outcome of a life, and the record of its execution; what is left of one that was killed is in its files."""

    state: str
    value: Any
    """JSON of the value; the text of the error; what a halted or stuck execution waits for."""
    record: dict[str, Any]
    commits: int
    ended_at: int
    """The fake time at its end, in ms."""
    found: dict[str, str] = field(default_factory=dict)
    """The state and value of each promise that was settled when the life began, as JSON, by id."""


class LifeJournal:
    """The deeds of a life, line by line in a file: those of one that was killed too."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal"

    def write(self, kind: str, text: str) -> None:
        """Append a line; the file has it when this returns."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps([kind, text]).encode() + b"\n")
        finally:
            os.close(descriptor)

    def read(self) -> list[tuple[str, str]]:
        """All lines so far: kind and text."""
        if not self._path.exists():
            return []
        return [tuple(json.loads(line)) for line in self._path.read_text().splitlines()]


class _Killed(BaseException):
    """Ends the writer's thread in the middle of its work."""


class _JournaledTime(FakeTime):
    """Fake time that goes on in the next life."""

    def __init__(self, journal: LifeJournal) -> None:
        times = [int(text) for kind, text in journal.read() if kind == "time"]
        super().__init__(datetime.fromtimestamp(times[-1] / 1000, UTC) if times else BEGIN)
        self._journal = journal

    def move_to(self, now_ms: int) -> None:
        self._journal.write("time", str(now_ms))
        super().move_to(now_ms)


class _Life:
    """One life, while it lasts."""

    def __init__(self, folder: Path, options: Mapping[str, Any], crash: CrashPoint | None, *, real: bool) -> None:
        self._store = folder / "store.db"
        self._options = dict(options)
        self._crash = crash
        self._real = real
        self.journal = LifeJournal(folder)
        self._commits = 0
        self._counting = False
        self._killed = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: EngineUnderTest | None = None

    async def main(self) -> LifeResult:
        """Go on with the execution until it ends."""
        self._loop = asyncio.get_running_loop()
        time_ = _JournaledTime(self.journal)
        engine = engine_under_test.open(
            self._store, time=time_, serve=False, fault=self._fault, observer=[self._observe], **self._options
        )
        self._engine = engine
        await engine.open()
        row = await (await engine.get(NAME)).info()
        found = {each["id"]: _settlement(each) for each in (await export(engine.store, row))["promises"][1:]}
        self._counting = True
        await engine.serve()
        state, value = await _outcome(engine)
        self._counting = False
        record = await export(engine.store, await (await engine.get(NAME)).info())
        await engine.close()
        settled = {promise: said for promise, said in found.items() if said}
        return LifeResult(state, value, record, self._commits, time_.now_ms(), settled)

    def _observe(self, event: Event) -> None:
        if isinstance(event, StepBegun) and not event.nested:
            self.journal.write("step", f"{event.step} {event.name}")

    def _fault(self, when: Literal["before", "after"], sql: str) -> None:
        """On the writer's thread."""
        if self._killed.is_set():
            raise _Killed
        if sql != "COMMIT" or not self._counting:
            return
        if when == "before":
            self._commits += 1
        if self._crash == CrashPoint(self._commits, when):
            if self._real:
                os.kill(os.getpid(), signal.SIGKILL)
            self._killed.set()
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise _Killed

    # -- in a thread ------------------------------------------------------------------------------------------------

    def run_here(self) -> LifeResult | None:
        """Run it in this thread; None when it was killed."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        main = loop.create_task(self.main())
        hook = threading.excepthook
        threading.excepthook = lambda args: None if args.exc_type is _Killed else hook(args)
        try:
            found = loop.run_until_complete(main)
        except RuntimeError:
            if not self._killed.is_set():
                raise
            self._drop(loop)
            return None
        finally:
            threading.excepthook = hook
            asyncio.set_event_loop(None)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        return found

    def _drop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what the end of a process does, and nothing else of the engine."""
        engine = self._engine
        assert engine is not None
        store = engine.tested_store
        store._writer.join()
        _wait_for_steps(engine)
        for undo in engine._undo:
            with suppress(Exception):
                undo()
        _keep_for_ever((loop, engine, asyncio.all_tasks(loop)))
        engine.time.leave(engine)
        loop.remove_reader(store._peers.fileno())
        store._peers.close()
        store.glance.close()
        store._liveness.release_all()
        _kill_workers(engine)
        asyncio.set_event_loop(None)
        asyncio.run(store.reads.close())
        loop.close()


def _keep_for_ever(what: tuple[asyncio.AbstractEventLoop, EngineUnderTest, set[asyncio.Task[Any]]]) -> None:
    """Never free these: a coroutine that is freed runs its `finally`, which a kill does not."""
    for task in what[2]:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _kill_workers(engine: EngineUnderTest) -> None:
    """Workers end with the process that forks them, and that with its engine."""
    for source in (engine._pool._warm, engine._pool._clean):
        if isinstance(source, Zygote) and source.pid:
            pid = source.pid
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _wait_for_steps(engine: EngineUnderTest) -> None:
    """Wait for the threads of steps: as if the crash came when they had done what they do."""
    threads, until = engine._threads, time.monotonic() + STEPS_END_S
    while threads.busy and time.monotonic() < until:
        time.sleep(0.001)
    threads.close()


async def _outcome(engine: EngineUnderTest) -> tuple[str, Any]:
    execution = await engine.get(NAME)
    try:
        await execution.result()
    except ExecutionError as error:
        return await execution.state(), f"{error.exception_type}: {error.exception_message}"
    except Halted as halted:
        return "halted", halted.note
    except ScriptFailed:
        raise
    except Stuck as stuck:
        return "stuck", str(stuck)
    row = await execution.info()
    return row.state, row.value


def _settlement(promise: dict[str, Any]) -> str:
    """The state and value of a promise as text; "" while it is open."""
    if promise["state"] == "pending":
        return ""
    return json.dumps([promise["state"], promise.get("value")], sort_keys=True)


def live(
    folder: Path, options: Mapping[str, Any], crash: CrashPoint | None = None, *, real: bool = False
) -> LifeResult | None:
    """Run one life on the store in a folder; None when it was killed. real: kill this process, at that point."""
    life = _Life(folder, options, crash, real=real)
    if real:
        return asyncio.run(life.main())
    return run_in_thread(life.run_here)


def make_template(folder: Path, start: Callable[[EngineUnderTest], Any]) -> None:
    """A store in which the execution is started and nothing has happened yet."""

    async def main() -> None:
        folder.mkdir(parents=True)
        async with engine_under_test.open(folder / "store.db", serve=False, observer=()) as engine:
            await start(engine)

    run_in_thread(lambda: asyncio.run(main()))
