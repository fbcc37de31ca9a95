"""Clients in several processes on one database: `python -m tests.contract.postgres_clients --operations 1000000`.

Each client sends random requests about promises, tasks, sessions and output that it shares with the others, many at a
time, while connections are ended now and then. Its history says what it asked, what was answered, and between which
moments. At the end the histories are compared with each other and with the tables: `postgres_histories` says what must
hold. A failure prints the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from durable.core.errors import StoreRefused
from durable.store.postgres.address import address_of
from durable.store.postgres.store import PostgresStore
from tests.contract import postgres_histories
from tests.contract.opened import engine, root, settle
from tests.contract.postgres_rules import broken
from tests.postgres_server import PostgresServer, rows_of
from tests.warm_python import PYTHON

AT_ONCE = 16
WINDOW = 12
"""Executions, and sessions, that are worked on at a time; the window moves on with the number of operations."""
STEP = 40
LEASE_MS = 10_000
TTL_MS = 3_600_000


class Client:
    """One process's requests and their history."""

    def __init__(self, store: PostgresStore, name: str, seed: int, history: Path) -> None:
        self._store = store
        self._name = name
        self._seed = seed
        self._history = history.open("w")
        self._done = 0
        self._versions: dict[str, int] = {}
        self._epochs: dict[str, int] = {}

    async def run(self, operations: int) -> None:
        await asyncio.gather(*(self._work(n, operations // AT_ONCE) for n in range(AT_ONCE)))
        self._history.close()

    async def _work(self, number: int, operations: int) -> None:
        dice = random.Random(f"{self._seed} {self._name} {number}")
        acts = (
            (self._create, 4), (self._settle, 3), (self._get, 4), (self._acquire, 5), (self._fulfill, 2),
            (self._release, 2), (self._fence, 4), (self._suspend, 2), (self._submit, 3), (self._own, 2),
            (self._print, 3), (self._halt, 1),
        )  # fmt: skip
        for _ in range(operations):
            act = dice.choices([each for each, _ in acts], [weight for _, weight in acts])[0]
            await act(dice)
            self._done += 1

    def _place(self, dice: random.Random) -> int:
        return self._done // STEP + dice.randrange(WINDOW)

    def _task(self, dice: random.Random) -> str:
        """An execution of the window: one by itself, or a cell."""
        place = self._place(dice)
        return f"exec:t{place}" if dice.random() < 0.6 else f"exec:s{place // 10}@{dice.randint(1, 5)}"

    async def _ask(self, kind: str, subject: str, data: dict[str, Any], argument: object = None) -> Any:
        """The answer's data, or None when it was refused; noted in the history either way."""
        began = time.monotonic_ns()
        try:
            answer: Any = (await self._store.request(kind, data)).data
            status = 200
        except StoreRefused as refused:
            answer, status = None, refused.status
        assert status in (200, 404, 409, 422, 423), (kind, data, status)
        ended = time.monotonic_ns()
        line = [kind, subject, argument, began, ended, status, postgres_histories.shortened(kind, answer)]
        self._history.write(json.dumps(line) + "\n")
        return answer

    async def _create(self, dice: random.Random) -> None:
        name = f"t{self._place(dice)}"
        await self._ask("promise.create", f"exec:{name}", root(name))

    async def _get(self, dice: random.Random) -> None:
        task = self._task(dice)
        await self._ask("promise.get", task, {"id": task})

    async def _settle(self, dice: random.Random) -> None:
        task, value = self._task(dice), f"{self._name}-{self._done}-{dice.random()}"
        state = dice.choice(["resolved", "rejected", "rejected_canceled"])
        await self._ask("promise.settle", task, settle(task, state, value), [state, value])

    async def _acquire(self, dice: random.Random) -> None:
        task = self._task(dice)
        known = self._versions.get(task, 0)
        data = {"id": task, "version": known, "pid": self._name, "ttl": TTL_MS}
        answer = await self._ask("task.acquire", task, data, known)
        if answer is None:
            found = await self._ask("task.get", task, {"id": task})
            self._versions[task] = 0 if found is None else found["task"]["version"]
        else:
            self._versions[task] = answer["task"]["version"]

    async def _fulfill(self, dice: random.Random) -> None:
        task, value = self._task(dice), f"{self._name}-{self._done}-{dice.random()}"
        version = self._versions.get(task, 1)
        action = {"kind": "promise.settle", "data": settle(task, "resolved", value)}
        data = {"id": task, "version": version, "action": action}
        await self._ask("task.fulfill", task, data, ["resolved", value, version])

    async def _release(self, dice: random.Random) -> None:
        task = self._task(dice)
        version = self._versions.get(task, 1)
        await self._ask("task.release", task, {"id": task, "version": version}, version)

    async def _fence(self, dice: random.Random) -> None:
        task = self._task(dice)
        version = self._versions.get(task, 1)
        step = {"id": f"{task}.{dice.randint(1, 3)}", "timeoutAt": 2**50, "tags": {}}
        action = {"kind": "promise.create", "data": step}
        await self._ask("task.fence", task, {"id": task, "version": version, "action": action}, version)

    async def _suspend(self, dice: random.Random) -> None:
        """A task waits for others, under other keys."""
        task = self._task(dice)
        awaited = {other for other in (self._task(dice), self._task(dice)) if other != task}
        version = self._versions.get(task, 1)
        actions = [
            {"kind": "promise.register_callback", "data": {"awaited": other, "awaiter": task}} for other in awaited
        ]
        if actions:
            data = {"id": task, "version": version, "actions": actions}
            await self._ask("task.suspend", task, data, version)

    async def _halt(self, dice: random.Random) -> None:
        task = self._task(dice)
        if dice.random() < 0.3:
            await self._ask("task.halt", task, {"id": task})
        else:
            await self._ask("task.continue", task, {"id": task})

    async def _submit(self, dice: random.Random) -> None:
        session = f"s{self._place(dice) // 10}"
        promise = {"timeoutAt": 2**50, "tags": {"resonate:target": "poll://any@g", "durable:function": "f"}}
        data: dict[str, Any] = {"session": session, "promise": promise}
        if dice.random() < 0.5:
            data |= {"engine": self._name, "ttl": TTL_MS}
        await self._ask("cell.submit", session, data)

    async def _own(self, dice: random.Random) -> None:
        session = f"s{self._place(dice) // 10}"
        if dice.random() < 0.5:
            answer = await self._ask("session.open", session, {"session": session, "engine": self._name})
            self._epochs[session] = answer["epoch"]
        elif dice.random() < 0.7:
            epoch = self._epochs.get(session, 1)
            await self._ask("session.give", session, {"session": session, "epoch": epoch}, epoch)
        else:
            answer = await self._ask("session.take", session, {"session": session, "engine": self._name})
            if answer is not None:
                self._epochs[session] = answer["epoch"]

    async def _print(self, dice: random.Random) -> None:
        task = self._task(dice)
        start, length = self._done // 400, dice.randint(1, 3)
        found = await self._ask("output.append", task, {"execution": task, "chunks": []})
        start = start if found is None else found["end"]
        data = {"execution": task, "chunks": [(start, "stdout", "x" * length)]}
        await self._ask("output.append", task, data, [start, length])


async def client(url: str, name: str, operations: int, seed: int, history: Path) -> None:
    """One of the processes."""
    store = await PostgresStore.open(url, lease_ms=LEASE_MS, observer=lambda _event: None)
    try:
        await engine(store, name, ["f"])
        await Client(store, name, seed, history).run(operations)
    finally:
        await store.close()


def _end_some(url: str, dice: random.Random) -> None:
    """End about half of the clients' connections, whatever they are at."""
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name='durable-exec' AND pid <> pg_backend_pid()"
    with psycopg.connect(address_of(url).conninfo, autocommit=True) as connection:
        for (pid,) in connection.execute(sql.encode()).fetchall():
            if dice.random() < 0.5:
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


def campaign(
    urls: list[str], folder: Path, *, operations: int, clients: int, seed: int, cut_every_s: float
) -> dict[str, Any]:
    """Run it with a URL for each client, check it; what happened. The first URL is also ours."""
    url = urls[0]
    began = time.monotonic()
    dice = random.Random(seed)
    command = [PYTHON, "-m", "tests.contract.postgres_clients", "--seed", str(seed)]
    command += ["--operations", str(operations // clients)]
    paths = [folder / f"history-{n}" for n in range(clients)]
    processes = [
        subprocess.Popen([*command, "--url", urls[n], "--name", f"c{n}", "--history", str(path)])
        for n, path in enumerate(paths)
    ]
    cuts = 0
    try:
        while any(process.poll() is None for process in processes):
            try:
                processes[0].wait(cut_every_s)
            except subprocess.TimeoutExpired:
                _end_some(url, dice)
                cuts += 1
            for process in processes[1:]:
                if processes[0].poll() is not None:
                    process.wait()
        assert [process.returncode for process in processes] == [0] * clients
    finally:
        for process in processes:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    found = postgres_histories.check(paths, lambda sql: rows_of(url, sql))
    rules = broken(url)
    assert not rules, rules
    return {"seed": seed, **found, "times connections were ended": cuts, "seconds": round(seconds, 1)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--cut-every", type=float, default=2.0, metavar="S", help="seconds between cut connections")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--history", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.name:
        asyncio.run(client(given.url, given.name, given.operations, given.seed, given.history))
        return
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            options = {"operations": given.operations, "clients": given.clients, "seed": given.seed}
            print(
                json.dumps(
                    campaign([server.url()] * given.clients, Path(folder), **options, cut_every_s=given.cut_every)
                )
            )
    except BaseException:
        print(f"seed {given.seed}", file=sys.stderr)
        raise
    finally:
        server.stop()


if __name__ == "__main__":
    main()
