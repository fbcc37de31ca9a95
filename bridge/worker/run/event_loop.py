"""The session's event loop: it lives on between cells and runs on the main thread (E2-E4).

Also the count of threads and child processes of the user's that live on beside it."""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
import sys
import threading
from asyncio import events
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from typing import Any, Protocol

from bridge.worker.run.coroutine_cancellation import INTERRUPT, Cancellation
from bridge.worker.run.foreground_task import Foreground
from bridge.worker.run.sigint_gate import Gate
from bridge.worker.run.tracebacks import message_of, type_name


def threads_alive(loop: WorkerLoop) -> int:
    """Threads that Python code started and that have not ended, without those that wait for work of the loop's."""
    return max(0, len(threading.enumerate()) - 1 - loop.resting_threads)


def children_alive() -> int:
    """Processes that this one started and has not collected."""
    found = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as children:
                found += len(children.read().split())
        except OSError:
            continue  # the thread has ended
    return found


THREADS_MAX = 64
"""Of `asyncio.to_thread`: a thread that waits for an answer holds one, so asyncio's few would delay questions."""

type IdlePlan = Callable[[], tuple[float, Callable[[], None]] | None]
"""Asked when a loop has nothing ready and no timer: None, or how long to wait (s) before the report, and the report."""


def report_when_idle(loop: asyncio.AbstractEventLoop, plan: IdlePlan) -> None:
    """Let a loop that user code started tell when only an answer brings it on (any loop with a Python selector)."""
    selector = getattr(loop, "_selector", None)
    if selector is None or isinstance(selector, _Selector) or "select" in vars(selector):
        return
    plain = selector.select

    def select(timeout: float | None = None) -> Any:
        if timeout is None and (found := plan()) is not None:
            settle_s, report = found
            ready = plain(settle_s)
            if ready:
                return ready
            report()
        return plain(timeout)

    selector.select = select


class _Selector(selectors.DefaultSelector):
    """Tells when the loop has nothing ready and no timer: only then is an open call all that it waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: IdlePlan = lambda: None
        self.sleeps = False
        """In `select` without a time limit."""
        self.quiet: Callable[[], None] = lambda: None
        """Called when the loop has nothing ready."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.quiet()
        if timeout is None:
            plan = self.idle()
            if plan is not None:
                settle_s, report = plan
                ready = super().select(settle_s)
                if ready:
                    return ready
                report()
        if timeout is not None:
            return super().select(timeout)
        self.sleeps = True
        try:
            return super().select(None)
        finally:
            self.sleeps = False


