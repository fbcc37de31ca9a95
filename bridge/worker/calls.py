"""What code asks the host: sending, waiting, and telling when nothing else can go on (specs/session.md, Calls)."""

from __future__ import annotations

import _thread
import ast
import asyncio
import builtins
import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any

from bridge.worker.blocked import sleeps_on_a_lock
from bridge.worker.channel import Channel, LoopWaiter, ThreadWaiter, Waiter
from bridge.worker.gate import Gate
from bridge.worker.inbound import Wire
from bridge.worker.values import NotJson, to_json

EXECUTION: ContextVar[str] = ContextVar("durable_execution", default="")
"""The execution that started the running task, or whose statement runs."""

SETTLE_MS = 10
"""How long calls made together may take to be reported together as waiting, and one may take to be answered (W7)."""

PEOPLE = "input"
"""The capability of every question to a person: never answered as soon as that."""

LOOK_MS_MAX = 1_000
"""Between two looks whether the main thread is asleep while other threads' calls are open."""

_OURS: dict[str, type[Exception]] = {
    "durable.BadArguments": TypeError,
    "durable.NotEncodable": TypeError,
    "durable.Denied": PermissionError,
    "durable.NotFound": LookupError,
}
"""What errors of the host are in the code that called it."""

_RAISES: dict[str, type[Exception]] = {"eof": EOFError, "timeout": TimeoutError, "denied": PermissionError}


class Execution:
    """What the calls of one execution count: per capability, since a statement began, and open ones; its mode."""

    def __init__(self, id: str, counters: dict[str, int]) -> None:
        self.id = id
        self.counters = counters
        self.mode = "simple_sync"
        self.warnings: list[str] = []
        self.called = False
        self.waited_s = 0.0
        self.open: dict[int, str] = {}
        """The capabilities of the calls that are open, by number."""
        self.reported: frozenset[int] = frozenset()


