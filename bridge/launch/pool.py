"""The workers of an engine: how many there may be, and which are ready before anybody asks (specs/pool.md)."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

from msgspec import Struct, structs

from bridge.launch.circuit_breaker import Breaker
from bridge.launch.launcher import WorkerLauncher, WorkerProcess
from durable.core.errors import BadArguments, EngineClosed, PoolExhausted, WorkerDied
from durable.core.events import BackgroundFailed, Observer, log_event
from durable.core.frozen_record import FrozenRecord

LAUNCHES_MAX = 1_000
"""Durations of the newest launches, for their percentiles."""

END_S = 10.0
"""Seconds for killed workers that nobody had taken to be collected."""


class Pool(FrozenRecord, frozen=True, kw_only=True):
    """How an engine keeps workers. Raises BadArguments for what cannot be.

    min_idle: workers forked before they are asked for. max: workers at a time, the ready ones included; None for no
    limit. More sessions than `max` wait in order; one without work gives its worker to them. acquire_timeout: seconds
    that one waits before PoolExhausted; None for as long as it takes. idle_timeout: seconds after which a ready worker
    that nobody took is replaced.
    """

    min_idle: int = 0
    max: int | None = None
    acquire_timeout: float | None = None
    idle_timeout: float = 300.0

    def __post_init__(self) -> None:
        if self.min_idle < 0 or (self.max is not None and not 0 < self.max >= self.min_idle):
            raise BadArguments(f"{self}: expected 0 <= min_idle <= max and max > 0, or max=None for no limit")
        if self.idle_timeout <= 0 or (self.acquire_timeout is not None and self.acquire_timeout < 0):
            raise BadArguments(f"{self}: expected seconds above 0")


class PoolMetrics(FrozenRecord, frozen=True):
    """Figures of an engine's workers. `hits` found a worker ready, `misses` had one made, `waited` came when
    there were `max`; `timed_out` gave up. `replaced` were ready and not taken: too old, dead, of another environment.
    `launch_s` are percentiles 50 and 99 of the newest launches, in seconds, hits included.
    """

    live: int
    idle: int
    waiting: int
    hits: int
    misses: int
    waited: int
    timed_out: int
    failed: int
    replaced: int
    launch_s: tuple[float, float]

    @property
    def hit_rate(self) -> float:
        """The part of all launches that found a worker ready; 0 before the first."""
        return self.hits / (self.hits + self.misses) if self.hits else 0.0


class WarmStarter(Protocol):
    """A maker of workers: the zygote."""

    def start(self) -> None: ...
    def alive_until(self, boot_s: float) -> None: ...
    async def launch(self, session: str) -> WorkerProcess: ...
    async def close(self) -> None: ...


class _Ready(Struct):
    """A worker that waits for its hello, and where it was made: it has the directory and environment of then."""

    process: WorkerProcess
    made_at: float
    cwd: str
    environment: dict[str, str]


class WorkerPool:
    """Launches workers through `warm`, isolated ones through `clean`, in the order in which they are asked for.

    Belongs to one event loop.
    """

    def __init__(
        self,
        warm: WarmStarter,
        clean: WarmStarter,
        settings: Pool | None = None,
        *,
        observer: Observer = log_event,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._warm = warm
        self._clean = clean
        self._settings = settings or Pool()
        self._observer = observer
        self._clock = clock
        self._breaker = Breaker()
        self._ready: deque[_Ready] = deque()
        self._places = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._ageing: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Future[None]] = set()
        self._took: deque[float] = deque(maxlen=LAUNCHES_MAX)
        self._hits = self._misses = self._waited = self._timed_out = self._failed = self._replaced = 0
        self._closed = False
        self._ahead = 0
        self.on_waiting: Callable[[], None] = _nothing
        """Called when somebody begins to wait for a place."""

    @property
    def lacking(self) -> int:
        """How many wait for a place that nobody is about to give back."""
        return max(0, sum(not waiter.done() for waiter in self._waiters) - len(self._ending))

    def metrics(self) -> PoolMetrics:
        """The pool's figures as they stand."""
        took = sorted(self._took) or [0.0]
        return PoolMetrics(
            live=self._places,
            idle=len(self._ready),
            waiting=len(self._waiters),
            hits=self._hits,
            misses=self._misses,
            waited=self._waited,
            timed_out=self._timed_out,
            failed=self._failed,
            replaced=self._replaced,
            launch_s=(took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]),
        )

    @property
    def isolated(self) -> WorkerLauncher:
        """The same pool, for workers that know nothing of the engine's environment."""
        return _Isolated(self)

    def start(self) -> None:
        """Begin to warm up; does not wait."""
        self._warm.start()
        self._fill()

    def start_one(self) -> None:
        """Make a worker for whoever asks first, whatever `min_idle` is; does not wait. No other takes its place."""
        self._ahead = 1
        self._fill()

    def alive_until(self, boot_s: float) -> None:
        """Let every worker that a zygote forked end at this time unless a later one is told before (zygote.md, Z8).

        boot_s: seconds of CLOCK_BOOTTIME. From any thread.
        """
        self._warm.alive_until(boot_s)
        self._clean.alive_until(boot_s)

    async def launch(self, session: str) -> WorkerProcess:
        """A worker. Raises PoolExhausted, WorkerDied, EngineClosed."""
        return await self._launch(session, self._warm)

    async def launch_isolated(self, session: str) -> WorkerProcess:
        """A worker without the engine's environment. Raises the same."""
        return await self._launch(session, self._clean)

    async def close(self) -> None:
        """End the ready workers, refuse those who wait, and end what makes workers."""
        self._closed = True
        if self._ageing is not None:
            self._ageing.cancel()
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait([self._filling])
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(EngineClosed("the engine was closed while a session waited for a worker"))
        self._waiters.clear()
        while self._ready:
            self._end(self._ready.popleft())
        if self._ending:
            await asyncio.wait(self._ending, timeout=END_S)
        await asyncio.gather(self._warm.close(), self._clean.close())

    # -- asking ---------------------------------------------------------------------------------------------------

    async def _launch(self, session: str, source: WarmStarter) -> WorkerProcess:
        if self._closed:
            raise EngineClosed("the engine is closed")
        began = self._clock()
        found = self._take() if source is self._warm and not self._waiters else None
        if found is None:
            await self._place(session)
            self._misses += 1
            found = await self._create(session, source)
        else:
            self._hits += 1
        self._took.append(self._clock() - began)
        self._fill()
        return structs.replace(found, reap=self._giving_back(found))

    def _take(self) -> WorkerProcess | None:
        """A ready worker that is as one made now would be."""
        while self._ready:
            first = self._ready.popleft()
            if first.cwd == _cwd() and first.environment == dict(os.environ) and _answers(first.process.pid):
                asyncio.get_running_loop().remove_reader(first.process.pidfd)
                return first.process
            self._replaced += 1
            self._end(first)
        return None

    async def _place(self, session: str) -> None:
        """Hold one of `max` places, after those who asked before."""
        if not self._waiters and (self._settings.max is None or self._places < self._settings.max):
            self._places += 1
            return
        self._waited += 1
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._ready:
            self._end(self._ready.popleft())  # of the other kind: its place is needed
        self.on_waiting()
        try:
            async with asyncio.timeout(self._settings.acquire_timeout):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back()  # it came in the same breath
            if isinstance(error, TimeoutError):
                self._timed_out += 1
                raise PoolExhausted(session, self._places, self._settings.acquire_timeout or 0.0) from None
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def _create(self, session: str, source: WorkerLauncher) -> WorkerProcess:
        """Make a worker in a place that is held; the place is given back where no worker comes of it."""
        try:
            wait_s = self._breaker.closed_for(self._clock())
            if wait_s:
                raise WorkerDied(
                    f"the worker of session {session!r} was not started: the last {self._breaker.failures} could not "
                    f"be ({self._breaker.last}); the next attempt is in {wait_s:.1f} s"
                )
            try:
                process = await source.launch(session)
            except WorkerDied as error:
                self._failed += 1
                self._breaker.failed(str(error), self._clock())
                raise
            except BaseException:
                self._breaker.abandoned()
                raise
            self._breaker.succeeded()
            return process
        except BaseException:
            self._give_back()
            raise

    def _giving_back(self, process: WorkerProcess) -> Callable[[Callable[[str], None]], None]:
        def reap(then: Callable[[str], None]) -> None:
            self._give_back()
            process.reap(then)

        return reap

    def _give_back(self) -> None:
        """A worker is gone: whoever waits longest is next."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._places -= 1
        self._fill()

    # -- keeping some ready -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Have `min_idle` ready, one after the other, while nobody waits and there is room."""
        running = self._filling is not None and not self._filling.done()
        if not running and not self._closed and self._lacks():
            self._filling = asyncio.get_running_loop().create_task(_contained(self._fill_up(), self._observer))

    def _lacks(self) -> bool:
        limit, room = self._settings.max, len(self._ready) < max(self._settings.min_idle, self._ahead)
        return room and not self._waiters and (limit is None or self._places < limit)

    async def _fill_up(self) -> None:
        while not self._closed and self._lacks():
            self._places += 1
            cwd, environment = _cwd(), dict(os.environ)
            try:
                process = await self._create("(ready)", self._warm)
            except WorkerDied:
                return  # the next launch tries again, or the next that ends
            except EngineClosed:
                return
            ready = _Ready(process, self._clock(), cwd, environment)
            self._ready.append(ready)
            self._ahead = 0
            asyncio.get_running_loop().add_reader(process.pidfd, self._died, ready)
            self._age()

    def _died(self, ready: _Ready) -> None:
        """A ready worker ended by itself."""
        with suppress(ValueError):
            self._ready.remove(ready)
        self._replaced += 1
        self._end(ready)

    def _age(self) -> None:
        """Look again when the oldest ready worker is too old."""
        if self._ageing is not None:
            self._ageing.cancel()
        if self._ready:
            left = self._ready[0].made_at + self._settings.idle_timeout - self._clock()
            self._ageing = asyncio.get_running_loop().call_later(max(0.0, left), self._aged)

    def _aged(self) -> None:
        self._ageing = None
        while self._ready and self._clock() - self._ready[0].made_at >= self._settings.idle_timeout:
            self._replaced += 1
            self._end(self._ready.popleft())
        self._age()

    def _end(self, ready: _Ready) -> None:
        """Kill a worker that no session has, collect it, give its place back."""
        loop, process = asyncio.get_running_loop(), ready.process
        gone: asyncio.Future[None] = loop.create_future()
        self._ending.add(gone)

        def collected(_how: str) -> None:
            os.close(process.pidfd)
            self._ending.discard(gone)
            if not gone.done():
                gone.set_result(None)
            self._give_back()

        def ended() -> None:
            loop.remove_reader(process.pidfd)
            process.kill_group()
            process.reap(collected)

        loop.add_reader(process.pidfd, ended)  # in place of the one that watched it
        process.socket.close()
        os.close(process.stdout)
        os.close(process.stderr)
        process.kill_group()


class _Isolated:
    """`WorkerPool.launch_isolated` as a launcher."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    async def launch(self, session: str) -> WorkerProcess:
        return await self._pool.launch_isolated(session)


def _nothing() -> None:
    """Nobody has a worker to give."""


def _cwd() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _answers(pid: int) -> bool:
    """Whether the process is there and not stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZXTt"
    except OSError:
        return False


async def _contained(work: Coroutine[object, object, None], observer: Observer) -> None:
    try:
        await work
    except Exception as error:
        observer(BackgroundFailed("filling the pool of workers", repr(error)))
