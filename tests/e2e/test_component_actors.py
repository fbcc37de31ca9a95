"""Core modules as durable actors: state by snapshot, traps ask the supervisor (specs/actors.md, W1-W4)."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable
from capabilities.permissions.manifest import read_manifest
from capabilities.sandbox.component_manifest import ComponentManifest
from tests.e2e.sandbox_kills_job import COUNTER, SIX, charge, refund

GRANTED = ComponentManifest("counter", SIX, read_manifest({"grant": ["charge"]}))
Counter = durable.component_actor(
    "counter", supervise=durable.Supervise(max_restarts=1, backoff="immediate", exhausted="drop")
)

pytestmark = pytest.mark.usefixtures("cached")


async def test_an_instance_lives_on_through_traps_and_engines(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", capabilities=[charge, refund]) as engine:
        await engine.sandbox.add(GRANTED, COUNTER)
        counter = engine.actor(Counter, "a")
        assert [await counter.invoke("add", n) for n in (1, 2)] == [1, 3]
        assert await engine.actor(Counter, "b").invoke("add", 50) == 50
        with pytest.raises(durable.ComponentTrapped, match="unreachable"):
            await counter.invoke("break")
        info = await engine.actors.get(Counter, "a")
        assert (info.status, info.restarted, info.waiting) == ("running", 1, 0)
        (letter,) = await engine.actors.dead_letters(Counter, "a")
        assert (letter.method, letter.args) == ("invoke", ["break"])
        with pytest.raises(durable.ExecutionFailed, match="no function of this name"):
            await counter.invoke("steal")
    async with durable.open(tmp_path / "work.db", capabilities=[charge, refund]) as engine:
        await engine.sandbox.add(GRANTED, COUNTER)
        assert await engine.actor(Counter, "a").invoke("add", 3) == 6
