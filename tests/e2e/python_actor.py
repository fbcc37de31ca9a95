"""A component in Python as a durable actor: `python -m tests.e2e.python_actor`.

State, messages, requests, health, errors and the way back from its messages (specs/actors.md, W4-W12, H1-H6). The
component is built by componentize-py and compiled, which takes a minute; so this is a command and no test.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import durable
from capabilities.permissions.manifest import read_manifest
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.limits import MIB, SandboxLimits
from tests.components.building import SOURCES, build
from tests.e2e.test_component_actors import until

LIMITS = SandboxLimits(fuel=None, timeout_ms=30_000, memory=64 * MIB)
"""CPython needs more memory than a manifest in TOML may allow."""
MANIFEST = ComponentManifest("notebook", LIMITS, read_manifest({"messaging": {"send": ["notebook/*"]}}))
CHECKS = durable.HealthChecks(every=60, timeout=20, failures=1)
Notebook = durable.component_actor(
    "notebook", supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="drop", health=CHECKS)
)
NAME = "actor~notebook~a"


async def first_life(store: Path, code: bytes) -> None:
    """Messages, a Python exception, an explicit save, an unhealthy check, a request."""
    async with durable.open(store) as engine:
        await engine.sandbox.add(MANIFEST, code)
        notebook = engine.actor(Notebook, "a")
        assert [await notebook.handle_message("", line) for line in (b"one", b"two")] == [b"1", b"2"]
        await engine.actors.health_watch.check(NAME)
        health = await engine.actors.health(Notebook, "a")
        assert health is not None
        assert health.status != "unhealthy"
        try:
            await notebook.handle_message("", b"raise")
        except durable.ComponentTrapped:
            pass
        else:
            raise AssertionError("an exception in Python is a trap")
        assert await notebook.invoke("lines") == ["one", "two"]  # made again of its messages
        assert await notebook.handle_message("", b"save") is None
        assert await notebook.handle_message("", b"three") == b"3"
        await engine.actors.health_watch.check(NAME)
        health = await engine.actors.health(Notebook, "a")
        assert health is not None
        assert (health.status, health.reason) == ("unhealthy", "nobody signed")
        await notebook.handle_message("", b"ask notebook/b")


async def second_life(store: Path, code: bytes) -> float:
    """What it saved, what came since, and the answer to its request; the seconds of a message to a warm instance."""
    async with durable.open(store) as engine:
        await engine.sandbox.add(MANIFEST, code)
        notebook = engine.actor(Notebook, "a")
        found = await until(lambda: notebook.invoke("lines"), lambda lines: len(lines) == 4)
        assert found == ["one", "two", "three", "1"], found
        assert await engine.actor(Notebook, "b").invoke("lines") == ["notebook/a: how many?"]
        begun = time.perf_counter()
        for _ in range(50):
            await notebook.invoke("lines")
        return (time.perf_counter() - begun) / 50


def main() -> None:
    """The command line."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "notebook.wasm"
        build(SOURCES / "notebook", made)
        code, store = made.read_bytes(), Path(folder) / "work.db"
        asyncio.run(first_life(store, code))
        took_s = asyncio.run(second_life(store, code))
    print(f"a component in Python of {len(code) // MIB} MiB is an actor; a message takes {took_s * 1_000:.1f} ms")


if __name__ == "__main__":
    main()
