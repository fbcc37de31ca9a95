"""Actors under SIGKILL: every message handled once in effect, in its sender's order, one turn at a time for each key.

    python -m tests.e2e.actor_campaign --actors 1000 --messages 100000 --kills 60

Senders tell actors numbers, each message under an id of its own, and send again what they have no answer to. Engine
processes are killed at random moments and started again. At the end each actor's state is compared with the model's.
The store is a file of its own; `--postgres` takes a PostgreSQL server of its own (one that keeps what it acknowledged),
`--store` any other one.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import durable
from tests.postgres_server import PostgresServer
from tests.warm_python import PYTHON

SENDERS = 8


@durable.actor(mailbox=None)
class Ledger:
    """Sums what each sender tells it, and notes whatever is out of order."""

    total: int = 0
    seen: dict[str, int] = {}  # noqa: RUF012
    wrong: list[str] = []  # noqa: RUF012

    async def add(self, ctx: durable.ActorContext, sender: str, number: int, amount: int) -> None:
        if number != self.seen.get(sender, 0) + 1:
            self.wrong = [*self.wrong, f"{sender}: {number} after {self.seen.get(sender, 0)}"]
        self.seen = {**self.seen, sender: number}
        self.total += amount
        if amount % 10 == 0:
            await ctx.run(alone, ctx.key)


async def alone(key: str) -> None:
    """Hold the key's lock for a moment: another turn of the same key cannot have it."""
    with (Path(os.environ["ACTOR_CAMPAIGN"]) / f"{key}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (Path(os.environ["ACTOR_CAMPAIGN"]) / "overlap").write_text(key)
            raise
        await asyncio.sleep(0.001)


async def serve(store: str) -> None:
    """One engine, until it is killed."""
    async with durable.open(store, durability="process"):
        print("ready", flush=True)
        await asyncio.Event().wait()


class Engines:
    """Engine processes, killed and started again until enough were killed."""

    def __init__(self, store: str, count: int, environment: dict[str, str]) -> None:
        self._command = [PYTHON, "-m", "tests.e2e.actor_campaign", "--serve", store]
        self._environment = environment
        self._running = [self._start() for _ in range(count)]
        self.killed = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)

    async def kill(self, kills: int, every_s: float, seed: int) -> None:
        chance = random.Random(seed)
        while self.killed < kills:
            await asyncio.sleep(every_s * chance.uniform(0.5, 1.5))
            n = chance.randrange(len(self._running))
            self._running[n].send_signal(signal.SIGKILL)
            self._running[n].wait()
            self._running[n] = self._start()
            self.killed += 1

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


async def send(engine: durable.Engine, sender: str, targets: list[str], model: Model) -> None:
    """Tell each target its next number, in order."""
    numbers: Counter[str] = Counter()
    for place, target in enumerate(targets):
        numbers[target] += 1
        amount = (place * 7 + len(sender)) % 100
        ledger = engine.actor(Ledger, target).options(id=f"{sender}-{numbers[target]}")
        await ledger.tell.add(sender, numbers[target], amount)
        model.add(target, sender, amount)


class Model:
    """The state that each actor has to have."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.seen: dict[str, Counter[str]] = {}

    def add(self, target: str, sender: str, amount: int) -> None:
        self.totals[target] += amount
        self.seen.setdefault(target, Counter())[sender] += 1


async def campaign(store: str, actors: int, messages: int, engines: int, kills: int, every_s: float, seed: int) -> str:
    """Run it; AssertionError says what did not hold. Returns what was done, in a line."""
    chance, model = random.Random(seed), Model()
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "ACTOR_CAMPAIGN": place}
        async with durable.open(store, serve=False, durability="process") as engine:
            begin = time.monotonic()
            running = Engines(store, engines, environment)
            killing = asyncio.create_task(running.kill(kills, every_s, seed))
            try:
                names = [f"k{n}" for n in range(actors)]
                work = [[chance.choice(names) for _ in range(messages // SENDERS)] for _ in range(SENDERS)]
                await asyncio.gather(*(send(engine, f"s{n}", each, model) for n, each in enumerate(work)))
                sent_s = time.monotonic() - begin
                await killing
                await drained(engine)
                took_s = time.monotonic() - begin
            finally:
                killing.cancel()
                running.end()
            await check(engine, model, Path(place))
    done = sum(map(len, work))
    return (
        f"{actors} actors, {done} messages from {SENDERS} senders, {engines} engines, {kills} kills: sent in "
        f"{sent_s:.1f} s, done in {took_s:.1f} s ({done / took_s:.0f}/s), seed {seed}"
    )


async def drained(engine: durable.Engine) -> None:
    """Wait until no mailbox has a message."""
    while any(each.waiting for each in await engine.actors.find()):  # noqa: ASYNC110 - other processes do the work
        await asyncio.sleep(0.2)


async def check(engine: durable.Engine, model: Model, place: Path) -> None:
    """Compare every actor with the model."""
    found: dict[str, Any] = {each.key: each for each in await engine.actors.find()}
    assert found.keys() == model.totals.keys()
    for key, total in model.totals.items():
        state = found[key].state
        expected = {"total": total, "seen": dict(sorted(model.seen[key].items())), "wrong": []}
        assert {**state, "seen": dict(sorted(state["seen"].items()))} == expected, key
        assert found[key].saved == model.seen[key].total(), f"{key}: saved {found[key].saved} times"
        assert (found[key].status, found[key].restarted) == ("running", 0), key
    assert not (place / "overlap").exists(), "two turns of one key at the same time"
    assert await engine.actors.dead_letters() == []


def main() -> None:
    """Run the campaign, or one of its engines."""
    parser = argparse.ArgumentParser(description="Actors under SIGKILL.")
    parser.add_argument("--serve")
    parser.add_argument("--store")
    parser.add_argument("--postgres", action="store_true")
    for name, value in (("actors", 1000), ("messages", 100_000), ("engines", 2), ("kills", 60)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    with ExitStack() as held:
        store = given.store or str(Path(held.enter_context(tempfile.TemporaryDirectory())) / "work.db")
        if given.postgres:
            server = PostgresServer(fast=False)
            held.callback(server.stop)
            store = server.url()
        done = campaign(store, given.actors, given.messages, given.engines, given.kills, given.every, given.seed)
        print("PostgreSQL:" if given.postgres else "SQLite:", asyncio.run(done))


if __name__ == "__main__":
    main()
