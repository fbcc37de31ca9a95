"""Many sessions at once under floods, kills and interrupts.

`python -m tests.e2e.mixed_load --seconds 600 --sessions 50 --seed 1`

What must hold: every cell ends as it has to (a counter that survives kills, output whole, KeyboardInterrupt where it
was raised); and between rounds, when all is quiet, the engine has as many processes, descriptors and tasks as in the
first rounds, and its memory does not grow. After the end nothing is left. A failure prints the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import durable
from bridge.host.proc_vitals import memory_now
from durable.core.events import Event

FLOOD_CHARS = 300_000
ACTIONS_A_ROUND = 4
WARM_ROUNDS_PART = 0.3
"""The first part of the rounds: caches, pools of threads and the allocator fill."""

GROWTH_MAX = 0.05
GROWTH_BYTES_MIN = 6 * 2**20
"""What memory may differ by between the rounds after that and the last ones, as a part and in bytes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The engine's process between two rounds."""

    processes: int
    descriptors: int
    tasks: int
    memory: int
    others: tuple[str, ...] = ()
    """The processes that are no session's worker: pid, parent, state, command."""


class Desk:
    """One session and what its counter must be."""

    def __init__(self, engine: durable.Engine, name: str, dice: random.Random, happened: Counter[str]) -> None:
        self._engine = engine
        self._name = name
        self._dice = dice
        self._happened = happened
        self._session: durable.Session | None = None
        self.n = 0

    async def begin(self) -> None:
        self._session = await self._engine.session(self._name)
        assert (await self._session.execute("n = 0; n")).value == 0
        self.n = 0

    async def act(self) -> None:
        kinds = (self.count, self.flood, self.kill, self.interrupt, self.halt, self.cancel, self.quick, self.anew)
        kind = self._dice.choices(kinds, weights=(6, 2, 3, 3, 1, 1, 3, 1))[0]
        await kind()
        self._happened[kind.__name__] += 1

    async def pid(self) -> int:
        found = (await self._engine.store.request("session.get", {"session": self._name})).data["worker"]
        return int(found["pid"]) if found is not None else 0

    @property
    def session(self) -> durable.Session:
        assert self._session is not None
        return self._session

    async def count(self) -> None:
        found = await self.session.execute("n += 1; n")
        self.n += 1
        assert found.value == self.n, (self._name, found, self.n)

    async def flood(self) -> None:
        found = await self.session.execute(f"for _ in range(30): print('x' * {FLOOD_CHARS // 30 - 1})")
        assert found.error is None
        assert len(found.stdout) == FLOOD_CHARS, (self._name, len(found.stdout))

    async def kill(self) -> None:
        execution = await self.session.submit("n += 1\nimport time; time.sleep(0.05)\nn")
        await asyncio.sleep(self._dice.random() * 0.06)
        pid = await self.pid()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        found = await self.session.result(execution.id)
        self.n += 1
        assert found.value == self.n, (self._name, found, self.n)

    async def _looping(self) -> durable.Execution[object]:
        """A cell that computes for ever, and does by now."""
        execution = await self.session.submit("print('begun')\nwhile True: pass")
        async for _ in self._engine.follow(execution.id):
            return execution
        raise AssertionError(f"{execution.id} ended by itself")

    async def interrupt(self) -> None:
        execution = await self._looping()
        assert await self._engine.interrupt(execution.id, raises=True)
        found = await self.session.result(execution.id)
        assert found.error is not None
        assert found.error.exception_type == "KeyboardInterrupt", found.error

    async def halt(self) -> None:
        execution = await self._looping()
        assert await self._engine.interrupt(execution.id)
        assert await self._engine.cancel(execution.id)

    async def cancel(self) -> None:
        execution = await self._looping()
        assert await self._engine.cancel(execution.id)

    async def quick(self) -> None:
        try:
            found = await self.session.execute("sum(range(1000))", journal=False)
        except durable.WorkerDied:  # of a kill that came when its cell had ended: unjournaled code is not repeated
            found = await self.session.execute("sum(range(1000))", journal=False)
        assert found.value == 499_500

    async def anew(self) -> None:
        await self.session.close()
        await self.begin()


