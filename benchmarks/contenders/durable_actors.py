"""Ours: durable actors, actors in memory, the router and the registry of the core, beside a one-step execution."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wasmtime import wat2wasm

import durable
from benchmarks.contenders.durable_functions import CONCURRENCY, one_step
from benchmarks.turns import Ready, Turn, at_concurrency, serve
from capabilities.actors.actor_registry import ActorRegistry
from capabilities.actors.router import Address, Router


@durable.actor(mailbox=None)
class Counter:
    total: int = 0

    async def add(self, ctx: durable.ActorContext, amount: int) -> int:  # noqa: ARG002
        self.total += amount
        return self.total


@durable.actor(durable=False, mailbox=None)
class MemoryCounter:
    total: int = 0

    async def add(self, ctx: durable.ActorContext, amount: int) -> int:  # noqa: ARG002
        self.total += amount
        return self.total


COMPONENT = """(component
  (core module $code (global $total (mut i32) (i32.const 0))
    (func (export "add") (param i32) (result i32)
      (global.set $total (i32.add (global.get $total) (local.get 0))) (global.get $total)))
  (core instance $i (instantiate $code)) (alias core export $i "add" (core func $add))
  (func $lifted (param "amount" u32) (result u32) (canon lift (core func $add))) (export "add" (func $lifted)))"""
MANIFEST = """component = { id = "counter" }
resources.memory.max_bytes = 1048576
resources.cpu = { max_fuel = 1000000, timeout_seconds = 5, quota_ms_per_s = 64000 }"""
ComponentCounter = durable.component_actor("counter", mailbox=None)
MemoryComponent = durable.component_actor("counter", name="MemoryComponent", durable=False, mailbox=None)
AT_ONCE = 100


def each(call: Callable[[], Any], size: int) -> list[float]:
    """Seconds of one call, of so many batches of a thousand."""
    samples = []
    for _ in range(size):
        started = time.perf_counter()
        for _ in range(1000):
            call()
        samples.append((time.perf_counter() - started) / 1000)
    return samples


def in_memory(engine: durable.Engine) -> dict[str, Turn]:
    """What is done with actors that no store has."""

    async def memory(size: int) -> list[float]:
        counter, started = engine.actor(MemoryCounter, "one"), time.perf_counter()
        for _ in range(100 * size):
            await counter.add(1)
        return [100 * size / (time.perf_counter() - started)]

    async def component_memory(size: int) -> list[float]:
        counter = engine.actor(MemoryComponent, "one")
        await engine.actors.start(MemoryComponent, "one")
        started = time.perf_counter()
        for _ in range(size):
            await asyncio.gather(*(counter.invoke("add", 1) for _ in range(AT_ONCE)))
        return [AT_ONCE * size / (time.perf_counter() - started)]

    async def spawn(size: int) -> list[float]:
        samples = []
        for number in range(size):
            started = time.perf_counter()
            await engine.actors.start(MemoryComponent, f"s{number}")
            samples.append(time.perf_counter() - started)
            await engine.actors.stop(MemoryComponent, f"s{number}")
            await engine.actors.restart(MemoryComponent, f"s{number}")
        return samples

    return {"memory": memory, "component_memory": component_memory, "spawn": spawn}


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    registry: ActorRegistry[Address] = ActorRegistry()
    registry.register("a", lambda _message: None)
    router = Router(registry)
    async with durable.open(directory / "state.db") as engine:

        async def turn(size: int) -> list[float]:
            counter, samples = engine.actor(Counter, "one"), []
            for _ in range(size):
                started = time.perf_counter()
                await counter.add(1)
                samples.append(time.perf_counter() - started)
            return samples

        async def execution(size: int) -> list[float]:
            samples = []
            for number in range(size):
                started = time.perf_counter()
                await (await engine.start(one_step, number)).result()
                samples.append(time.perf_counter() - started)
            return samples

        async def add(number: int) -> None:
            await engine.actor(Counter, f"k{number % CONCURRENCY}").add(1)

        async def keys(size: int) -> list[float]:
            started = time.perf_counter()
            await at_concurrency(CONCURRENCY, size, add)
            return [size / (time.perf_counter() - started)]

        async def component(size: int) -> list[float]:
            counter, samples = engine.actor(ComponentCounter, "one"), []
            for _ in range(size):
                started = time.perf_counter()
                await counter.invoke("add", 1)
                samples.append(time.perf_counter() - started)
            return samples

        async def route(size: int) -> list[float]:
            return each(lambda: router.send("a", None), size)

        async def lookup(size: int) -> list[float]:
            return each(lambda: registry.lookup("a"), size)

        about = f"durable-exec {version('durable-exec')}, SQLite"
        await engine.sandbox.add(MANIFEST, bytes(wat2wasm(COMPONENT)))
        turns: dict[str, Turn] = {"turn": turn, "execution": execution, "keys": keys, "route": route, "lookup": lookup}
        turns |= {"component": component}
        turns |= in_memory(engine)
        yield Ready(about, turns)


if __name__ == "__main__":
    serve(setup)
