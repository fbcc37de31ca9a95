"""A large store is copied, killed in the middle and copied again: `python -m tests.contract.copy_campaign`.

A file gets executions with steps, signals, values and cells of sessions. It is copied to a database, and that to
another file, each time by a process of its own: first some that are killed at a random moment, whose target nobody may
open, then one that ends. What must hold: each copy has the rows of the first file, and the last file is as the first
one. Seconds, processor time and the most memory of each whole copy are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from durable.core.errors import StoreError
from durable.store.port import open_direct
from durable.store.upkeep.copied_tables import TABLES
from tests.contract.invariants import check, contents
from tests.contract.opened import promise, root, settle
from tests.contract.postgres_rules import broken
from tests.direct_store import opened_store
from tests.postgres_server import PostgresServer

AT_ONCE = 500
KILLS = 3
CELL = {"timeoutAt": 2**50, "tags": {"resonate:target": "poll://any@g", "durable:function": "f"}}
COPY = "import json, sys; from durable.store.upkeep.copy import copy; print(json.dumps(copy(*sys.argv[1:]).tables))"


async def fill(place: Path, executions: int, seed: int) -> None:
    """Executions of which half have ended, each with a step, some with a signal or a large value; cells of sessions."""
    dice = random.Random(seed)
    async with opened_store(str(place)) as store:
        for first in range(0, executions, AT_ONCE):
            names = [f"job-{n}" for n in range(first, min(first + AT_ONCE, executions))]
            posted = [store.post("promise.create", root(name)) for name in names]
            for name in names:
                posted.append(store.post("promise.create", promise(f"exec:{name}.1", resonate_origin="exec")))
                value = "x" * (2_000_000 if dice.random() < 0.0005 else dice.randrange(200))
                if dice.random() < 0.5:
                    posted.append(store.post("promise.settle", settle(f"exec:{name}.1", data=value)))
                    posted.append(store.post("promise.settle", settle(f"exec:{name}", data=value)))
                elif dice.random() < 0.2:
                    signal = {"execution": f"exec:{name}", "name": "go", "value": {"data": name}}
                    posted.append(store.post("signal.send", signal))
                elif dice.random() < 0.1:
                    posted.append(store.post("cell.submit", {"session": f"desk-{first}", "promise": CELL}))
            await asyncio.gather(*posted)


def copy(source: str, target: str, *, after_s: float | None = None) -> dict[str, Any]:
    """One process that copies, killed after some seconds where they are given; what it took."""
    began = time.monotonic()
    command = [sys.executable, "-c", COPY, source, target]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if after_s is not None:
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "status": process.returncode,
        "tables": json.loads(said) if said else {},
        "seconds": round(time.monotonic() - began, 1),
        "cpu seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "memory MiB": round(usage.ru_maxrss / 1024),
    }


async def refused(place: str) -> bool:
    """Whether nobody can open it, since a copy to it was not finished."""
    try:
        await (await open_direct(place, create=False)).close()
    except StoreError as error:
        return "durable copy" in str(error) or "there is no store" in str(error)
    return False


def killed_and_whole(source: str, target: str, dice: random.Random, about_s: float) -> dict[str, Any]:
    """Copies that are killed, and the one that is left to end."""
    kills = 0
    for _ in range(KILLS):
        found = copy(source, target, after_s=about_s * dice.random())
        assert found["status"] == -9, "killed before it ended"
        assert asyncio.run(refused(target)), "a copy that was not finished is no store"
        kills += 1
    found = copy(source, target)
    assert found["status"] == 0
    return {**found, "killed before": kills}


def run(executions: int, seed: int) -> None:
    """All of it. AssertionError on a broken promise."""
    folder = Path(tempfile.mkdtemp(prefix="durable-copies-"))
    server = PostgresServer()
    dice = random.Random(seed)
    try:
        first, back = folder / "first.db", folder / "back.db"
        asyncio.run(fill(first, executions, seed))
        print(json.dumps({"executions": executions, "file MiB": round(first.stat().st_size / 2**20)}), flush=True)
        url, about_s = server.url(), executions / 10_000
        there = killed_and_whole(str(first), url, dice, about_s)
        print(json.dumps({"to": "database", **there, "tables": sum(there["tables"].values())}), flush=True)
        home = killed_and_whole(url, str(back), dice, about_s)
        print(json.dumps({"to": "file", **home, "tables": sum(home["tables"].values())}), flush=True)
        assert there["tables"] == home["tables"]
        assert broken(url) == []
        check(back)
        for table in TABLES:
            assert contents(back, [table]) == contents(first, [table]), table
        print(json.dumps({"seed": seed, "same": True}))
    except BaseException:
        print(f"seed {seed}", file=sys.stderr)
        raise
    finally:
        server.stop()
        shutil.rmtree(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = parser.parse_args()
    run(given.executions, given.seed)


if __name__ == "__main__":
    main()
