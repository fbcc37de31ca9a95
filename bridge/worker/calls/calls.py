"""Calls of code to the host: sending, waiting, and telling when nothing else can go on (specs/session.md, Calls).

A thread counts as waiting when it sleeps until another one wakes it (specs/worker-protocol.md, W7)."""

from __future__ import annotations

import _thread
import ast
import asyncio
import builtins
import threading
from collections.abc import Callable
from functools import partial, wraps
from time import monotonic
from typing import Any

from bridge.lock_wait import waits_for_a_lock
from bridge.protocol.messages import Wire
from bridge.worker.io.channel import Channel, LoopWaiter, ThreadWaiter, Waiter
from bridge.worker.namespace.values import NotJson, to_json
from bridge.worker.run.sigint_gate import Gate


def sleeps_on_a_lock(thread_id: int) -> bool:
    """Whether the thread waits for a lock without a time limit, as in `thread.join()` or a pool's shutdown.

    False where the kernel does not tell (then only the main thread's own calls are reported as waiting).
    """
    try:
        return waits_for_a_lock("self", thread_id)
    except OSError:
        return False


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
"""The exceptions that errors of the host become in the code that called it."""

_RAISES: dict[str, type[Exception]] = {"eof": EOFError, "timeout": TimeoutError, "denied": PermissionError}


_HOLDS_UP = (
    "{0}() was called while no execution runs, from a callback that holds up the session's loop; call it from a "
    "coroutine as `await {0}(...)`, which waits for the next execution"
)


class _ExecutionEnded(Exception):
    """The host got a call after the execution that it is of had ended."""


class ExecutionCalls:
    """The calls of one execution, counted: per capability, since a statement began, and open ones; its mode."""

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
        self.current: ExecutionCalls | None = None
        """The execution in flight."""
        self._kept: dict[int, Callable[[ExecutionCalls], None]] = {}
        """Calls that were made while no execution ran, by number: each is sent as of the next one."""
        self._of: dict[int, str] = {}
        """The id of the execution of each open call, by number."""
        self.forked = False
        self.bare_threads = False
        """Whether threads were started of which `threading.active_count` does not tell."""
        self.loop_sleeps: Callable[[], bool] = lambda: False
        """The session's loop waits without a time limit; set by the worker."""
        self._main_thread_id = threading.get_native_id()
        channel.while_leading = self._lead_plan

    def tag(self) -> str:
        """The id of the execution that runs: all that happens meanwhile is its. Empty where none runs."""
        current = self.current
        return "" if current is None else current.id

    def begin(self, execution: ExecutionCalls) -> None:
        """An execution begins: calls that were kept for it are sent."""
        with self._gate.masked(), self._lock:
            self.current = execution
            kept, self._kept = self._kept, {}
            for send in kept.values():
                send(execution)

    def end(self) -> None:
        """The execution ended: what threads and tasks ask for now is kept for the next one."""
        with self._gate.masked(), self._lock:
            self.current = None

    # --- asking ----------------------------------------------------------------------------------------------

    def ask(self, capability: str, args: tuple[object, ...], kwargs: dict[str, object], method: str = "") -> object:
        """Ask and block this thread until the answer."""
        on_main = threading.get_ident() == threading.main_thread().ident
        if on_main and self.current is None:
            raise RuntimeError(_HOLDS_UP.format(capability))
        while True:
            waiter = Waiter() if on_main else ThreadWaiter()
            number = self._send(capability, method, args, kwargs, waiter, ordered=on_main and _outside_tasks())
            try:
                if isinstance(waiter, ThreadWaiter):
                    return self._finish(number, capability, self._channel.wait_in_thread, waiter)
                return self._finish(number, capability, self._wait_on_main, waiter)
            except _ExecutionEnded:
                continue

    async def ask_in_loop(
        self, capability: str, args: tuple[object, ...], kwargs: dict[str, object], method: str = ""
    ) -> object:
        """Ask and let the running loop go on until the answer."""
        loop = asyncio.get_running_loop()
        while True:
            number = self._send_from(loop, waiter := LoopWaiter(loop), capability, method, args, kwargs)
            try:
                return _value_of(await waiter.future)
            except TimeoutError as error:
                self._note(error, number, capability)
                raise
            except _ExecutionEnded as ended:
                self._check_again(number, ended)
            finally:
                if waiter.reply is None:
                    self._channel.release_loop(loop)
                self._close(number)

    def _send_from(
        self,
        loop: asyncio.AbstractEventLoop,
        waiter: LoopWaiter,
        capability: str,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> int:
        self._channel.watch_in_loop(loop)
        try:
            return self._send(capability, method, args, kwargs, waiter, ordered=False)
        except BaseException:
            self._channel.release_loop(loop)
            raise

    def _check_again(self, number: int, ended: _ExecutionEnded) -> None:
        """The host had seen the end of the call's execution: it is made again as of the next one.

        PermissionError where that execution still runs here: it was stopped, and asks for nothing any more.
        """
        if self._of.get(number, "") == self.tag():
            raise PermissionError(str(ended)) from None

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
        """The call's number. Where no execution runs it is kept for the next one."""
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
        with self._gate.masked(), self._lock:
            self._number += 1
            number = self._number
            self._channel.expect(number, waiter)
            message: Wire = {"type": "call", "call": number, "capability": capability, "arguments": arguments}
            if self.current is None:
                self._kept[number] = partial(self._send_as_of, message)
            else:
                self._send_as_of({**message, "ordered": ordered}, self.current)
        self._wake_reporter()
        return number

    def _send_as_of(self, message: Wire, execution: ExecutionCalls) -> None:
        number, capability = message["call"], message["capability"]
        execution.counters[capability] = execution.counters.get(capability, 0) + 1
        execution.called = True
        execution.open[number] = capability
        self._of[number] = execution.id
        self._channel.send({"ordered": False, **message, "execution_id": execution.id})

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
        except _ExecutionEnded as ended:
            self._check_again(number, ended)
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
            self._kept.pop(number, None)
            self._of.pop(number, None)
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
        """Whether there are open calls that the host has not been told of as waiting."""
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
    raises = _ExecutionEnded if error["kind"] == "ended" else _RAISES.get(error["kind"])
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
    """The key of a KeyError, whose text is the repr of that."""
    try:
        return ast.literal_eval(message)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return message


def before_threads(calls: Calls, before: Callable[[], None], before_bare: Callable[[], None]) -> None:
    """`before` is called before any thread starts, `before_bare` before one that `threading` knows nothing of."""
    start, start_bare = threading.Thread.start, _thread.start_new_thread

    def watched(self: threading.Thread) -> None:
        before()
        start(self)

    @wraps(start_bare)
    def bare(*args: Any) -> int:
        calls.bare_threads = True
        before_bare()
        return start_bare(*args)

    threading.Thread.start = watched  # type: ignore[method-assign]
    _thread.start_new_thread = _thread.start_new = bare
