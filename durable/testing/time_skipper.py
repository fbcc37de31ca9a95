"""Skips to the next timer when nothing else can go on, and says so when nothing ever will (specs/testing.md)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreRefused
from durable.prompts import reminders
from durable.testing.errors import ScriptFailed, Stuck
from durable.testing.scripted_replies import open_waits

if TYPE_CHECKING:
    from durable.testing.engine_under_test import EngineUnderTest

STILL_TURNS = 12
"""Turns of the loop without anything new after which an engine is idle."""

LOOK_S = 0.0005
"""Between two looks at an engine that is not."""

SKIPS_MAX = 10_000
"""Timers that one wait skips to: a function that looks again and again for what never comes is told of."""

HORIZON_MS = 100 * 366 * 86_400_000
"""The fake time that one wait may take: a schedule that goes on for ever is no hope for what is stuck."""


class TimeSkipper:
    """Lets time pass for one engine, as long as somebody waits for a result of it."""

    def __init__(self, engine: EngineUnderTest) -> None:
        self._engine = engine
        self._time = engine.time
        self._wanted = asyncio.Event()
        engine.tested_store.on_waiting = self._wanted.set
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Let no more time pass."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until_idle(self) -> None:
        """Return when nothing goes on in any engine of this time: all that is left waits."""
        turns, seen = 0, -1
        while turns < STILL_TURNS:
            await asyncio.sleep(0)
            engines = self._time.engines
            calm = all(each.is_calm for each in engines)
            requests = sum(each.tested_store.requests for each in engines)
            turns = turns + 1 if calm and requests == seen else 0
            seen = requests
            if not calm or (turns and len(engines) > 1):  # others are told of a commit through a socket
                await asyncio.sleep(LOOK_S)

    async def advance(self, until_ms: int) -> None:
        """Let time pass until then, from one timer to the next."""
        while True:
            await self.until_idle()
            acted, due_ms = await self._next()
            if acted:
                continue
            if due_ms > until_ms:
                break
            await self._move(due_ms)
        await self._move(until_ms)
        await self.until_idle()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            error = await self._skip()
            if error is not None:
                for waiter in self._engine.tested_store.waiting:
                    if not waiter.done():
                        waiter.set_exception(error)

    async def _skip(self) -> Exception | None:
        """Skip until nobody waits any more; the error of what never comes."""
        began_ms, skips = self._time.now_ms(), 0
        while self._engine.tested_store.waiting:
            await self.until_idle()
            if not self._engine.tested_store.waiting:
                break
            try:
                acted, due_ms = await self._next()
            except Exception as error:
                failed = ScriptFailed(f"what the script gives was refused: {error}")
                failed.__cause__ = error
                return failed
            if acted:
                continue
            skips += 1
            if due_ms >= TIME_MAX_MS or due_ms > began_ms + HORIZON_MS or skips > SKIPS_MAX:
                return Stuck(await self._report(skips if due_ms < TIME_MAX_MS else None))
            await self._move(due_ms)
        return None

    async def _next(self) -> tuple[bool, int]:
        """Whether the script brought something; else when the next timer is."""
        now = self._time.now_ms()
        times: list[float] = []
        for engine in self._time.engines:
            acted, at_ms = await engine.script.act(engine, now)
            if acted:
                return True, now
            times.append(TIME_MAX_MS if at_ms is None else at_ms)
            times.append(engine.tested_store.next_due_ms(now))
        for prompt in await self._engine.prompts():
            times.append(reminders.next_ms(prompt, now))
        if self._time.next_sleeper_ms is not None:
            times.append(self._time.next_sleeper_ms)
        return False, max(now, int(min(*times, TIME_MAX_MS)))

    async def _move(self, until_ms: int) -> None:
        self._time.move_to(until_ms)
        with suppress(StoreRefused):
            await self._engine.store.request("engine.list", {})

    async def _report(self, skips: int | None) -> str:
        """The open waits, and why nothing brings them."""
        lines = []
        for wait in await open_waits(self._engine, others=True):
            lines.append(f"{wait.execution} waits for {_wanted(wait.kind, wait.name, wait.id)}")
        for row in await self._engine.executions(state="interrupted", limit=100):
            lines.append(f"{row.id} is halted: {row.note or row.last_error}")
        for row in await self._engine.executions(state="pending", limit=100):
            lines.append(f"{row.id} is served by no engine: import the module that defines {row.function}")
        why = "no timer is left" if skips is None else f"{skips} timers brought nothing new"
        found = "\n".join(f"  - {line}" for line in lines) or "  - nothing that waits was found"
        return f"what is waited for never comes: {why}, and\n{found}"


def _wanted(kind: str, name: str, promise_id: str) -> str:
    if kind == "question":
        return f"an answer to {name!r}: give testing.open(answers={{{name!r}: …}}), or engine.answer({promise_id!r}, …)"
    if kind == "signal":
        return f"the signal {name!r}: give testing.open(signals={{{name!r}: …}}), or engine.signal(…, {name!r}, …)"
    return f"the promise {promise_id}: give testing.open(promises=…), or engine.settle({promise_id!r}, …)"
