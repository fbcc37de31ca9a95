"""A core module that makes six host calls, in an engine that is killed where it is told (test_sandbox_kill.py).

The module keeps a checksum of all answers, so that its result says whether it got each of them as it was recorded.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import durable
from capabilities.sandbox.component_manifest import parse_component
from capabilities.sandbox.wasm.runtime import Runtime, wat
from durable.sandbox.components import Components

LEDGER = "ledger"
EXECUTION = "six"
MANIFEST = """
component = { id = "six" }
[resources]
memory = { max_bytes = 1048576 }
cpu = { max_fuel = 100000, timeout_seconds = 60 }
[permissions]
grant = ["charge", "random"]
[permissions.storage]
max_size_mb = 1
"""
_CALLS = [
    ("random", "{}"),
    ("charge", '{"amount":1}'),
    ("kv.set", '{"key":"k","value":7}'),
    ("charge", '{"amount":2}'),
    ("kv.get", '{"key":"k"}'),
    ("charge", '{"amount":3}'),
]


def asking(calls: Sequence[tuple[str, str]]) -> bytes:
    """A module whose `run` makes these calls, one after the other; its value is a checksum of all answers."""
    data, made, at = [], [], 1024
    for name, args in calls:
        text = name + args
        escaped = text.replace('"', '\\"')
        data.append(f'(data (i32.const {at}) "{escaped}")')
        made.append(f"(call $one (i32.const {at}) (i32.const {len(name)}) (i32.const {len(args)}))")
        at += len(text)
    return wat(f"""
    (module
      (import "durable" "call" (func $call (param i32 i32 i32 i32) (result i32)))
      (import "durable" "answer" (func $answer (param i32)))
      (memory (export "memory") 1)
      {" ".join(data)}
      (global $sum (mut i32) (i32.const 0))
      (func $one (param $at i32) (param $name i32) (param $args i32) (local $size i32)
        (local.set $size (call $call (local.get $at) (local.get $name)
          (i32.add (local.get $at) (local.get $name)) (local.get $args)))
        (if (i32.lt_s (local.get $size) (i32.const 0)) (then unreachable))
        (call $answer (i32.const 0))
        (loop $each
          (if (local.get $size) (then
            (local.set $size (i32.sub (local.get $size) (i32.const 1)))
            (global.set $sum (i32.add (i32.mul (global.get $sum) (i32.const 31)) (i32.load8_u (local.get $size))))
            (br $each)))))
      (func (export "run") (result i32) {" ".join(made)} (global.get $sum)))
    """)


MODULE = asking(_CALLS)


def charging(directory: Path, die_at: int) -> durable.Capability:
    """`charge` has an effect outside; where told to, the engine is killed right after that."""

    @durable.capability
    def charge(amount: int) -> str:
        with (directory / LEDGER).open("a") as ledger:
            ledger.write(f"{durable.call_id()} {amount}\n")
            ledger.flush()
            os.fsync(ledger.fileno())
        if die_at == amount:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"charged {amount}"

    found: durable.Capability = charge
    return found


async def die_after(engine: durable.Engine, call: str) -> None:
    """As soon as that call's promise is settled."""
    while True:
        changed = engine.changed()
        row = await engine.store.reads.get_promise(f"exec:{EXECUTION}:{call}")
        if row is not None and row.state != "pending":
            os.kill(os.getpid(), signal.SIGKILL)
        await changed


async def main(directory: Path, after_effect: int, after_record: str) -> None:
    """Run it; die after the effect of that charge, or as soon as that promise is settled."""
    async with durable.open(directory / "work.db", capabilities=[charging(directory, after_effect)]) as engine:
        components = Components(engine._house, Runtime(directory / "compiled"))
        await components.add(parse_component(MANIFEST), MODULE)
        death = asyncio.create_task(die_after(engine, after_record)) if after_record else None
        await components.call("six", "run", execution_id=EXECUTION)
        await asyncio.wait_for(death or asyncio.sleep(0), 30)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
