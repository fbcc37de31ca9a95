"""A core module with six host calls goes on where it was ended, whatever ended it (specs/sandbox.md, R1-R5)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.sandbox.component_manifest import parse_component
from capabilities.sandbox.errors import CapabilityDenied, ComponentNotFound, ComponentTrapped, HostError
from capabilities.sandbox.host_calls import CallFailed, HostCall
from capabilities.sandbox.wasm.module_call import CoreCall, Outcome
from capabilities.sandbox.wasm.runtime import Module, Runtime
from durable.core.errors import NonDeterminism
from durable.sandbox.components import Components
from durable.sandbox.sandbox_calls import SandboxCalls
from durable.sessions.calls.audit import read_audit
from tests.e2e.sandboxed import EXECUTION, LEDGER, MANIFEST, MODULE, charging
from tests.warm_python import PYTHON

ROOT = Path(__file__).parents[2]
CALLS = ["random:1", "charge:1", "kv:1", "charge:2", "kv:2", "charge:3"]


async def process(directory: Path, *args: str) -> int:
    run = await asyncio.create_subprocess_exec(PYTHON, "-m", "tests.e2e.sandboxed", str(directory), *args, cwd=ROOT)
    return await run.wait()


async def test_killed_twice_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    killed = -signal.SIGKILL
    assert await process(tmp_path, "2") == killed
    assert await process(tmp_path, "0", "kv:2") == killed
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        components = Components(engine._house, Runtime(tmp_path / "compiled"))
        await components.add(parse_component(MANIFEST), MODULE)
        first = await components.call("six", "run", execution_id=EXECUTION)
        # Killed between effect and record it is performed again, with the same key; once recorded, never.
        ledger = [f"exec:six:charge:{n} {n}" for n in (1, 2, 2, 3)]
        assert (tmp_path / LEDGER).read_text().splitlines() == ledger
        rows = [await engine.store.reads.get_promise(f"exec:{EXECUTION}:{call}") for call in CALLS]
        assert {row.state for row in rows if row is not None} == {"resolved"}
        again = await components.call("six", "run", execution_id=EXECUTION)
        assert (again.value, again.used.fuel) == (first.value, first.used.fuel)
        await components.close()
        components.runtime.close()
    assert (tmp_path / LEDGER).read_text().splitlines() == ledger


@pytest.fixture
async def components(tmp_path: Path) -> AsyncIterator[Components]:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        made = Components(engine._house, Runtime(tmp_path / "compiled"))
        await made.add(parse_component(MANIFEST), MODULE)
        yield made
        await made.close()
        made.runtime.close()


class Ended(Exception):
    """The run ends here."""


async def run(components: Components, execution: str, ends_at: int) -> tuple[Outcome, SandboxCalls]:
    """Run it in a fresh instance, to the answer of that host call (the code never gets it), or to its end."""
    known = components.get("six")
    calls = SandboxCalls(known.permits, execution, known.meter)
    count = 0

    def port(call: HostCall) -> Future[Any]:
        nonlocal count
        count += 1
        if count == ends_at:
            calls.port(call).result(10)
            raise Ended
        return calls.port(call)

    assert isinstance(known.code, Module)
    call = CoreCall(components.runtime, known.code, known.manifest.limits, port=port)
    return await components.runtime.threads.run(lambda: call.call("run")), calls


async def test_ended_at_each_call_it_performs_each_once(components: Components, tmp_path: Path) -> None:
    for point in range(1, len(CALLS) + 1):
        with pytest.raises(HostError) as ended:
            await run(components, "cut", point)
        assert isinstance(ended.value.__cause__, Ended)
    again, calls = await run(components, "cut", 0)
    assert calls.replayed == len(CALLS)
    once_more, _ = await run(components, "cut", 0)
    assert (again.value, again.used.fuel) == (once_more.value, once_more.used.fuel)
    ledger = (tmp_path / LEDGER).read_text().splitlines()
    assert [line for line in ledger if "exec:cut:" in line] == [f"exec:cut:charge:{n} {n}" for n in (1, 2, 3)]


async def test_another_way_to_the_same_call_is_no_replay(components: Components) -> None:
    await run(components, "way", 0)
    known = components.get("six")
    calls = SandboxCalls(known.permits, "way", known.meter)
    with pytest.raises(NonDeterminism, match=r"this call after \d+ units of fuel, the code now does it after 5"):
        await calls.answer(HostCall("random", "", {}, fuel=5))
    other = SandboxCalls(known.permits, "way", "another wasmtime")
    await other.answer(HostCall("random", "", {}, fuel=5))
    with pytest.raises(NonDeterminism, match="other arguments"):
        await other.answer(HostCall("charge", "", {"amount": 2}, fuel=5))


async def test_a_replay_that_differs_stops_the_code_as_itself(components: Components) -> None:
    first = SandboxCalls(components.get("six").permits, "differs")
    await first.answer(HostCall("random", "", {}))
    await first.answer(HostCall("charge", "", {"amount": 99}))
    with pytest.raises(NonDeterminism):
        await components.call("six", "run", execution_id="differs")


async def test_what_is_not_granted_ends_the_code_and_stays_denied(components: Components) -> None:
    poor = MANIFEST.replace("[permissions.storage]\nmax_size_mb = 1", "").replace('id = "six"', 'id = "poor"')
    await components.add(parse_component(poor), MODULE)
    with pytest.raises(CapabilityDenied, match=r"poor may not kv\.set: kv is not granted") as denied:
        await components.call("poor", "run", execution_id="denied")
    assert (denied.value.component, denied.value.action) == ("poor", "kv.set")
    assert denied.value.used.fuel
    # It was recorded as denied: a manifest that allows it by now changes nothing for this execution.
    rich = MANIFEST.replace('id = "six"', 'id = "poor"')
    await components.add(parse_component(rich), MODULE)
    with pytest.raises(CapabilityDenied, match="kv is not granted"):
        await components.call("poor", "run", execution_id="denied")
    entries = await read_audit(components._house.store, "component/poor", 100, None)
    assert [(entry.what, entry.verdict) for entry in entries if entry.verdict == "denied"] == [("kv.set", "denied")]


async def test_errors_of_a_call_are_told_to_the_code(components: Components) -> None:
    await components.add(parse_component(MANIFEST.replace('id = "six"', 'id = "other"')), MODULE)
    calls = SandboxCalls(components.get("six").permits, "quota")
    await calls.answer(HostCall("kv", "set", {"key": "a", "value": "x" * 900_000}))
    with pytest.raises(CallFailed, match="ResourceExceeded: storage"):
        await calls.answer(HostCall("kv", "set", {"key": "b", "value": "x" * 200_000}))
    usage = await calls.answer(HostCall("kv", "usage", {}))
    assert usage == {"used": 900_003, "quota": 2**20, "keys": 1}
    # The same keys of another component are others.
    theirs = SandboxCalls(components.get("other").permits, "theirs")
    assert await theirs.answer(HostCall("kv", "get", {"key": "a"})) is None
    await calls.answer(HostCall("kv", "set", {"key": "b", "value": "x" * (2**20 - 900_003 - 4)}))
    # A core module that does not look at the sign of what it gets traps by itself.
    with pytest.raises(ComponentTrapped, match="unreachable"):
        await components.call("six", "run", execution_id="fails")


async def test_a_component_that_nobody_registered(components: Components) -> None:
    with pytest.raises(ComponentNotFound, match="no component 'seven' is known to this engine; known: six"):
        await components.call("seven", "run", execution_id="x")