async def mixed_load(directory: Path, *, seconds: float, sessions: int, seed: int) -> tuple[list[Seen], Counter[str]]:
    """The rounds as they were seen, and what happened. Raises AssertionError with the seed."""
    happened: Counter[str] = Counter()
    seen: list[Seen] = []
    gc.collect()  # what others left to be collected is not to be counted
    before, others = _descriptors(), set(_children())
    until = time.monotonic() + seconds
    async with durable.open(directory / "state.db", durability="process", observer=_unheard) as engine:
        desks = [Desk(engine, f"desk{n}", random.Random(f"{seed} {n}"), happened) for n in range(sessions)]
        await asyncio.gather(*(desk.begin() for desk in desks))
        while time.monotonic() < until or len(seen) < 4:
            await asyncio.gather(*(_some(desk) for desk in desks))
            seen.append(await _quiet(desks))
            last = seen[-1]
            print(f"{len(seen)}: {last}", file=sys.stderr, flush=True)
    children = set(_children()) - others
    assert not children, f"left after the end: {children} (seed {seed})"
    assert _descriptors() <= before, f"descriptors left: {_descriptors()}, before {before} (seed {seed})"
    check(seen, seed)
    return seen, happened


async def _some(desk: Desk) -> None:
    for _ in range(ACTIONS_A_ROUND):
        await desk.act()


async def _quiet(desks: list[Desk]) -> Seen:
    """Every session has its worker, and nothing runs."""
    await asyncio.gather(*(desk.count() for desk in desks))
    fewest = None
    gc.collect()
    for _ in range(10):  # what is being collected is gone soon; what stays is what counts
        await asyncio.sleep(0.05)
        found = (len(_children()), _descriptors(), len(asyncio.all_tasks()))
        fewest = found if fewest is None else min(fewest, found)
    assert fewest is not None
    workers = {await desk.pid() for desk in desks}
    others = tuple(_described(pid) for pid in sorted(set(_children()) - workers))
    return Seen(*fewest, memory_now(os.getpid()) or 0, others)


def check(seen: list[Seen], seed: int) -> None:
    """Nothing grows from the rounds after the warm-up to the last ones."""
    warm = seen[int(len(seen) * WARM_ROUNDS_PART) :]
    part = max(1, len(warm) // 4)
    first, last = warm[:part], warm[-part:]
    for what in ("processes", "descriptors", "tasks"):
        then, now = (max(getattr(one, what) for one in some) for some in (first, last))
        assert now <= then, f"{what}: {then}, at the end {now} (seed {seed}); beside workers {last[-1].others}"
    then, now = (statistics.median(one.memory for one in some) for some in (first, last))
    limit = then + max(GROWTH_MAX * then, GROWTH_BYTES_MIN)
    assert now <= limit, f"memory: {then / 2**20:.1f} MiB, at the end {now / 2**20:.1f} (seed {seed})"


def _unheard(_event: Event) -> None:
    """Workers die by plan here."""


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _described(pid: int) -> str:
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return f"{pid} of {status['PPid'].strip()}, {status['State'].strip()}, {status['Name'].strip()}"
    except OSError:
        return f"{pid}, gone"


def _children() -> list[int]:
    """This process's, and theirs."""
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        pid = todo.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                mine = [int(one) for one in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
                found += mine
                todo += mine
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="durable-load-") as directory:
        work = mixed_load(Path(directory), seconds=given.seconds, sessions=given.sessions, seed=given.seed)
        seen, happened = asyncio.run(work)
    print(f"{len(seen)} rounds, {sum(happened.values())} actions: {dict(happened)}")
    print(f"first {seen[0]}")
    print(f"last  {seen[-1]}")


if __name__ == "__main__":
    main()
