"""Telling of questions in this process: callbacks, told of each notice once (specs/prompt.md, Channels)."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from durable.core.clock import Clock, is_replaced, now_ms
from durable.core.events import BackgroundFailed, Observer
from durable.core.limits import NOTICE_PAUSE_FACTOR, NOTICE_PAUSE_S_MAX, NOTICE_WAIT_S
from durable.prompts.inbox import Inbox
from durable.prompts.reminders import due, next_ms, notice_id

if TYPE_CHECKING:
    from durable.prompts.open_prompt import OpenPrompt

type Told = Callable[[OpenPrompt], Awaitable[None] | None]


class PromptChannel:
    """Calls back for each question, those that are open already first, and at the times of its reminders and
    escalation. What a callback raises is observed, no more."""

    def __init__(
        self,
        prompts: Inbox,
        changed: Callable[[], asyncio.Future[None]],
        callback: Told,
        observer: Observer,
        clock: Clock = now_ms,
    ) -> None:
        self._prompts = prompts
        self._changed = changed
        self._callback = callback
        self._observe = observer
        self._clock = clock
        self._told: set[str] = set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            change = self._changed()
            wait_s: float = NOTICE_WAIT_S
            began = time.monotonic()
            try:
                found = await self._prompts.open()
            except Exception as error:  # the store closes, or cannot be reached: looked at again
                self._observe(BackgroundFailed("prompts", repr(error)))
                looked_s = 0.0
            else:
                looked_s = time.monotonic() - began
                now = self._clock()
                await self._tell_due(found, now)
                next_at = min((next_ms(prompt, now) for prompt in found), default=float("inf"))
                wait_s = min(wait_s, max(0.001, (next_at - self._clock()) / 1000))
            # Where much is open and much changes, looking must not be all that this process does.
            pause_s = min(NOTICE_PAUSE_S_MAX, NOTICE_PAUSE_FACTOR * looked_s)
            pause_s = 0.0 if is_replaced() else pause_s  # a test's time may go on at once
            await asyncio.sleep(pause_s)
            await asyncio.wait([change], timeout=max(0.0, wait_s - pause_s))

    async def _tell_due(self, found: list[OpenPrompt], now: int) -> None:
        notices = {notice_id(notice): notice for prompt in found for notice in due(prompt, now)}
        self._told &= notices.keys()
        for id, notice in notices.items():
            if id not in self._told:
                self._told.add(id)
                await self._tell(notice)

    async def _tell(self, prompt: OpenPrompt) -> None:
        try:
            work = self._callback(prompt)
            if inspect.isawaitable(work):
                await work
        except Exception as error:
            self._observe(BackgroundFailed(f"on_prompt of {prompt.id}", repr(error)))

    def close(self) -> None:
        """Tell no more."""
        self._task.cancel()
