"""What runs beside the receive loop: tracked, named, cancelled when the session ends, their errors told (P18)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from durable.core.events import BackgroundFailed, Observer


class Beside:
    """The tasks of one worker session that run now."""

    def __init__(self, name: str, observer: Observer) -> None:
        self._name = name
        self._observer = observer
        self._tasks: set[asyncio.Task[None]] = set()

    def track(self, coroutine: Coroutine[object, object, None], what: str) -> None:
        """Run it; an error is told to the observer."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}: {what}")
        self._tasks.add(task)
        task.add_done_callback(self.let_go)

    def let_go(self, task: asyncio.Task[None]) -> None:
        """A task is done: as a callback of tasks that are not cancelled with the session."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observer(BackgroundFailed(task.get_name(), repr(error)))

    def guarded(self, what: str, call: Callable[[], None]) -> None:
        """Call it on the receive loop; an error is told to the observer."""
        try:
            call()
        except Exception as error:
            self._observer(BackgroundFailed(f"{what} of session {self._name}", repr(error)))

    def cancel(self) -> None:
        """The session ended."""
        for task in self._tasks:
            task.cancel()