class WorkerLoop(asyncio.SelectorEventLoop):
    """A loop that user code cannot close, run by the worker for one statement or while idle."""

    def __init__(self, gate: Gate, failed: Callable[[str], None]) -> None:
        """failed: told of work that ended with an error nobody took."""
        self.selector = _Selector()
        super().__init__(self.selector)
        self.selector.quiet = self._look_between
        self._gate = gate
        self._failed = failed
        self._untaken: list[asyncio.Task[Any]] = []
        self.cancellation = Cancellation()
        self._own_descriptors = 1
        self._threads: ThreadPoolExecutor | None = None

    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As asyncio's, with a larger default executor."""
        if executor is None and self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="asyncio")
            self.set_default_executor(self._threads)
        return super().run_in_executor(executor, func, *args)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As asyncio's; errors of the task that nobody takes are told of without waiting for its deletion."""
        task = super().create_task(coro, **options)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task._log_traceback:
            self._untaken.append(task)

    def _look_between(self) -> None:
        """No cell runs, and the loop has nothing to do: nobody is about to take these errors."""
        if self._untaken and not self._gate.executing:
            self.tell_untaken()

    def tell_untaken(self) -> None:
        """Report the tasks that failed, as asyncio does when it deletes them. One that is awaited later raises."""
        untaken, self._untaken = self._untaken, []
        for task in untaken:
            if task._log_traceback:
                error = task._exception
                message = "Task exception was never retrieved"
                self.call_exception_handler({"message": message, "exception": error, "task": task})
                task._log_traceback = False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As asyncio's, and what failed is told of."""
        super().call_exception_handler(context)
        error = context.get("exception")
        if isinstance(error, BaseException):
            task = context.get("task") or context.get("future")
            self._failed(failure_text(_named(task) if task is not None else str(context["message"]), error))

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Read `fd` whenever this loop runs; does not count as work of the user's."""
        self.add_reader(fd, callback)
        self._own_descriptors += 1

    @property
    def wake_fd(self) -> int:
        """Readable when another thread scheduled something while the loop does not run."""
        return self._ssock.fileno()  # type: ignore[attr-defined,no-any-return]

    def has_work(self) -> bool:
        """Whether tasks, callbacks, timers or descriptors of the user's code are alive."""
        if self._ready or self._scheduled or len(self.selector.get_map()) > self._own_descriptors:  # type: ignore[attr-defined]
            return True
        return bool(asyncio.all_tasks(self))

    def alive(self) -> int:
        """How many tasks, timers and descriptors of the user's code there are."""
        timers = sum(not timer.cancelled() for timer in list(self._scheduled))  # type: ignore[attr-defined]
        return len(asyncio.all_tasks(self)) + timers + len(self.selector.get_map()) - self._own_descriptors

    @property
    def resting_threads(self) -> int:
        """Threads of its executor that have nothing to do; they stay for what comes."""
        return 0 if self._threads is None else self._threads._idle_semaphore._value

    def run_statement(self, coroutine: Coroutine[Any, Any, object], context: Context) -> Foreground:
        """Run one statement's coroutine to its end, and the background tasks meanwhile."""
        foreground = Foreground(coroutine, self._gate)
        task = self.create_task(foreground, name="cell", context=context)
        task.add_done_callback(lambda _task: self.stop())

        def cancel(reason: str) -> None:
            foreground.interrupted = foreground.interrupted or reason == INTERRUPT
            self.call_soon_threadsafe(task.cancel)

        self._gate.deliver = lambda: self.cancellation.cancel_current(INTERRUPT)
        self.cancellation.register(cancel)
        try:
            while not task.done():
                try:
                    self.run_forever()
                except KeyboardInterrupt:
                    self.cancellation.cancel_current(INTERRUPT)
                except BaseException as error:
                    self.report(error)
        finally:
            self._gate.deliver = None
            self.cancellation.unregister()
        return foreground

    def run_idle(self) -> None:
        """Run background work until `stop`; what escapes from it (SystemExit) is reported, not obeyed."""
        try:
            self.run_forever()
        except BaseException as error:
            self.report(error)

    def report(self, error: BaseException) -> None:
        """Report an error that escaped from background work, on standard error and to `failed`."""
        print(f"background task ended with {type(error).__qualname__}: {error}", file=sys.stderr)
        self._failed(failure_text("background task", error))

    def cancel_all(self, grace_s: float) -> None:
        """Cancel the background tasks and give them that long to finish."""
        tasks = asyncio.all_tasks(self)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        left = set(tasks)

        def done(task: asyncio.Task[Any]) -> None:
            left.discard(task)
            if not left:
                self.stop()

        for task in tasks:
            task.add_done_callback(done)
        self.call_later(grace_s, self.stop)
        self.run_idle()

    def close(self) -> None:
        """User code cannot close the session's loop."""

    def __del__(self, _warn: object = None) -> None:
        """The loop ends with the process."""


class Synchronous(Protocol):
    """Says whether only synchronous code runs; returns what was said before (OutputPort.synchronous)."""

    def __call__(self, *, on: bool) -> bool: ...


def hide_running(loop: WorkerLoop, synchronous: Synchronous) -> None:
    """Let code start loops of its own in a synchronous statement: the session's loop is only marked as running then."""

    def hiding[**P, R](function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if events._get_running_loop() is not loop or loop.is_running():
                return function(*args, **kwargs)
            events._set_running_loop(None)
            before = synchronous(on=False)
            try:
                return function(*args, **kwargs)
            finally:
                synchronous(on=before)
                events.set_event_loop(loop)
                events._set_running_loop(loop)

        return run

    asyncio.run = asyncio.runners.run = hiding(asyncio.run)
    base: Any = asyncio.BaseEventLoop
    for owner, names in ((asyncio.Runner, ("run", "close")), (base, ("run_forever", "run_until_complete"))):
        for name in names:
            setattr(owner, name, hiding(getattr(owner, name)))


def mark_running(loop: asyncio.AbstractEventLoop | None) -> None:
    """Make `loop` the running one for synchronous code of this thread."""
    events._set_running_loop(loop)


def failure_text(what: str, error: BaseException) -> str:
    """Which work ended with which error."""
    return f"{what} ended with {type_name(error)}: {message_of(error)}"


def _named(task: Any) -> str:
    get_name, get_coro = getattr(task, "get_name", None), getattr(task, "get_coro", None)
    if get_name is None or get_coro is None:
        return type(task).__name__
    name = getattr(get_coro(), "__qualname__", "")
    return f"task {get_name()!r} ({name})" if name else f"task {get_name()!r}"


def watch_threads(failed: Callable[[str], None]) -> None:
    """Tell of threads that end with an error, beside the traceback on standard error."""
    plain = threading.excepthook

    def excepthook(args: threading.ExceptHookArgs) -> None:
        plain(args)
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            name = "thread" if args.thread is None else f"thread {args.thread.name!r}"
            failed(failure_text(name, args.exc_value))

    threading.excepthook = excepthook