class Calls:
    """Sends calls, waits for their answers on whatever thread or loop asks, reports when nothing else can go on."""

    def __init__(self, channel: Channel, gate: Gate) -> None:
        self._channel = channel
        self._gate = gate
        self._lock = threading.RLock()
        self._number = 0
        self._main_waits = False
        self.current: Execution | None = None
        """The execution in flight."""
        self.last_id = ""
        self.forked = False
        self.bare_threads = False
        """Threads were started of which `threading.active_count` does not tell."""
        self.loop_sleeps: Callable[[], bool] = lambda: False
        """The session's loop waits without a time limit; set by the worker."""
        self._main_thread_id = threading.get_native_id()
        channel.while_leading = self._lead_plan

    def tag(self) -> str:
        """The id of the execution that the running code belongs to."""
        found = EXECUTION.get()
        if not found:
            found = getattr(threading.current_thread(), "durable_execution", "")
        return found or self.last_id

    # --- asking ----------------------------------------------------------------------------------------------

    def ask(self, capability: str, args: tuple[object, ...], kwargs: dict[str, object], method: str = "") -> object:
        """Ask and block this thread until the answer."""
        if threading.get_ident() == threading.main_thread().ident:
            waiter = Waiter()
            number = self._send(capability, method, args, kwargs, waiter, ordered=_outside_tasks())
            return self._finish(number, capability, self._wait_on_main, waiter)
        thread_waiter = ThreadWaiter()
        number = self._send(capability, method, args, kwargs, thread_waiter, ordered=False)
        return self._finish(number, capability, self._channel.wait_in_thread, thread_waiter)

    async def ask_in_loop(
        self, capability: str, args: tuple[object, ...], kwargs: dict[str, object], method: str = ""
    ) -> object:
        """Ask and let the running loop go on until the answer."""
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        self._channel.watch_in_loop(loop)
        try:
            number = self._send(capability, method, args, kwargs, waiter, ordered=False)
        except BaseException:
            self._channel.release_loop(loop)
            raise
        try:
            return _value_of(await waiter.future)
        except TimeoutError as error:
            self._note(error, number, capability)
            raise
        finally:
            if waiter.reply is None:
                self._channel.release_loop(loop)
            self._close(number)

    def _send(
        self,
        capability: str,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        waiter: Waiter,
        *,
        ordered: bool,
    ) -> int:
        if self.forked:
            raise RuntimeError(
                f"a forked child cannot call {capability}: only the session's own process can ask the host"
            )
        try:
            arguments = {"args": to_json(list(args)), "kwargs": to_json(kwargs)}
            if method:
                arguments["method"] = method
        except NotJson as error:
            raise TypeError(f"the arguments of {capability} must be plain JSON values; got {error}") from None
        execution_id = self.tag()
        with self._gate.masked(), self._lock:
            self._number += 1
            number = self._number
            current = self.current
            if current is not None and current.id == execution_id:
                current.counters[capability] = current.counters.get(capability, 0) + 1
                current.called = True
                current.open[number] = capability
            self._channel.expect(number, waiter)
            self._channel.send(
                {
                    "type": "call",
                    "execution_id": execution_id,
                    "call": number,
                    "capability": capability,
                    "arguments": arguments,
                    "ordered": ordered,
                }
            )
        self._wake_reporter()
        return number

    def _wake_reporter(self) -> None:
        """Whoever could say "waiting" looks again: there is one call more."""
        if self._main_waits:
            self._channel.wake_main()
        elif self.loop_sleeps():
            assert self._channel.main_loop is not None
            self._channel.main_loop.call_soon_threadsafe(lambda: None)
        else:
            self._channel.wake_leader()

    def _finish[W: Waiter](self, number: int, capability: str, wait: Callable[[W], Wire], waiter: W) -> object:
        try:
            return _value_of(wait(waiter))
        except TimeoutError as error:
            self._note(error, number, capability)
            raise
        finally:
            self._close(number)

    def _note(self, error: TimeoutError, number: int, capability: str) -> None:
        """Say which call it was that timed out (requirement P53)."""
        current = self.current
        where = "" if current is None else f" in execution {current.id} ({current.mode})"
        error.add_note(f"call {number} of {capability}{where} was not answered in time")

    def _close(self, number: int) -> None:
        with self._gate.masked(), self._lock:
            self._channel.forget(number)
            if self.current is not None:
                self.current.open.pop(number, None)

    # --- waiting ---------------------------------------------------------------------------------------------

    def _wait_on_main(self, waiter: Waiter) -> Wire:
        started = monotonic()
        self._main_waits = True
        try:
            while waiter.reply is None:
                if self.unreported():
                    if not self._channel.pump(self._settle_ms()) and waiter.reply is None:
                        self.report_waiting()
                else:
                    self._channel.pump(None)
            return waiter.reply
        finally:
            self._main_waits = False
            if self.current is not None:
                self.current.waited_s += monotonic() - started

    def unreported(self) -> bool:
        """There are open calls that the host has not been told of as waiting."""
        current = self.current
        return current is not None and bool(current.open) and current.open.keys() != current.reported

    def report_waiting(self) -> None:
        """Tell the host that only an answer can bring the code on."""
        current = self.current
        if current is None or not self.unreported():
            return
        with self._gate.masked(), self._lock:
            current.reported = frozenset(current.open)
            calls = sorted(current.reported)
            self._channel.send({"type": "waiting", "execution_id": current.id, "calls": calls})

    def loop_plan(self) -> tuple[float, Callable[[], None]] | None:
        """For the loop with nothing ready and no timer: settle, then report; None when there is nothing to report."""
        return (self._settle_ms() / 1000, self.report_waiting) if self.unreported() else None

    def _settle_ms(self) -> int:
        """Nothing where only people are asked, and there is no other thread that could ask for more."""
        if self.current is None or self.bare_threads or threading.active_count() > 1:
            return SETTLE_MS
        return 0 if all(name == PEOPLE for name in self.current.open.values()) else SETTLE_MS

    def loop_plan_in_thread(self) -> tuple[float, Callable[[], None]] | None:
        """The same for a loop of another thread, which cannot tell of the main thread unless that sleeps on a lock."""
        if not self.unreported() or not sleeps_on_a_lock(self._main_thread_id):
            return None
        return self.loop_plan()

    def _lead_plan(self, rounds: int) -> int | None:
        """For a thread that waits while the main thread is in other code: report when that is asleep on a lock."""
        if self._main_waits or not self.unreported():
            return None
        if rounds > 0 and sleeps_on_a_lock(self._main_thread_id) and not self.loop_sleeps():
            self.report_waiting()
            return None
        return min(SETTLE_MS << min(rounds, 8), LOOK_MS_MAX)


def _outside_tasks() -> bool:
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        return True


def _value_of(reply: Wire) -> object:
    error = reply["error"]
    if error is None:
        return reply["value"]
    message = error["exception_message"]
    raises = _RAISES.get(error["kind"])
    if raises is not None:
        raise raises(message)
    kind = error["exception_type"]
    raise _error_of(kind, message)


def _error_of(kind: str, message: str) -> Exception:
    """An error of the class that it had, where that is one of Python's; else a RuntimeError that names the class."""
    found = _OURS.get(kind) or getattr(builtins, kind, None)
    steers = (StopIteration, StopAsyncIteration, ExceptionGroup)  # generators, coroutines and `except*`
    if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, steers):
        try:
            return found(_key(message) if found is KeyError else message)
        except TypeError:  # one that takes more than a text
            pass
    return RuntimeError(message if kind == "" else f"{kind}: {message}")


def _key(message: str) -> object:
    """What a KeyError is about, whose text is the repr of that."""
    try:
        return ast.literal_eval(message)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return message


def tag_threads(calls: Calls, before: Callable[[], None], before_bare: Callable[[], None]) -> None:
    """Let a thread know the execution that started it: contextvars do not reach threads.

    `before` is called before any starts, `before_bare` before one that `threading` knows nothing of.
    """
    start, start_bare = threading.Thread.start, _thread.start_new_thread

    def tagged(self: threading.Thread) -> None:
        self.durable_execution = calls.tag()  # type: ignore[attr-defined]
        before()
        start(self)

    @functools.wraps(start_bare)
    def bare(*args: Any) -> int:
        calls.bare_threads = True
        before_bare()
        return start_bare(*args)

    threading.Thread.start = tagged  # type: ignore[method-assign]
    _thread.start_new_thread = _thread.start_new = bare
