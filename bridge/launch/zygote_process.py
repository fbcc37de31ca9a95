"""One zygote process as the engine sees it: what was asked of it and not answered (specs/zygote.md)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count

import msgspec

from bridge.launch.launcher import Ends, WorkerProcess, describe_end, reap_child
from bridge.launch.zygote_protocol import (
    AliveUntil,
    Fork,
    Forked,
    Reap,
    Reaped,
    Warm,
    decode_from_zygote,
    encode,
    receive,
)

FORK_S = 10.0
"""A zygote that has not forked by then is stuck."""

WARM_S = 120.0
"""Seconds for the imports, preloaded modules included, on a machine that is slow today."""


ENDED_WITH_ZYGOTE = "ended with the zygote that forked it"


class ZygoteGone(Exception):
    """The zygote ended, or does not answer: ask another."""


class PreloadFailed(Exception):
    """The zygote could not import what it was to preload; the text says what and why."""


class ZygoteProcess:
    """One zygote process: what was asked of it and not answered."""

    def __init__(self, pid: int, control: socket.socket, on_end: Callable[[str], None]) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._control = control
        self._closing_control = threading.Lock()
        """Its number may be another file's once it is closed, and `alive_until` comes from a thread."""
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._warm: asyncio.Future[str] = self._loop.create_future()
        self._numbers = count(1)
        self._forks: dict[int, asyncio.Future[tuple[Forked, int]]] = {}
        self._reaps: dict[int, Callable[[str], None]] = {}
        self.gone = asyncio.Event()
        self._loop.add_reader(control.fileno(), self._read)
        self._loop.add_reader(self._pidfd, self._ended)

    async def warm(self) -> None:
        """Return when it can fork. Raises PreloadFailed, ZygoteGone."""
        try:
            async with asyncio.timeout(WARM_S):
                problem = await asyncio.shield(self._warm)
        except TimeoutError:
            self.kill()
            raise ZygoteGone from None
        if problem:
            raise PreloadFailed(problem)

    async def fork(self, environment: dict[str, str | None]) -> WorkerProcess:
        """A worker. Raises ZygoteGone, OSError when the zygote cannot fork (limits)."""
        number = next(self._numbers)
        ends = Ends()
        answer: asyncio.Future[tuple[Forked, int]] = self._loop.create_future()
        self._forks[number] = answer
        try:
            try:
                self._send(Fork(number, os.getcwd(), environment), ends.descriptors())
            finally:
                ends.close_theirs()
            async with asyncio.timeout(FORK_S):
                forked, pidfd = await answer
        except TimeoutError:
            ends.close_ours()
            raise ZygoteGone from None
        except BaseException:
            ends.close_ours()
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._drop(*answer.result())  # it came, and the cancellation with it
            raise
        if forked.problem:
            ends.close_ours()
            raise OSError(forked.problem)
        return ends.worker(forked.pid, forked.start_time, pidfd, partial(self.reap, forked.pid))

    def reap(self, pid: int, then: Callable[[str], None]) -> None:
        """Let the zygote collect a worker that has ended."""
        self._reaps[pid] = then
        try:
            self._send(Reap(pid))
        except ZygoteGone:
            if self._reaps.pop(pid, None) is not None:
                then(ENDED_WITH_ZYGOTE)

    def alive_until(self, boot_s: float) -> None:
        """Tell it when its workers must have ended unless it hears of a later time. From any thread."""
        with self._closing_control, suppress(OSError):  # it is going, or reads nothing: a launch finds out
            socket.send_fds(self._control, [encode(AliveUntil(boot_s))], [])

    def kill(self) -> None:
        """End the zygote at once, and with it its workers."""
        if not self.gone.is_set():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """Let the zygote end, which ends its workers."""
        if not self._warm.done():
            self.kill()  # it has no workers yet, and would first finish its imports
        if not self.gone.is_set():
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)  # a child that this process forked may hold the socket open
            try:
                async with asyncio.timeout(FORK_S):
                    await self.gone.wait()
            except TimeoutError:
                self.kill()
                await self.gone.wait()

    def _send(self, message: Fork | Reap, descriptors: Sequence[int] = ()) -> None:
        if self.gone.is_set():
            raise ZygoteGone
        try:
            socket.send_fds(self._control, [encode(message)], descriptors)
        except BlockingIOError:  # the queue holds far more than may be open: it does not read
            self.kill()
            raise ZygoteGone from None
        except OSError:
            raise ZygoteGone from None

    def _read(self) -> None:
        while not self.gone.is_set():
            try:
                data, descriptors = receive(self._control, 1, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._loop.remove_reader(self._control.fileno())
                return
            try:
                message = decode_from_zygote(data)
            except msgspec.DecodeError:
                self.kill()
                return
            self._take(message, descriptors)

    def _take(self, message: Warm | Forked | Reaped, descriptors: list[int]) -> None:
        match message:
            case Warm():
                if not self._warm.done():
                    self._warm.set_result(message.problem)
            case Forked():
                waiter = self._forks.pop(message.number, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result((message, descriptors[0] if descriptors else -1))
                elif descriptors:
                    self._drop(message, descriptors[0])
            case Reaped():
                then = self._reaps.pop(message.pid, None)
                if then is not None:
                    then(
                        describe_end(message.code, message.status) if message.code else "ended; somebody else reaped it"
                    )

    def _drop(self, forked: Forked, pidfd: int) -> None:
        """Nobody wants this worker any more."""
        if pidfd < 0:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

        def ended() -> None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
            self.reap(forked.pid, lambda _how: None)

        self._loop.add_reader(pidfd, ended)

    def _ended(self) -> None:
        self._read()  # what it still said
        self.gone.set()
        for fd in (self._pidfd, self._control.fileno()):
            self._loop.remove_reader(fd)
        how = reap_child(self._pidfd)
        os.close(self._pidfd)
        with self._closing_control:
            self._control.close()
        waiters: list[asyncio.Future[str] | asyncio.Future[tuple[Forked, int]]] = [self._warm, *self._forks.values()]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(ZygoteGone(how))
                waiter.exception()
        self._forks.clear()
        reaps, self._reaps = self._reaps, {}
        for then in reaps.values():
            then(ENDED_WITH_ZYGOTE)
        self._on_end(how)
