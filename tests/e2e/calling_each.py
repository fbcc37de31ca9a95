"""An engine that is killed at the first effect of each of four calls: run by test_capability_kill.py, until it lives.

`python -m tests.e2e.calling_each DIRECTORY URL`: the server at URL kills it while it answers the first request.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import durable

LEDGER = "ledger"
SCRIPT = """echo "$DURABLE_CALL_ID" >> "$0"
read -r _ _ _ engine _ < /proc/$PPID/stat  # the parent of its supervisor
test "$(grep -c :process: "$0")" -gt 1 || { kill -9 "$engine"; sleep 600; }
echo ran"""
CELL = """
found = [charge(1), charge_later(2)]
found.append(fetch({url!r}, method="POST")["text"])
found.append(process("sh", ["-c", {script!r}, {ledger!r}])["stdout"])
found"""


def _effect(directory: Path) -> None:
    """Note the key; where it is noted for the first time, die."""
    key = durable.call_id()
    with (directory / LEDGER).open("a") as ledger:
        ledger.write(f"{key}\n")
        ledger.flush()
    if (directory / LEDGER).read_text().splitlines().count(key) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(directory: Path, url: str) -> None:
    @durable.capability
    def charge(amount: int) -> int:
        _effect(directory)
        return amount

    @durable.capability
    async def charge_later(amount: int) -> int:
        await asyncio.sleep(0)
        _effect(directory)
        return amount

    manifest = {
        "level": "trusted",
        "grant": ["charge", "charge_later", "process"],
        "network": {"outbound": ["*:*"], "private": ["127.0.0.1/32"]},
        "process": {"programs": ["sh"]},
    }
    async with durable.open(directory / "work.db", capabilities=[charge, charge_later]) as engine:
        session = await engine.session("desk", permissions=manifest)
        if not await engine.store.reads.list_executions(session="desk", limit=1):
            await session.submit(CELL.format(url=url, script=SCRIPT, ledger=str(directory / LEDGER)))
        print((await session.result("desk@1")).value, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
