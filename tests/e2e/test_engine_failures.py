"""An error of the engine's own ends an attempt, which counts: three, then lost with that error (execution.md, A1)."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any

import pytest

import durable
from bridge.host.worker_session import WorkerSession
from capabilities.sandbox.front import Front
from durable.functions import dispatcher
from durable.functions.replay.function_pass import FunctionPass
from durable.functions.resonate.fence import Fence
from durable.functions.resonate.store_ports import StorePorts
from durable.records.stored_output import StoredCopy
from durable.sandbox.sandbox_calls import SandboxCalls
from durable.sessions.calls.journaled_calls import JournaledCalls
from durable.sessions.checkpoints import checkpoint_writer
from durable.sessions.execution import runner
from durable.sessions.ownership.owner import SessionHost
from tests.e2e.sandboxed import charging

ATTEMPTS = 3


pytestmark = pytest.mark.usefixtures("cached")


class Fault:
    """A part of the engine that raises, the first `times` that it is used in the scope of a test."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, times: int) -> None:
        self.met = 0
        before = getattr(owner, name)

        @functools.wraps(before)
        def faulty(*args: Any, **options: Any) -> Any:
            if self.met == times:
                return before(*args, **options)
            self.met += 1
            raise LookupError("a fault of the engine")

        patch.setattr(owner, name, faulty)


CELLS: dict[str, tuple[Any, str]] = {
    "taken up": (SessionHost, "_take"),
    "text made": (runner, "spoken"),
    "dispatched": (WorkerSession, "execute"),
    "printed": (StoredCopy, "add"),
    "called": (JournaledCalls, "_recorded"),
    "told what a call came to": (JournaledCalls, "_told"),
    "waits": (JournaledCalls, "waiting"),
    "watched": (JournaledCalls, "_wait_if_all"),
    "checkpoint sealed": (checkpoint_writer, "seal"),
    "outcome recorded": (StorePorts, "task_fulfill"),
}
STAGES = [
    *(("python", stage) for stage in CELLS),
    *(("javascript", stage) for stage in ("text made", "checkpoint sealed")),
]
CODE = {
    "python": "charge(5)\nprint('hi')\ntry:\n    ask = input('who?')\nexcept Exception:\n    ask = 'caught'\nask",
    "javascript": "charge(5); console.log('hi'); var ask; try { ask = input('who?') } catch { ask = 'caught' } ask",
}


UNANSWERED = ("waits", "watched")
"""What these need: answered, the next attempt would not wait."""


async def answered(engine: durable.Engine, value: str | None) -> None:
    while True:
        changed = engine.changed()
        for prompt in await engine.prompts() if value is not None else ():
            await engine.answer(prompt.id, value)
            return
        await changed


@pytest.mark.parametrize(("language", "stage"), STAGES)
async def test_a_cell_is_lost_after_three_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: Any, stage: str
) -> None:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        session = await engine.session("s", language=language, grants=["charge"])
        value = None if stage in UNANSWERED else "ana"
        answering = asyncio.create_task(answered(engine, value))
        with monkeypatch.context() as patch:
            fault = Fault(patch, *CELLS[stage], times=-1)
            result = await asyncio.wait_for(session.execute(CODE[language]), 60)
            assert isinstance(result.error, durable.ExecutionLost), result
            assert "a fault of the engine" in str(result.error)
            assert fault.met >= ATTEMPTS
        answering.cancel()
        # The session goes on, from what was recorded.
        answering = asyncio.create_task(answered(engine, "bo"))
        assert (await asyncio.wait_for(session.execute(CODE[language]), 60)).value == "bo"
        await answering


@pytest.mark.parametrize("stage", [*CELLS, "reply handled"])
async def test_a_fault_that_passes_costs_an_attempt_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        session = await engine.session("s", grants=["charge"])
        answering = asyncio.create_task(answered(engine, "ana"))
        # What the reply says is in the last checkpoint too: that is what the next attempt settles with.
        Fault(monkeypatch, *CELLS.get(stage, (runner, "outcome_from")), times=1)
        result = await asyncio.wait_for(session.execute(CODE["python"]), 60)
        assert (result.error, result.value, result.stdout) == (None, "ana", "hi\nwho?")
        await answering
    assert len((tmp_path / "ledger").read_text().splitlines()) == 1


FUNCTIONS: dict[str, tuple[Any, str]] = {
    "context made": (dispatcher, "Context"),
    "step begun": (FunctionPass, "local"),
    "step recorded": (Fence, "settle"),
    "child created": (StorePorts, "task_fence_create"),
    "suspended": (StorePorts, "task_suspend"),
    "outcome recorded": (StorePorts, "task_fulfill"),
    "sandbox run": (Front, "run"),
    "host call answered": (SandboxCalls, "_recorded"),
    "host call told": (SandboxCalls, "_told"),
}
SCRIPT = "let got; try { got = await charge(5) } catch { got = 'caught' } got"


def step() -> int:
    return 4


@durable.function
async def works(ctx: durable.Context, seconds: float) -> list[Any]:
    try:
        first = await ctx.run(step)
        ran = await ctx.sandbox(SCRIPT, language="javascript", grants=["charge"])
        await ctx.sleep(seconds)
    except Exception as error:
        return ["caught", repr(error)]
    return [first, ran.value]


@pytest.mark.parametrize("stage", FUNCTIONS)
@pytest.mark.parametrize("times", [-1, 1])
async def test_a_function_and_its_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, times: int
) -> None:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        fault = Fault(monkeypatch, *FUNCTIONS[stage], times=times)
        execution = await engine.start(works, 3600 if stage == "suspended" and times < 0 else 0.001, id="works")
        if times == 1:
            assert await asyncio.wait_for(execution.result(), 60) == [4, "charged 5"]
            return
        with pytest.raises(durable.ExecutionLost, match="a fault of the engine"):
            await asyncio.wait_for(execution.result(), 60)
        assert fault.met >= ATTEMPTS


async def test_a_sandbox_alone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        Fault(monkeypatch, SandboxCalls, "_told", times=1)
        with pytest.raises(durable.EngineFailed, match="a fault of the engine"):
            await engine.sandbox.run(SCRIPT, language="javascript", grants=["charge"], execution="alone")
        again = await engine.sandbox.run(SCRIPT, language="javascript", grants=["charge"], execution="alone")
        assert again.value == "charged 5"
    assert len((tmp_path / "ledger").read_text().splitlines()) == 1
