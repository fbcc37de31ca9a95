"""Telling of questions in this process: callbacks, told of each open question once (specs/prompt.md, Channels)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from durable.core.events import BackgroundFailed, Observer
from durable.prompts import OpenPrompt, Prompts

type Told = Callable[[OpenPrompt], Awaitable[None] | None]


class Channel:
    """Calls back for each question, those that are open already first. What a callback raises is observed, no more."""

    def __init__(
        self, prompts: Prompts, changed: Callable[[], asyncio.Future[None]], callback: Told, observer: Observer
    ) -> None:
        self._prompts = prompts
        self._changed = changed
        self._callback = callback
        self._observe = observer
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        told: set[str] = set()
        while True:
            change = self._changed()
            try:
                found = await self._prompts.open()
            except Exception as error:  # the store closes, or cannot be reached: the next change tells
                self._observe(BackgroundFailed("prompts", repr(error)))
                found = []
            for prompt in found:
                if prompt.id not in told:
                    told.add(prompt.id)
                    await self._tell(prompt)
            told &= {prompt.id for prompt in found}
            await asyncio.wait([change])

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
