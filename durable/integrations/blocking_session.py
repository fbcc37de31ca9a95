"""A session for code that knows no asyncio: each call waits, in another thread than that of the engine's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from datetime import timedelta
from os import PathLike
from typing import Any

from durable.core.errors import BadArguments
from durable.engine import engine
from durable.engine.engine import Engine
from durable.records.result import Result


def wait_in[T](loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], instead: str) -> T:
    """The result of a coroutine of a loop, in a thread that is not the loop's; who stops waiting cancels it.

    BadArguments in the loop's own thread, where it would wait for ever; `instead` says what to do there.
    """
    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is loop:
        coroutine.close()
        raise BadArguments(f"in the engine's own loop {instead}")
    found = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return found.result()
    except BaseException:
        found.cancel()
        raise


class _EngineThread:
    """An engine with a loop of its own, in a thread."""

    def __init__(self, store: str | PathLike[str]) -> None:
        opened: Future[tuple[Engine, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            try:
                async with engine.open(store) as opened_engine:
                    closing = asyncio.Event()
                    opened.set_result((opened_engine, asyncio.get_running_loop(), closing))
                    await closing.wait()
            except BaseException as error:
                if opened.done():
                    raise
                opened.set_exception(error)

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), name="durable engine", daemon=True)
        self._thread.start()
        self.engine, self.loop, self._closing = opened.result()

    def close(self) -> None:
        """Close the engine; what runs goes on when it is opened again."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()


def _loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise BadArguments(
            "an open engine is given where its loop runs, inside `async with durable.open(…)`; "
            "elsewhere give the store, and an engine is opened on it"
        ) from None


class BlockingSession:
    """Sessions of one engine.

    place: an open engine, which is used in other threads than its own, or the store that one is opened on.
    options: those of `engine.session`, for sessions that are made.
    """

    def __init__(self, place: Engine | str | PathLike[str], **options: Any) -> None:
        self._own = None if isinstance(place, Engine) else _EngineThread(place)
        if isinstance(place, Engine):
            self._engine, self._loop = place, _loop()
        else:
            assert self._own is not None
            self._engine, self._loop = self._own.engine, self._own.loop
        self._options = options

    def execute(self, session: str, code: str, *, timeout: float | timedelta | None = None, **inputs: Any) -> Result:
        """Run code in a session, and wait for it. Who stops waiting (Ctrl-C) stops the code."""

        async def run() -> Result:
            found = await self._engine.session(session, **self._options)
            return await found.execute(code, inputs=inputs, timeout=timeout)

        return wait_in(self._loop, run(), "run the agent in a thread: await asyncio.to_thread(agent.run, …)")

    def grants(self, session: str) -> tuple[str, ...]:
        """The grants of a session: what its code may call."""

        async def find() -> tuple[str, ...]:
            return (await self._engine.session(session, **self._options)).grants

        return wait_in(self._loop, find(), "run the agent in a thread: await asyncio.to_thread(agent.run, …)")

    def close(self) -> None:
        """Close the engine, where it was opened here."""
        if self._own is not None:
            self._own.close()


def told(result: Result) -> str:
    """The text that code printed, on both streams."""
    return result.stdout + (f"\n{result.stderr}" if result.stdout and result.stderr else result.stderr)
