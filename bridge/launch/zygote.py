"""The engine's zygote: started when needed, asked for workers, replaced when it is gone (specs/zygote.md)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from bridge.launch.launcher import ColdLauncher, WorkerProcess
from bridge.launch.zygote_process import PreloadFailed, ZygoteGone, ZygoteProcess
from bridge.launch.zygote_start import start_zygote, taken_ahead
from durable.core.errors import EngineClosed, WorkerDied
from durable.core.events import Observer, ZygoteEnded, log_event

FORKS_MAX = 16
"""Forks asked for and not answered: each holds five descriptors in flight, and the kernel bounds those."""


class Zygote:
    """Starts workers by forking a warm process, which it starts when first needed and replaces when it is gone.

    `preload` names modules that are imported once, before any worker exists. `environment` gives what it and its
    workers may see of the environment, all by default. Belongs to one event loop. Its workers end with it.
    """

    def __init__(
        self,
        *,
        preload: Sequence[str] = (),
        python: str = sys.executable,
        observer: Observer = log_event,
        environment: Callable[[], Mapping[str, str]] = lambda: os.environ,
    ) -> None:
        self._preload = tuple(preload)
        self._python = python
        self._observer = observer
        self._seen = environment
        self._process: ZygoteProcess | None = None
        self._retired: list[ZygoteProcess] = []
        self._environment: dict[str, str] = {}
        self._forking = asyncio.Semaphore(FORKS_MAX)
        self._closed = False
        self._alive_until: float | None = None

    @property
    def pid(self) -> int:
        """The zygote's process id; 0 while there is none."""
        return 0 if self._process is None or self._process.gone.is_set() else self._process.pid

    def start(self) -> None:
        """Let it warm up; does not wait, and does nothing when there is one. Call it on the engine's loop."""
        with suppress(OSError):  # a launch says so, or starts cold
            self._current()

    def alive_until(self, boot_s: float) -> None:
        """Let every worker end at this time (seconds of CLOCK_BOOTTIME) unless a later one is told before.

        From any thread. It holds while this process stands still, and for a zygote that is started later.
        """
        self._alive_until = boot_s
        for process in (*self._retired, self._process):
            if process is not None:
                process.alive_until(boot_s)

    async def launch(self, session: str) -> WorkerProcess:
        """A worker, forked; cold where no zygote can be had. Raises WorkerDied, EngineClosed."""
        async with self._forking:
            how = ""
            for _ in range(2):
                try:
                    process = self._current()
                    await process.warm()
                    return await process.fork(self._changes())
                except ZygoteGone as gone:
                    how = str(gone)
                    self._retire()
                except PreloadFailed as error:
                    raise WorkerDied(f"the worker of session {session!r} could not be started: {error}") from None
                except OSError:
                    break
        if how and self._preload:
            what = f"the zygote, which preloads {', '.join(self._preload)}, {how}"
            raise WorkerDied(f"the worker of session {session!r} could not be started: {what}")
        if self._closed:
            raise EngineClosed("the engine was closed while a worker was being started")
        return await ColdLauncher(python=self._python, environment=self._seen()).launch(session)

    async def close(self) -> None:
        """End the zygote, and every worker that is left. Idempotent."""
        self._closed = True
        processes = self._retired if self._process is None else [*self._retired, self._process]
        self._retired, self._process = [], None
        await asyncio.gather(*(process.close() for process in processes))

    def _current(self) -> ZygoteProcess:
        if self._closed:
            raise EngineClosed("the engine is closed")
        if self._process is None or self._process.gone.is_set():
            self._process = self._spawn()
        return self._process

    def _retire(self) -> None:
        """One that does not answer: its workers need it, new ones go elsewhere."""
        if self._process is not None and not self._process.gone.is_set():
            self._retired.append(self._process)
        self._process = None

    def _spawn(self) -> ZygoteProcess:
        started = taken_ahead(self._preload, self._python)
        if started is None:
            started = start_zygote(self._preload, self._seen(), self._python)
        self._environment = started.environment
        try:
            process = ZygoteProcess(started.pid, started.control, partial(self._ended, started.pid))
            if self._alive_until is not None:
                process.alive_until(self._alive_until)
            return process
        except OSError:
            started.control.close()
            raise

    def _ended(self, pid: int, how: str) -> None:
        self._retired = [process for process in self._retired if not process.gone.is_set()]
        if not self._closed:
            self._observer(ZygoteEnded(pid, how))

    def _changes(self) -> dict[str, str | None]:
        now = dict(self._seen())
        if now == self._environment:
            return {}
        changes: dict[str, str | None] = {k: v for k, v in now.items() if self._environment.get(k) != v}
        changes.update((name, None) for name in self._environment.keys() - now.keys())
        return changes
