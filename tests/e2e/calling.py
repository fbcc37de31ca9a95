"""An engine whose capability `charge` has an effect outside: run and killed by test_capability_kill.py."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import durable

LEDGER = "ledger"


def charging(directory: Path, die: str) -> durable.Capability:
    """`charge` writes its idempotency key to a file; where told to, the engine is killed right after that."""

    @durable.capability
    def charge(amount: int) -> str:
        with (directory / LEDGER).open("a") as ledger:
            ledger.write(f"{durable.call_id()} {amount}\n")
            ledger.flush()
            os.fsync(ledger.fileno())
        if die == "after the effect":
            os.kill(os.getpid(), signal.SIGKILL)
        return f"charged {amount}"

    found: durable.Capability = charge
    return found


async def main(directory: Path, die: str) -> None:
    async with durable.open(directory / "work.db", capabilities=[charging(directory, die)]) as engine:
        session = await engine.session("desk", grants=["charge"])
        if die == "after the effect":
            await session.execute("before = 1\nreceipt = charge(5)\nreceipt")
        elif die == "after the record":
            execution = await session.submit("receipt = charge(5)\nimport time\ntime.sleep(600)")
            promise = f"exec:{execution.id}:charge:1"
            while True:
                changed = engine.changed()
                row = await engine.store.reads.get_promise(promise)
                if row is not None and row.state != "pending":
                    os.kill(os.getpid(), signal.SIGKILL)
                await changed


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
