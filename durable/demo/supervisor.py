"""One run of the job in a store: its engine as a child process, killed by plan and started again until the job ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from durable.demo.job import JOURNAL_VARIABLE, LAST_CALL
from durable.demo.plan import Kill

if TYPE_CHECKING:
    from durable.store.rows import PromptRow

STARTS_MAX = 100
"""Engines started for one run before the demo gives up: more than kills can need."""


class EngineDied(Exception):
    """The engine ended by itself without a result; the message is what it said."""


@dataclass
class DemoRun:
    """One run: what it needs, and what is seen of it."""

    store: Path
    scratch: Path
    """A directory of its own for the journal and what the engines say."""
    id: str
    session: str
    kills: deque[Kill]
    say: Callable[[str], None]
    seen: set[str] = field(default_factory=set)
    """Events, each once: a step or call that runs again is no progress."""
    done: list[str] = field(default_factory=list)
    """The kills that were made, in words."""
    restored: list[str] = field(default_factory=list)
    engines: int = 0
    ended: bool = False
    _child: asyncio.subprocess.Process | None = None
    _ready: bool = False
    _worker: int | None = None
    _last: str = "the start"
    _armed: asyncio.TimerHandle | None = None
    _began: float = field(default_factory=time.monotonic)

    @property
    def journal(self) -> Path:
        """Where what really ran is noted."""
        return self.scratch / "journal"

    @property
    def _errors(self) -> Path:
        return self.scratch / "stderr"

    async def go(self) -> None:
        """Start engines until the job has ended. Raises EngineDied when one fails by itself."""
        while not self.ended:
            if self.engines == STARTS_MAX:
                raise EngineDied(f"{STARTS_MAX} engines were not enough")
            self.engines += 1
            await self._engine()

    async def stop(self) -> None:
        """End the engine, whatever it does."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()

    def event(self, name: str) -> None:
        """Something ran for the first time, or was asked: that is what kills are counted by."""
        self._last = name
        self.seen.add(name)
        self._arm()

    async def _engine(self) -> None:
        arguments = [sys.executable, "-m", "durable.demo.child", str(self.store), self.id, self.session]
        with self._errors.open("ab") as errors:
            child = self._child = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, JOURNAL_VARIABLE: str(self.journal)},
                start_new_session=True,  # Ctrl-C is for the demo, which ends its children itself
            )
        self._ready, self._worker = False, None
        assert child.stdout is not None
        while line := await child.stdout.readline():
            self._heard(line.decode("utf-8", "replace").rstrip("\n").split("\t"))
        status = await child.wait()
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None
        if status != -signal.SIGKILL and not self.ended:
            raise EngineDied(self._errors.read_text("utf-8", "replace").strip()[-2000:])

    def _heard(self, words: list[str]) -> None:
        match words:
            case ["ready", _]:
                self._ready = True
            case ["worker", pid]:
                self._worker = int(pid)
            case ["restored", _, names, lost]:
                variables = "1 variable" if names == "1" else f"{names} variables"
                self.restored.append(variables + (f", not {lost}" if lost else ""))
                self._tell(f"a new worker has the session as it was saved last: {self.restored[-1]}")
            case ["step" | "call" as kind, name]:
                self.event(f"{kind} {name.partition(':')[2] or name}")
                return
            case ["done"]:
                self.ended = True
            case _:
                return
        self._arm()

    def _arm(self) -> None:
        """Set the next kill off when its event has been seen and its target is alive."""
        if self._armed is not None or not self.kills or not self._ready or self.ended:
            return
        kill = self.kills[0]
        past_session = len(self.seen) > LAST_CALL
        if len(self.seen) < kill.event or (kill.target == "worker" and self._worker is None and not past_session):
            return
        self._armed = asyncio.get_running_loop().call_later(kill.delay_s, self._kill, kill)

    def _kill(self, kill: Kill) -> None:
        self._armed = None
        child = self._child
        if child is None or child.returncode is not None or self.ended:
            return
        target, pid = "engine", child.pid
        if kill.target == "worker" and self._worker is not None and _descends(self._worker, child.pid):
            target, pid = "worker", self._worker
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills.popleft()
        self.done.append(f"{target} at {self._last}")
        self._tell(f"SIGKILL to the {target} (pid {pid}), {self._last} having begun")
        if target == "engine":
            self._ready = False
        self._worker = None
        self._arm()

    def _tell(self, text: str) -> None:
        self.say(f"{time.monotonic() - self._began:5.1f} s  {text}")


def _descends(pid: int, ancestor: int) -> bool:
    """Whether the worker is still the engine's: its child, or forked from the engine's zygote."""
    for _ in range(2):
        parent = _parent_of(pid)
        if parent is None or parent == ancestor:
            return parent == ancestor
        pid = parent
    return False


def _parent_of(pid: int) -> int | None:
    """The parent of a process; None when it is gone: then its pid may be somebody else's."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


async def answer_all(run: DemoRun, answer: Callable[[PromptRow], Awaitable[str]]) -> None:
    """Answer the run's question, from this process, whenever it comes; returns when it is answered."""
    import durable
    from durable.core.errors import Conflict

    async with durable.open(run.store, serve=False) as client:
        while True:
            change = client.changed()
            for row in await client.store.reads.prompts():
                if not row.execution.startswith(f"{run.id}."):
                    continue  # the store may hold other people's
                run.event("the question")
                value = await answer(row)
                try:
                    await client.answer(row.id, value, by="demo")
                except Conflict:
                    pass  # a person was faster, in another terminal
                return
            await change
