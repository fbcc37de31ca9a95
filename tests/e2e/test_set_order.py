"""A cell that goes through a set, killed with its engine: the next one goes the same way (specs/zygote.md, Z9)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import durable
from tests.e2e.test_actors import holds

KILLED = """
import asyncio, sys
import durable

async def main():
    async with durable.open("work.db") as engine:
        session = await engine.session("desk", grants=["kv"])
        await (await session.submit(CODE)).result()

CODE = sys.argv[1]
asyncio.run(main())
"""

CODE = """
import os, sys, time
taken = []
for word in {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}:
    kv.set(word, len(taken))
    taken.append(word)
    with open("taken", "a") as file:
        print(word, file=file)
    while len(taken) == 4 and not os.path.exists("go"):
        time.sleep(0.01)
taken, os.environ.get("PYTHONHASHSEED")
"""


async def test_a_set_has_one_order_in_the_workers_of_all_engines(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, CODE, cwd=tmp_path, env=environment, start_new_session=True
    )

    async def four() -> bool:
        return (tmp_path / "taken").exists() and len((tmp_path / "taken").read_text().split()) == 4

    await holds(four)
    process.kill()
    await process.wait()
    first = (tmp_path / "taken").read_text().split()
    (tmp_path / "go").touch()
    async with durable.open(tmp_path / "work.db") as engine:
        found, seed = (await (await engine.session("desk")).result("desk@1")).value
    assert found[:4] == first
    assert seed is None, "programs that the code starts draw their own"
