"""Two components that talk, under SIGKILL: one asks, the other traps at every hundredth request.

    python -m tests.e2e.component_campaign --requests 10000 --kills 10 --mode fails
    python -m tests.e2e.component_campaign --requests 10000 --kills 10 --mode retried

fails: the message traps however often it is tried, so that request fails. retried: it traps the first time alone, and
is answered by the instance that the supervisor makes after its backoff. Engine processes are killed at random moments.
At the end every request has one answer or one failure, the mail is gone, and so are the instances; the memory of an
engine that lives through all of it is looked at after a tenth of the requests and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import durable
from tests.components import talking
from tests.postgres_server import PostgresServer
from tests.warm_python import PYTHON

GROWTH_BYTES_MAX = 96 * 2**20
"""Of an engine, from a tenth of the requests to the end: what Python and SQLite keep, and no instances."""
MARKS = {"fails": ord("!"), "retried": ord("?")}

MODE = os.environ.get("COMPONENT_CAMPAIGN", "fails")
RESTARTS = {"fails": (2, 2.0), "retried": (50, 5.0)}
"""How many within how many seconds: few where a restart does not help, enough for all where it does."""
BACKOFF = durable.Backoff(base_s=0.01, delay_max_s=0.05)

Pong = durable.component_actor(
    "pong",
    supervise=durable.Supervise(
        max_restarts=RESTARTS[MODE][0], within=RESTARTS[MODE][1], backoff=BACKOFF, exhausted="drop"
    ),
)
Ping = durable.component_actor("ping", supervise=durable.Supervise(max_restarts=100, backoff="immediate"))


async def known(engine: durable.Engine) -> None:
    """Add both components."""
    await engine.sandbox.add(talking.PONG, talking.pong())
    await engine.sandbox.add(talking.PING, talking.ping())


async def serve(store: str) -> None:
    """One engine, until it is killed."""
    async with durable.open(store, durability="process", observer=lambda _event: None) as engine:
        await known(engine)
        print("ready", flush=True)
        await asyncio.Event().wait()


class Engine:
    """A process with an engine, killed and started again."""

    def __init__(self, store: str) -> None:
        self._command = [PYTHON, "-m", "tests.e2e.component_campaign", "--serve", store]
        self._process = self._start()
        self.killed = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    async def kill(self, kills: int, every_s: float, chance: random.Random) -> None:
        """Kill it so many times."""
        while self.killed < kills:
            await asyncio.sleep(every_s * chance.uniform(0.5, 1.5))
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = self._start()
            self.killed += 1

    def end(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Load:
    """What PING asks. trap_every: one request in so many traps. batch: requests that PING sends in one message."""

    requests: int
    trap_every: int
    batch: int


@dataclass(slots=True)
class Counts:
    """Answers and failures that PING has counted."""

    answered: int
    failed: int

    @property
    def all(self) -> int:
        return self.answered + self.failed


async def counts(engine: durable.Engine) -> Counts:
    """The counts of PING now."""
    answered, failed, _ = await engine.actor(Ping, "p").invoke("counts")
    return Counts(answered, failed)


async def ask(engine: durable.Engine, load: Load, mark: int) -> tuple[Counts, list[int]]:
    """Send all requests, not more than a few batches before the answers; the counts, and the memory on the way."""
    memory: list[int] = []
    for first in range(1, load.requests + 1, load.batch):
        last = min(load.requests, first + load.batch - 1)
        await engine.actor(Ping, "p").invoke("ask", "pong/a", first, last, load.trap_every, mark, 10**9)
        await engine.actor(Pong, "a").handle_message("", b"S")
        while first - 4 * load.batch > (await counts(engine)).all:  # noqa: ASYNC110 - other turns do the work
            await asyncio.sleep(0.2)
        if not memory and last * 10 >= load.requests:
            memory.append(resident())
    while (found := await counts(engine)).all < load.requests:  # noqa: ASYNC110 - other turns do the work
        await asyncio.sleep(0.2)
    return found, [*memory, resident()]


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def campaign(store: str, load: Load, kills: int, every_s: float, seed: int) -> str:
    """Run it; AssertionError says what did not hold. Returns what was done, in a line."""
    begin = time.monotonic()
    async with durable.open(store, durability="process", observer=lambda _event: None) as engine:
        await known(engine)
        other = Engine(store)
        killing = asyncio.create_task(other.kill(kills, every_s, random.Random(seed)))
        try:
            found, memory = await ask(engine, load, MARKS[MODE])
            took_s = time.monotonic() - begin
            await killing
        finally:
            killing.cancel()
            other.end()
        await check(engine, found, load)
        restarts = {each.key: each.restarted for each in await engine.actors.find()}
        growth = memory[-1] - memory[0]
        assert growth < GROWTH_BYTES_MAX, f"the engine grew by {growth / 2**20:.0f} MiB"
        assert engine.sandbox.instances <= 2
    return (
        f"{load.requests} requests, every {load.trap_every}th traps ({MODE}), {kills} kills: {found.answered} answered,"
        f" {found.failed} failed, {restarts['a']} restarts, in {took_s:.0f} s ({load.requests / took_s:.0f}/s); memory "
        f"{memory[0] / 2**20:.0f} MiB at a tenth, {memory[-1] / 2**20:.0f} MiB at the end, seed {seed}"
    )


async def check(engine: durable.Engine, found: Counts, load: Load) -> None:
    """Every request has one outcome, and nothing is left in a mailbox."""
    trapping = load.requests // load.trap_every
    expected = Counts(load.requests - trapping, trapping) if MODE == "fails" else Counts(load.requests, 0)
    assert found == expected, found
    assert all(each.waiting == 0 and each.status == "running" for each in await engine.actors.find())
    letters = await engine.actors.dead_letters(limit=10_000)
    assert len(letters) == (trapping if MODE == "fails" else 0), len(letters)
    taken = await engine.actor(Pong, "a").invoke("count")
    saves = -(-load.requests // load.batch)
    assert taken == expected.answered + saves, f"PONG has taken {taken}"


def main() -> None:
    """Run the campaign, or one of its engines."""
    parser = argparse.ArgumentParser(description="Components that talk, under SIGKILL.")
    parser.add_argument("--serve")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--trap-every", type=int, default=100, help="one request in so many traps")
    parser.add_argument("--batch", type=int, default=50, help="requests of one message")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--mode", choices=tuple(MARKS), default="fails")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    if given.mode != MODE:  # the class is of one mode, in this process and in those that it starts
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "COMPONENT_CAMPAIGN": given.mode}
        )
    with ExitStack() as held:
        store = str(Path(held.enter_context(tempfile.TemporaryDirectory())) / "work.db")
        if given.postgres:
            server = PostgresServer(fast=False)
            held.callback(server.stop)
            store = server.url()
        load = Load(given.requests, given.trap_every, given.batch)
        done = campaign(store, load, given.kills, given.every, given.seed)
        print("PostgreSQL:" if given.postgres else "SQLite:", asyncio.run(done))


if __name__ == "__main__":
    main()
