"""The event loop of one durable function: deterministic, no I/O, stepped by the engine (specs/execution.md, L1-L8).

A function runs on a loop of its own, so that the order in which its tasks go on depends on nothing but the results that
the engine delivers to it. The loop has a queue of callbacks and no selector; it never blocks and never waits. The
engine steps it inside callbacks of its own loop, in the same thread, under asyncio and uvloop alike.

L1  Callbacks run in the order in which they were scheduled; `run` returns when none is left.
L2  `time` advances only when the engine says so, between two runs.
L3  A timer is an operation of the function, which the engine begins and delivers like any other.
L4  Everything that reaches outside (sockets, threads, executors, subprocesses, signals, other loops) raises StepNeeded.
L5  A callback that only schedules itself again, as anyio's cancellation does, waits for the next delivery.
L6  Tasks have the same numbers, names and hashes at each replay; futures and operations the same hashes.
L7  After `dispose` nothing of the function runs but the `finally` blocks that Python runs as coroutines are closed.
L8  An asynchronous generator that is left is closed by a task of the loop, unless the garbage collector found it.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import FrameType
from typing import Any, NoReturn

from durable.core.errors import StepNeeded
from durable.functions.user_frames import is_user_code, user_place

TURNS_MAX = 1_000_000
"""Rounds of callbacks between two deliveries: more is a loop that waits for nothing, such as `while …: sleep(0)`."""

ENDS_MAX = 200
"""Times that a suspended coroutine is told to end: a `finally` that awaits needs one more for each await."""


_HASHES_FROM = 1 << 22
"""Hashes below are those of tasks, from which those of other objects differ."""


class PassEnded(BaseException):
    """Ends what still runs of a function whose pass is over: nothing that it does now is recorded."""


class Timer(asyncio.TimerHandle):
    """A callback at a time of the loop. It knows its operation by number only: whoever keeps it keeps no pass."""

    ordinal = 0
    """The operation that the engine made of it; 0 for none."""


class FunctionTask(asyncio.Task[Any]):
    """A task whose hash is the same at each replay: asyncio and anyio keep tasks in sets, and cancel in their order."""

    def __init__(self, hashed: int, coro: Any, **options: Any) -> None:
        self._hashed = hashed
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._hashed


class FunctionFuture(asyncio.Future[Any]):
    """A future whose hash is the same at each replay: `asyncio.wait` returns sets of whatever it is given."""

    _hashed = 0

    def __hash__(self) -> int:
        if not self._hashed:
            self._hashed = _next_hash(self)
        return self._hashed


class _Gathering(asyncio.tasks._GatheringFuture):  # type: ignore[misc, name-defined]
    """The future that `asyncio.gather` returns."""

    _hashed = 0
    __hash__ = FunctionFuture.__hash__


asyncio.tasks._GatheringFuture = _Gathering  # type: ignore[attr-defined]


def _next_hash(future: asyncio.Future[Any]) -> int:
    loop = future.get_loop()
    return loop.next_hash() if isinstance(loop, FunctionLoop) else object.__hash__(future)


class FunctionLoop(asyncio.AbstractEventLoop):  # its other methods are set below, from _LOOP_CALLS
    """The loop of one function.

    `on_timer` begins a durable timer, `on_timer_cancelled` lets go of it; `on_error` is told what nobody retrieved.
    """

    def __init__(
        self,
        *,
        on_timer: Callable[[Timer, float], None],
        on_timer_cancelled: Callable[[Timer], None],
        on_error: Callable[[dict[str, Any]], None],
        now: float,
    ) -> None:
        self._on_timer = on_timer
        self._on_timer_cancelled = on_timer_cancelled
        self._on_error = on_error
        self._now = now
        self._salt = (int(now * 1000) & 0xFFFFFFFF) << 24  # asyncio keeps the tasks of all loops in one set
        self._ready: deque[asyncio.Handle] = deque()
        self._polls: list[asyncio.Handle] = []
        self._numbers: dict[asyncio.Task[Any], int] = {}
        self._count = 0
        self._hashes = 0
        self._making = 0
        """The number of the task that is being made: an eager one runs before it is known."""
        self._prune_at = 1024
        self._task_factory: Any = None
        self._exception_handler: Any = None
        self._debug = False
        self._disposed = False
        self.stopped = False
        """Set to end the run under way after its present callback."""

    # -- stepping -------------------------------------------------------------------------------------------------

    def running(self) -> _Running:
        """Make this the running loop of the thread. Entered from a callback, never from inside a task."""
        return _Running(self)

    def run(self) -> None:
        """Run until nothing is ready (L1, L5). StepNeeded when the function never waits."""
        ready = self._ready
        ready.extend(self._polls)
        self._polls.clear()
        for _ in range(TURNS_MAX):
            if not ready:
                return
            turn = [*ready]
            ready.clear()
            for position, handle in enumerate(turn):
                if not handle._cancelled:
                    self._run_handle(handle)
                    if self.stopped:
                        ready.extendleft(reversed(turn[position + 1 :]))
                        return
            if len(ready) == len(turn) and all(map(_polls, turn, ready)):
                self._polls.extend(ready)
                ready.clear()
        raise StepNeeded(
            "the function runs without end between two operations: it waits for nothing, as `while …: await "
            "asyncio.sleep(0)` does. Await what it waits for (an asyncio.Event, a task, `ctx.sleep`)"
        )

    @staticmethod
    def _run_handle(handle: asyncio.Handle) -> None:
        try:
            handle._run()
        except (SystemExit, KeyboardInterrupt):
            pass  # the task that raised it has it as its exception: it must not end the engine (R5)

    def advance(self, now: float) -> None:
        """The time of the delivery that follows, in seconds since the Unix epoch; never backwards (L2)."""
        self._now = max(self._now, now)

    def fire(self, timer: Timer) -> None:
        """Schedule a timer's callback, whose operation was delivered."""
        self._ready.append(timer)

    # -- what asyncio asks a loop for -----------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._disposed:
            return handle
        if events._get_running_loop() is not self:
            raise StepNeeded(
                f"{_named(callback)} of a durable function was called from outside of it: a replay would not see that. "
                "What comes from outside is brought by an operation: a step, `ctx.ask`, `ctx.execute`"
            )
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = Timer(when, callback, args, self, context)
        delay = when - self._now
        if self._disposed or (math.isinf(delay) and delay > 0):
            return timer
        if not delay > 0:
            self._ready.append(timer)
        else:
            self._on_timer(timer, delay)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, Timer) and handle.ordinal and not self._disposed:
            self._on_timer_cancelled(handle)

    def create_future(self) -> asyncio.Future[Any]:
        return FunctionFuture(loop=self)

    def next_hash(self) -> int:
        """The next hash, for something of this function that is put into a set for the first time now."""
        self._hashes += 1
        return self._salt + _HASHES_FROM + self._hashes

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        if self._disposed:
            coro.close()
            raise PassEnded
        self._count += 1
        number, outer = self._count, self._making
        self._making = number
        if options.get("name") is None:
            options["name"] = f"Task-{number}"
        try:
            task: asyncio.Task[Any]
            if self._task_factory is None:
                task = FunctionTask(self._salt + number, coro, loop=self, **options)
            elif self._task_factory is asyncio.eager_task_factory:
                task = FunctionTask(self._salt + number, coro, loop=self, **{"eager_start": True, **options})
            else:
                task = self._task_factory(self, coro, **options)
            self.number(task)
        finally:
            self._making = outer
        return task

    def number(self, task: asyncio.Task[Any] | None) -> int:
        """The task's number in the order in which this loop's tasks were made, from 1; 0 for no task."""
        if task is None:
            return 0
        found = self._numbers.get(task)
        if found is None:
            if not self._making:  # it was not made by `create_task`
                self._count += 1
            found = self._numbers[task] = self._making or self._count
            self._making = 0
            if len(self._numbers) > self._prune_at:
                self._numbers = {task: number for task, number in self._numbers.items() if not task.done()}
                self._prune_at = max(1024, 2 * len(self._numbers))
        return found

    def pending(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done, oldest first."""
        return [task for task in self._numbers if not task.done()]

    def failed(self) -> list[asyncio.Task[Any]]:
        """Tasks that failed and whose exception nobody has looked at."""
        found = [task for task in self._numbers if task.done() and getattr(task, "_log_traceback", False)]
        for task in found:
            task._log_traceback = False
        return found

    def get_task_factory(self) -> Any:
        return self._task_factory

    def set_task_factory(self, factory: Any) -> None:
        self._task_factory = factory

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def set_exception_handler(self, handler: Any) -> None:
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._disposed:
            return
        if self._exception_handler is None:
            self._on_error(context)
        else:
            self._exception_handler(self, context)

    def get_debug(self) -> bool:
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        self._debug = enabled

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._disposed

    async def shutdown_asyncgens(self) -> None:
        """Nothing: what is left of them ends with the pass."""

    def finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An asynchronous generator that is dropped before its end is closed by a task, as asyncio does.

        Not one that the garbage collector found: its time is another one at each replay.
        """
        if self.is_running() and not self._disposed and _collector != threading.get_ident():
            self.create_task(_close(generator))

    # -- the end ----------------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Let go of every task and callback. Idempotent."""
        if self._disposed:
            return
        self._disposed = True
        left = self.pending()
        if left:
            with self.running():
                for task in left:
                    self._let_go(task)
        self._ready.clear()
        self._polls.clear()
        self._numbers.clear()
        self._on_timer = self._on_timer_cancelled = self._on_error = _nothing  # they hold the pass, which holds this

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coro, waiter = task.get_coro(), task._fut_waiter  # type: ignore[attr-defined]
        if coro is not None:
            outer = _swap_current_task(self, task)  # a scope of anyio is left by its own task only
            task.get_context().run(_end_coroutine, coro)
            _swap_current_task(self, outer)
        if waiter is not None:
            waiter.cancel()  # which lets go of the task, and the task of it
        for callback, _context in list(task._callbacks or ()):
            task.remove_done_callback(callback)  # it never ends: a task group and its tasks would hold each other
        _forget_in_anyio(task)


_swap_current_task: Callable[[Any, Any], Any] = asyncio.tasks._swap_current_task  # type: ignore[attr-defined]


def _forget_in_anyio(task: asyncio.Task[Any]) -> None:
    """anyio keeps what it knows of a task until the task is done, which one that is left never is."""
    backend = sys.modules.get("anyio._backends._asyncio")
    states = getattr(backend, "_task_states", None)
    if states is not None:
        states.pop(task, None)


def _nothing(*_: object) -> None:
    """Do nothing, in place of a disposed loop's callbacks."""


class _Running:
    """A loop that runs for a while in the thread of another."""

    __slots__ = ("_hooks", "_loop", "_outer")

    def __init__(self, loop: FunctionLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._outer = events._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()  # a generator keeps the finalizer that is set when it is first iterated
        events._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(None, self._loop.finalize)

    def __exit__(self, *_: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        events._set_running_loop(self._outer)


_collector = 0
"""The thread that collects garbage now, 0 for none."""


def _collects(phase: str, _info: dict[str, int]) -> None:
    global _collector
    _collector = threading.get_ident() if phase == "start" else 0


gc.callbacks.append(_collects)


def _polls(before: asyncio.Handle, after: asyncio.Handle) -> bool:
    """Whether a callback did nothing but schedule itself again. A step of a task always makes progress."""
    callback: Any = after._callback  # type: ignore[attr-defined]
    if isinstance(getattr(callback, "__self__", None), asyncio.Future):
        return False
    return bool(before._callback == callback and before._args == after._args)  # type: ignore[attr-defined]


def _named(callback: Callable[..., object]) -> str:
    return getattr(callback, "__qualname__", None) or type(callback).__name__


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _end_coroutine(coro: Any) -> None:
    """Leave a suspended coroutine, through its `finally` blocks; those that await go on at once.

    Not by `close()` alone: where something inside awaits in a `finally`, that abandons it there, suspended.
    """
    for _ in range(ENDS_MAX):
        try:
            coro.throw(PassEnded())
        except BaseException as ended:
            _forget_frames(ended)
            return
    coro.close()


def _forget_frames(error: BaseException) -> None:
    """Part what was raised from the frames that it went through: they hold it, too, and would stay in a circle."""
    todo: list[BaseException | None] = [error]
    while todo:
        found = todo.pop()
        if found is not None and (found.__traceback__ or found.__context__ or found.__cause__):
            todo += [found.__context__, found.__cause__]
            found.__traceback__ = found.__context__ = found.__cause__ = None
            todo += found.exceptions if isinstance(found, BaseExceptionGroup) else ()


# -- order ---------------------------------------------------------------------------------------------------------

_as_completed = asyncio.as_completed


def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    """`asyncio.as_completed`, which begins coroutines in the order of a set: in a function, in the order given."""
    one = asyncio.isfuture(fs) or asyncio.iscoroutine(fs)  # which is an error of the caller's
    if isinstance(events._get_running_loop(), FunctionLoop) and not one:
        fs = [asyncio.ensure_future(each) for each in dict.fromkeys(fs)]
    return _as_completed(fs, timeout=timeout)


asyncio.as_completed = asyncio.tasks.as_completed = as_completed


# -- what a function may not do itself (L4) -------------------------------------------------------------------------


def _refused(what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise step_needed(what, sys._getframe(1))

    return refuse


WHAT_TO_DO = (
    "in a durable function itself, where a replay would do it again. Put it into a step: write a function that does "
    "it, and `await ctx.run(that_function, …)`"
)


def step_needed(what: str, frame: FrameType | None) -> StepNeeded:
    """The error for something that only a step may do, with the user's line that did it, at or above `frame`.

    Where a library did it in a task of its own, the line is where the function's first task waits for that.
    """
    place = None
    while frame is not None and frame.f_code is not _STEP_CODE and place is None:
        place = user_place(frame) if is_user_code(frame) else None
        frame = frame.f_back
    if place is None:
        loop = events._get_running_loop()
        waiting = loop.pending() if isinstance(loop, FunctionLoop) else []
        found = (where for task in waiting for where in _frames(task) if is_user_code(where))
        place = user_place(next(found, None))
    return StepNeeded(f"{place}: {what} {WHAT_TO_DO}")


_LOOP_CALLS = {
    "run_in_executor": "work was given to a thread or an executor (asyncio.to_thread, run_in_executor)",
    "run_until_complete": "another coroutine was run to its end (run_until_complete)",
    "run_forever": "the event loop was run",
    "stop": "the event loop was stopped",
    "close": "the event loop was closed",
    "set_default_executor": "the event loop was given an executor",
    "shutdown_default_executor": "the event loop's executor was shut down",
    "subprocess_exec": "a subprocess was started",
    "subprocess_shell": "a subprocess was started",
    "connect_read_pipe": "a pipe was read",
    "connect_write_pipe": "a pipe was written",
    "getaddrinfo": "a host name was looked up",
    "getnameinfo": "a host name was looked up",
    "sendfile": "a file was sent",
    "start_tls": "a connection was made",
    "add_signal_handler": "a signal handler was set",
    "remove_signal_handler": "a signal handler was removed",
    **dict.fromkeys(("add_reader", "remove_reader", "add_writer", "remove_writer"), "a file descriptor was watched"),
    **dict.fromkeys(
        (
            *("create_connection", "create_unix_connection", "connect_accepted_socket", "create_server"),
            *("create_unix_server", "create_datagram_endpoint", "sock_accept", "sock_connect", "sock_recv"),
            *("sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendfile", "sock_sendto"),
        ),
        "a socket was used",
    ),
}
for _name, _what in _LOOP_CALLS.items():
    setattr(FunctionLoop, _name, _refused(_what))


_AUDITED = {
    "_thread.start_new_thread": "a thread was started",
    "_thread.start_joinable_thread": "a thread was started",
    "subprocess.Popen": "a subprocess was started",
    "os.posix_spawn": "a subprocess was started",
    "os.system": "a subprocess was started",
    "os.exec": "the program was replaced",
    "os.fork": "the process was forked",
    "os.forkpty": "the process was forked",
    "pty.spawn": "a subprocess was started",
    "socket.__new__": "a socket was made",
    "socket.connect": "a socket was connected",
    "socket.bind": "a socket was bound",
    "socket.sendto": "something was sent",
    "socket.sendmsg": "something was sent",
    "socket.getaddrinfo": "a host name was looked up",
    "socket.gethostbyname": "a host name was looked up",
    "sqlite3.connect": "a database was opened",
    "time.sleep": "the engine was put to sleep",  # told since Python 3.13
    "open": "a file was opened",
    **dict.fromkeys(
        (
            *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
            *("os.chown", "os.utime", "os.listdir", "os.scandir", "tempfile.mkstemp", "tempfile.mkdtemp"),
            *("shutil.copyfile", "shutil.copytree", "shutil.move", "shutil.rmtree", "shutil.make_archive"),
        ),
        "the file system was used",
    ),
}

_PASS_OVER = frozenset(
    (
        *("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "linecache", "traceback"),
        *("logging", "warnings", "tokenize", "encodings", "inspect", "gettext", "locale"),
        *("pdb", "bdb", "pydevd", "debugpy", "_pytest", "coverage", "rich"),
    )
)
"""Modules that open files for themselves: an import, a traceback's lines, a log file, a debugger."""


def _audit(event: str, _args: tuple[Any, ...]) -> None:
    what = _AUDITED.get(event)
    if what is None or type(events._get_running_loop()) is not FunctionLoop:
        return
    frame: FrameType | None = sys._getframe(1)
    caller = frame
    while frame is not None:
        module = str(frame.f_globals.get("__name__") or "").partition(".")[0]
        if module in _PASS_OVER:
            return
        frame = frame.f_back
        if frame is not None and frame.f_code is _STEP_CODE:
            break
    raise step_needed(what, caller)


_STEP_CODE = FunctionLoop._run_handle.__code__

_audits = False


def watch_outside() -> None:
    """Refuse I/O, threads and subprocesses in durable functions of this process from now on (L4). Idempotent.

    Python's audit events are what every way to do them passes by, in the standard library and in extensions that tell.
    """
    global _audits
    if not _audits:
        _audits = True
        sys.addaudithook(_audit)


def _frames(task: asyncio.Task[Any]) -> list[FrameType]:
    """The frames of a task that waits, the innermost first."""
    found: list[FrameType] = []
    coro: Any = task.get_coro()
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is not None:
            found.append(frame)
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)
    return found[::-1]


def describe(task: asyncio.Task[Any]) -> str:
    """A task that waits, for an error that names it: its name, its line, and what it waits in."""
    frames = _frames(task)
    if not frames:
        return f"{task.get_name()} waits"
    last, frame = frames[0], next((each for each in frames if is_user_code(each)), frames[-1])
    waits = "" if last is frame else f" in {last.f_code.co_qualname}"
    return f"{task.get_name()} waits at {user_place(frame)}, {frame.f_code.co_name}{waits}"
