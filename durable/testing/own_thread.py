"""A coroutine run to its end by a caller that may or may not have a running loop: in a thread, on a loop of its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any


def run_in_thread[T](main: Callable[[], T]) -> T:
    """The value of `main`, which a thread of its own runs in a copy of this context; what it raises is raised here."""
    outcome: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(main())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="durable-testing", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def run_apart[T](main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """As `run_in_thread`, for a coroutine function."""
    return run_in_thread(lambda: asyncio.run(main()))
