"""`python -m tests.protocol.hostile_worker --seconds N --seed S`: code that forges its worker's messages.

The engine is a real one, and beside the hostile session three others work. What must hold (specs/worker-protocol.md,
H1-H7): every execution of the hostile session ends, for its caller, with a value or a typed error; calls of the others
never take longer than a second; the engine's memory does not grow; what it tells of the hostile worker is bounded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import resource
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import durable
from bridge.host import checkpoint_stream, worker_watch
from durable.core.events import Event

CELL = (Path(__file__).parent / "hostile_cell.py").read_text()

GROWTH_BYTES_MAX = 64 * 2**20
"""Of it SQLite's pages may be 24 MB (WRITE_CACHE_KIB, READ_CACHE_KIB). Most of the rest is heap that was freed and that
the C library keeps: W8 in specs/isolation.md. Nothing that Python holds grows."""

CALL_S_MAX = 1.0
ENDS_S_MAX = 120.0
"""For an execution of the hostile session: a pipe that nobody writes to is given up after a minute."""

FRAMES = 4_000
"""Of one execution. With some hundreds executions end, and workers are begun, many times as often."""

OTHERS = 3
EVENTS_PER_S_MAX = 40


@durable.capability
async def ping() -> int:
    """What code of every session may ask for."""
    return 1


@dataclass
class Tally:
    """What a run saw."""

    frames: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    slowest_s: float = 0.0
    growth_bytes: int = 0
    events: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        ends = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.ends.items()))
        return (
            f"{self.frames:,} frames in {self.seconds:.0f} s; executions ended as: {ends}; {self.calls:,} calls of "
            f"others, the slowest {self.slowest_s:.3f} s; memory {self.growth_bytes / 2**20:+.1f} MiB; "
            f"{self.events:,} events"
        )


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Campaign:
    """One engine, one hostile session, and others that must not notice."""

    def __init__(self, engine: durable.Engine, seed: int, profile: str, each: int) -> None:
        self._engine = engine
        self._draw = random.Random(seed)
        self._profile: Any = profile
        self._each = each
        self.tally = Tally()
        self._base = self._journaled = 0

    async def run(self, seconds: float, frames_max: int) -> Tally:
        """Until the time is over, or so many frames are sent."""
        began = monotonic()
        hostile = await self._engine.session("hostile", profile=self._profile, grants=["ping"])
        others = [await self._engine.session(f"other-{n}", grants=["ping"]) for n in range(OTHERS)]
        for other in others:
            await other.execute("import asyncio\nrows = list(range(1_000))")
        stop = asyncio.Event()
        working = [asyncio.create_task(self._work(other, stop)) for other in others]
        try:
            n = 0
            while monotonic() - began < seconds and self.tally.frames < frames_max:
                n += 1
                await self._attack(hostile, n, quick=n % 5 == 0)
                if n == 5:
                    self._base = _memory()
                if self._base:
                    self.tally.growth_bytes = max(self.tally.growth_bytes, _memory() - self._base)
                for task in working:
                    if task.done():
                        task.result()
        finally:
            stop.set()
            await asyncio.gather(*working)
        self.tally.seconds = monotonic() - began
        return self.tally

    async def _work(self, session: durable.Session, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = monotonic()
            result = await session.execute("ping(); sum(rows)")
            assert result.value == 499_500, result
            self.tally.slowest_s = max(self.tally.slowest_s, monotonic() - began)
            self.tally.calls += 1
            await asyncio.sleep(0.02)

    async def _attack(self, session: durable.Session, n: int, *, quick: bool) -> None:
        """One execution of forged messages; how it ended, told to its caller."""
        seed = self._draw.randrange(2**32)
        self._journaled += not quick
        execution = "quick" if quick else f"hostile@{self._journaled}"
        self.tally.frames += self._each
        try:
            async with asyncio.timeout(ENDS_S_MAX):
                result = await session.execute(f"{CELL}\nrun({seed}, {self._each}, {execution!r})", journal=not quick)
        except durable.DurableError as error:
            kind = type(error).__name__
        except TimeoutError:
            raise AssertionError(f"execution {n} (seed {seed}) had not ended after {ENDS_S_MAX:g} s") from None
        else:
            kind = "value" if result.error is None else (result.error.exception_type or "error")[:60]
        self.tally.ends[kind] = self.tally.ends.get(kind, 0) + 1


async def campaign(
    seconds: float,
    seed: int,
    *,
    frames: int = 10**9,
    each: int = FRAMES,
    profile: str = "open",
    patience_s: int = 5,
) -> Tally:
    """A run in a directory of its own. each: frames of one execution. patience_s: for pipes that nobody writes to and
    messages that are never whole; a minute outside of tests."""
    patience = checkpoint_stream.PROGRESS_S_MAX, worker_watch.HALF_S_MAX
    checkpoint_stream.PROGRESS_S_MAX = worker_watch.HALF_S_MAX = patience_s
    try:
        return await _campaign(seconds, seed, frames, profile, each)
    finally:
        checkpoint_stream.PROGRESS_S_MAX, worker_watch.HALF_S_MAX = patience


async def _campaign(seconds: float, seed: int, frames: int, profile: str, each: int) -> Tally:
    told = 0

    def tell(_event: Event) -> None:
        nonlocal told
        told += 1

    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="hostile-") as directory, contextlib.chdir(directory):
        async with durable.open("work.db", durability="process", observer=tell, capabilities=[ping]) as engine:
            tally = await Campaign(engine, seed, profile, each).run(seconds, frames)
    assert Path.cwd() == before
    tally.events = told
    return tally


def check(tally: Tally, *, call_s_max: float = CALL_S_MAX) -> None:
    """Raises AssertionError for what must not be."""
    assert tally.slowest_s < call_s_max, tally
    assert tally.growth_bytes < GROWTH_BYTES_MAX, tally


def main() -> None:
    """A run, and what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--frames", type=int, default=10**9, help="end after so many")
    parser.add_argument("--each", type=int, default=FRAMES, help="frames of one execution")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", choices=("open", "isolated"), default="isolated")
    chosen = parser.parse_args()
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    tally = asyncio.run(
        campaign(chosen.seconds, chosen.seed, frames=chosen.frames, each=chosen.each, profile=chosen.profile)
    )
    print(tally, flush=True)
    check(tally)


if __name__ == "__main__":
    main()
