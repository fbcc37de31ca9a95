"""Lives of one execution: each is a forked process with an engine, which ends by itself or is killed."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import durable

from . import vocabulary
from .conductor import Conductor, Kill
from .journal import Journal, Told

LIFE_S = 60.0
"""A life that takes longer, in real time, hangs."""

_main: Callable[[Any], Awaitable[Any]] | None = None
_conductor: Conductor | None = None


@durable.function
async def program(ctx: durable.Context) -> Any:
    """The generated function of this process: a changed program is another version of the same code."""
    assert _main is not None
    assert _conductor is not None
    _conductor.new_pass()
    return await _main(ctx)


class Sourced(Protocol):
    """A program: something that has Python source."""

    def source(self) -> str: ...


class Run:
    """One execution with its store and its journal, in a folder of its own."""

    def __init__(self, folder: Path, template: Path, seed: int, *, cancels: bool = False) -> None:
        self.seed = seed
        self._cancels = cancels
        self.store = folder / "s.db"
        self._journal = folder / "journal"
        self.lives = 0
        shutil.copytree(template, folder, dirs_exist_ok=True)

    @property
    def told(self) -> Told:
        return Told.read(self._journal)

    def live(self, program: Sourced, kill: Kill | None = None, *, resume: bool = False) -> bool:
        """One life; whether it was killed."""
        self.lives += 1
        life = self.lives
        told = self.told
        return forked(lambda: self._live(program.source(), kill, life, told, resume))

    def _live(self, source: str, kill: Kill | None, life: int, told: Told, resume: bool) -> None:
        global _main, _conductor
        journal = Journal(self._journal, life)
        _main = vocabulary.compiled(source)
        _conductor = Conductor(self.seed, self.store, told, journal, kill, cancels=self._cancels)
        vocabulary.conduct(_conductor)
        _conductor.watch()
        _conductor.time.install()
        sys.setswitchinterval(0.0002)  # the loop turns while it waits for the writer's thread
        asyncio.run(_outcome(self.store, _conductor, resume))


async def _outcome(store: Path, conductor: Conductor, resume: bool) -> None:
    engine = await durable.open(store, durability="process", observer=conductor.observe).open()
    execution = await engine.start(program, id="run")
    if resume:
        await conductor.idle()
        await engine.resume("run")
    state = await conductor.conduct(engine, execution)
    found: Any
    state = {"resolved": "completed", "rejected": "failed", "rejected_canceled": "cancelled"}.get(state, state)
    if state in ("stuck", "interrupted"):
        row = await execution.info()
        found = {"state": state, "note": row.note, "last_error": row.last_error}
    else:
        try:
            found = {"state": state, "value": await execution.result()}
        except durable.ExecutionError as error:
            found = {"state": state, "error": f"{error.exception_type}: {error.exception_message}"}
    conductor.journal.write("streams", items=conductor.streams(), published=await engine.all_published("run"))
    conductor.journal.write("outcome", outcome=found, commits=conductor._commits)
    os._exit(0)  # what follows would be a graceful end; tests of engines have it


def forked(main: Callable[[], None]) -> bool:
    """Run it in a forked process; whether SIGKILL ended that. What it raises is shown, and is a failure here."""
    assert threading.active_count() == 1, "a process with threads cannot be forked safely"
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(int(LIFE_S))
            main()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise LifeFailed(f"the process of a life ended with {status}")
    return status != 0


class LifeFailed(Exception):
    """A life neither ended by itself nor was killed where it was told to."""


@contextmanager
def template() -> Iterator[Path]:
    """A folder with an empty store in it, and room for runs beside it; in memory where the machine has that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        empty = Path(folder) / "template"
        empty.mkdir()
        names = empty / "modules"
        forked(lambda: asyncio.run(_make(empty / "s.db", names)))
        for name in names.read_text().split():
            with suppress(ImportError):
                import_module(name)
        names.unlink()
        gc.collect()
        gc.freeze()
        yield empty


async def _make(path: Path, names: Path) -> None:
    """Make a store, and write down the modules that a life imports: this process imports them once for all lives."""
    async with durable.open(path, durability="process") as engine:
        await engine.prompts()
    names.write_text("\n".join(sorted(sys.modules)))
