"""The engine that `sandbox_kills` kills: foreign code with six host calls, by each way in.

Points (`killing.point`): before and after the statement that makes a call's promise, after its effect, before and after
the one that settles it, after its answer was taken up, and after the code's end. An effect is a line in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["KILLING_ENGINE"] = str(os.getpid())

import durable
from capabilities.capability import Capability
from capabilities.permissions.manifest import read_manifest
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.front import Front
from capabilities.sandbox.host_calls import HostCall
from capabilities.sandbox.limits import MIB, SandboxLimits
from capabilities.sandbox.wasm.runtime import wat
from durable.sandbox import wasm_instance
from durable.sandbox.components import Components
from durable.sandbox.sandbox_calls import SandboxCalls
from tests.e2e import killing
from tests.e2e.sandboxed import LEDGER, asking

EXECUTION = "killed"
GRANTS = ["charge", "refund"]
CALLS = [("charge", 1), ("refund", 2), ("charge", 3), ("refund", 4), ("charge", 5), ("charge", 6)]
COUNTER = wat("""
(module
  (import "durable" "call" (func $call (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "charge{\\"amount\\":1}")
  (global $total (mut i32) (i32.const 0))
  (func $take (param $n i32)
    (global.set $total (i32.add (global.get $total) (local.get $n)))
    (i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (local.get $n)))
    (if (i32.ne (i32.load (i32.const 2048)) (global.get $total)) (then unreachable)))
  (func (export "add") (param $n i32) (result i32)
    (call $take (i32.shr_u (local.get $n) (i32.const 1)))
    (if (i32.lt_s (call $call (i32.const 1024) (i32.const 6) (i32.const 1030) (i32.const 12)) (i32.const 0))
      (then unreachable))
    (call $take (i32.sub (local.get $n) (i32.shr_u (local.get $n) (i32.const 1))))
    (global.get $total))
  (func (export "break") (call $take (i32.const 1000)) unreachable))
""")
"""`add` keeps a sum in its memory and in a global, half of it before it asks its host; `break` fails half way."""
MODULE = asking([(name, json.dumps({"amount": amount})) for name, amount in CALLS])
SIX = SandboxLimits(fuel=100_000, timeout_ms=60_000, memory=MIB)
EVERYTHING = SandboxLimits(fuel=None, timeout_ms=60_000, memory=64 * MIB)
MAY = {
    "grant": ["now", "random"],
    "filesystem": {"read": ["**"], "write": ["notes/*"], "list": ["**"]},
    "storage": {"max_size_mb": 1},
}
_LISTED = ", ".join(f"[{name}, {amount}]" for name, amount in CALLS)
_BEGUN = ", ".join(f"{name}({amount})" for name, amount in CALLS)
SEQUENTIAL = f"""
let sum = 0;
for (const [ask, amount] of [{_LISTED}]) {{
  const got = await ask(amount);
  console.log(got);
  sum = sum * 31 + got;
}}
sum
"""
AT_ONCE = f"const got = await Promise.all([{_BEGUN}]); console.log(got.join()); got"
KEPT = """
for (const n of [1, 2, 3]) { await kv.set('k' + n, n); console.log(await kv.get('k' + n)) }
'kept'
"""


@durable.capability
def charge(amount: int) -> int:
    return amount * 7 + 1


@durable.capability
def refund(amount: int) -> int:
    return amount * 11


@durable.function
async def sandboxes(ctx: durable.Context, code: str, language: str) -> Any:
    limits = SIX if language == "wasm" else None
    ran = asdict(await ctx.sandbox(code, language=language, limits=limits, grants=GRANTS))
    return [ran["value"], ran["stdout"], ran["fuel"]]


@durable.function
async def calls_component(ctx: durable.Context, component: str, function: str, args: list[Any]) -> Any:
    return await ctx.component(component, function, *args)


@durable.function
async def counts(ctx: durable.Context) -> list[int]:
    return [await ctx.component("counter", "add", n, instance="a") for n in range(1, 7)]


async def run(engine: durable.Engine, code: str | bytes, language: str) -> Any:
    limits = SIX if language == "wasm" else None
    ran = await engine.sandbox.run(code, language=language, limits=limits, grants=GRANTS, execution=EXECUTION)
    return [ran.value, ran.stdout, ran.fuel]


async def in_function(engine: durable.Engine, function: Any, *args: Any) -> Any:
    return await (await engine.start(function, *args, id=EXECUTION)).result()


async def module_called(engine: durable.Engine) -> Any:
    found = await engine.sandbox.call("six", "run", execution=EXECUTION)
    return [found.value, found.used.fuel]


async def component_called(engine: durable.Engine) -> Any:
    found = await engine.sandbox.call("everything", "remembers", "grüß", execution=EXECUTION)
    return [await recorded(engine, EXECUTION, list(found.value)), found.used.fuel]


async def component_in_function(engine: durable.Engine) -> Any:
    value = await in_function(engine, calls_component, "everything", "remembers", ["grüß"])
    return await recorded(engine, f"{EXECUTION}.1", value)


async def recorded(engine: durable.Engine, execution: str, value: list[Any]) -> list[Any]:
    """Its time and its chance are those of the record, whatever run made that."""
    gives: dict[str, Callable[[float], float]] = {"now": lambda seconds: int(seconds * 1000), "random": float}
    for place, (call, given) in enumerate(gives.items()):
        row = await engine.store.reads.get_promise(f"exec:{execution}:{call}:1")
        assert row is not None
        assert given(row.value) == value[place], (row.value, value[place])
    content = value[3]
    return [*value[2:3], len(content), *value[4:]]


type Case = Callable[[durable.Engine], Awaitable[Any]]
TEXT = "wasm_base64:"


def text(module: bytes) -> str:
    import base64

    return TEXT + base64.b64encode(module).decode()


CASES: dict[str, Case] = {
    "javascript, run": lambda engine: run(engine, SEQUENTIAL, "javascript"),
    "javascript, ctx.sandbox": lambda engine: in_function(engine, sandboxes, SEQUENTIAL, "javascript"),
    "javascript at once, run": lambda engine: run(engine, AT_ONCE, "javascript"),
    "javascript at once, ctx.sandbox": lambda engine: in_function(engine, sandboxes, AT_ONCE, "javascript"),
    "module, run": lambda engine: run(engine, MODULE, "wasm"),
    "module, ctx.sandbox": lambda engine: in_function(engine, sandboxes, text(MODULE), "wasm"),
    "module, call": module_called,
    "module, ctx.component": lambda engine: in_function(engine, calls_component, "six", "run", []),
    "instance, ctx.component": lambda engine: in_function(engine, counts),
    "component, call": component_called,
    "component, ctx.component": component_in_function,
}
COMMAND = "javascript, durable sandbox run"


def watch(directory: Path) -> None:
    """Make what the host calls come by points, and performing one an effect."""
    killing._role = "engine"
    request, perform, answer = SandboxCalls._request, Capability.perform, SandboxCalls.answer
    front, component, instance = Front.run, Components.call, wasm_instance.call_instance

    async def requested(self: SandboxCalls, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        name = f"{kind} {data['id'].removeprefix('exec:')}"
        killing.point(f"before {name}")
        found = await request(self, kind, data)
        killing.point(f"after {name}")
        return found

    async def performed(self: Capability, call: Any, run_sync: Any) -> Any:
        found = await perform(self, call, run_sync)
        ledger = os.open(directory / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(ledger, f"{call.key} {json.dumps(call.arguments, default=repr)}\n".encode())
        os.close(ledger)
        killing.point(f"effect of {call.key.removeprefix('exec:')}")
        return found

    async def answered(self: SandboxCalls, call: HostCall) -> Any:
        found = await answer(self, call)
        killing.point(f"answer of {call.capability}")
        return found

    async def ran(*args: Any, **options: Any) -> Any:
        found = await front(*args, **options)
        killing.point("end")
        return found

    async def called(*args: Any, **options: Any) -> Any:
        found = await component(*args, **options)
        killing.point("end")
        return found

    async def called_instance(*args: Any, **options: Any) -> Any:
        found = await instance(*args, **options)
        killing.point("end")
        return found

    SandboxCalls._request = requested  # type: ignore[method-assign]
    SandboxCalls.answer = answered  # type: ignore[method-assign]
    Capability.perform = performed  # type: ignore[method-assign]
    Front.run = ran  # type: ignore[method-assign]
    Components.call = called  # type: ignore[method-assign]
    wasm_instance.call_instance = called_instance


async def main(directory: Path, case: str, component: str) -> None:
    watch(directory)
    async with durable.open(directory / "work.db", capabilities=[charge, refund]) as engine:
        if case.startswith("module"):
            await engine.sandbox.add(ComponentManifest("six", SIX, read_manifest({"grant": GRANTS})), MODULE)
        if case.startswith("instance"):
            manifest = ComponentManifest("counter", SIX, read_manifest({"grant": ["charge"]}))
            await engine.sandbox.add(manifest, COUNTER)
        if component:
            manifest = ComponentManifest("everything", EVERYTHING, read_manifest(MAY))
            await engine.sandbox._known().add(manifest, await asyncio.to_thread(Path(component).read_bytes), NOTHING)
        found = await asyncio.wait_for(CASES[case](engine), 60)
    print(json.dumps(found))


def _nothing(*_: Any) -> Any:
    raise AssertionError("it is not called")


class Note:
    """The component imports such a resource; this export of it never asks for one."""


NOTHING = {
    "test:everything/host@0.1.0": {"note": Note, "[method]note.text": _nothing, "open": _nothing, "ask": _nothing}
}


def command(directory: Path) -> int:
    """`durable sandbox run --execution`, in this process."""
    from durable.cli.command_group import run as cli

    watch(directory)
    (directory / "kept.js").write_text(KEPT)
    given = ["--grant", "kv", "--execution", EXECUTION, "--store", str(directory / "work.db")]
    return cli(["sandbox", "run", str(directory / "kept.js"), "--language", "javascript", *given])


if __name__ == "__main__":
    if sys.argv[2] == COMMAND:
        raise SystemExit(command(Path(sys.argv[1])))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
