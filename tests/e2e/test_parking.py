"""An answer that comes while the session that waits for it is being ended: at each point of that, it is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.events import AttemptFailed, Event, WorkerStarted
from durable.sessions.execution.runner import LiveSession
from durable.sessions.ownership.idle_timer import Resting
from durable.sessions.ownership.session_worker import SessionWorker
from tests.waiting import first_prompt, until

FIRST = "import os\nkept = os.getpid()"
CELL = "answer = ask('Go on?')\n[answer, kept == os.getpid()]"


class Gate:
    """Holds whoever comes to it first until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()


def held(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, gate: Gate, *, after: bool) -> None:
    """Hold calls of an async method at the gate, before or after what it does."""
    real: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def gated(self: Any, *args: Any) -> Any:
        if not after:
            await gate()
        found = await real(self, *args)
        if after:
            await gate()
        return found

    monkeypatch.setattr(owner, name, gated)


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The timers of sessions at rest, which fire when a test calls them."""
    found: list[Callable[[], None]] = []
    real = Resting.after

    def after(self: Resting, seconds: float, end: Callable[[], Awaitable[None] | None]) -> None:
        real(self, 3600 + seconds, end)
        timer = self._timer
        assert timer is not None

        def fire() -> None:
            if not timer.cancelled():
                work, given = timer._callback, timer._args  # type: ignore[attr-defined]
                timer.cancel()
                work(*given)

        found.append(fire)

    monkeypatch.setattr(Resting, "after", after)
    return found


POINTS = {
    "before it is ended": (SessionWorker, "end", False),
    "when its worker is gone": (SessionWorker, "end", True),
    "when it is forgotten": (LiveSession, "close", False),
    "when all of it is gone": (LiveSession, "close", True),
}


@pytest.mark.parametrize("point", POINTS)
async def test_an_answer_while_the_session_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: list[Callable[[], None]], point: str
) -> None:
    seen: list[Event] = []
    gate, taken_up = Gate(), asyncio.Event()
    async with durable.open(tmp_path / "work.db", durability="process", observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute(FIRST)
        execution = await session.submit(CELL)
        prompt = await first_prompt(engine)
        await until(engine, lambda: is_waiting(execution))
        held(monkeypatch, *POINTS[point][:2], gate, after=POINTS[point][2])
        due[-1]()
        await gate.reached.wait()
        run = LiveSession.run

        async def noticed(self: LiveSession, *args: Any, **options: Any) -> Any:
            asyncio.get_running_loop().call_soon(taken_up.set)  # it has gone as far as it can
            return await run(self, *args, **options)

        monkeypatch.setattr(LiveSession, "run", noticed)
        await engine.answer(prompt.id, "yes")
        await taken_up.wait()
        gate.opened.set()
        answer, kept = (await execution.result(timeout=30))["value"]
        assert answer == "yes"
        assert not kept or point == "before it is ended"  # where its code may come to its end just before that
        asked = await engine.store.reads.children(execution.id)
        assert [row.id for row in asked if row.tags.get("durable:capability") == "input"] == [prompt.id]
        assert [event for event in seen if isinstance(event, AttemptFailed)] == []
        assert sum(isinstance(event, WorkerStarted) for event in seen) == (1 if kept else 2)


async def test_an_answer_before_the_session_is_ended(tmp_path: Path, due: list[Callable[[], None]]) -> None:
    """Its timer fires too late, in the same breath: the worker goes on."""
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        session = await engine.session("desk")
        await session.execute(FIRST)
        execution = await session.submit(CELL)
        prompt = await first_prompt(engine)
        await until(engine, lambda: is_waiting(execution))
        park = due[-1]
        await engine.answer(prompt.id, "yes")
        assert (await execution.result(timeout=30))["value"] == ["yes", True]
        park()
        assert (await session.execute("kept == os.getpid()")).value is True


async def test_a_session_at_rest_is_forgotten_and_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: list[Callable[[], None]]
) -> None:
    """Also by a cell that comes while it is ended for want of work, and by unjournaled code."""
    gate = Gate()
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        held(monkeypatch, SessionWorker, "end", gate, after=True)
        due[-1]()
        await gate.reached.wait()
        running = await session.submit("x += 1")
        gate.opened.set()
        await running.result(timeout=30)
        gone = asyncio.Event()
        close = LiveSession.close

        async def closed(self: LiveSession) -> None:
            await close(self)
            gone.set()

        monkeypatch.setattr(LiveSession, "close", closed)
        due[-1]()
        await gone.wait()
        assert not engine.host.here("desk")
        assert engine.workers.live == 0
        assert (await session.execute("x", journal=False)).value == 2


async def is_waiting(execution: durable.Execution[Any]) -> bool:
    return await execution.state() == "waiting"
