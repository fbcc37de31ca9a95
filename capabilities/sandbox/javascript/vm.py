"""One instance of JavaScript: scripts run in it one at a time, and its state lives on (specs/javascript.md)."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, cast

from wasmtime import Store, Trap, WasmtimeError

from capabilities.sandbox.errors import (
    Cancelled,
    ComponentTrapped,
    InvalidConfiguration,
    SandboxError,
    Used,
)
from capabilities.sandbox.javascript import values
from capabilities.sandbox.javascript.deadline import GRACE_MS, DeadlineWatch
from capabilities.sandbox.javascript.errors import InstanceBusy, StateLost
from capabilities.sandbox.javascript.ffi import Entry
from capabilities.sandbox.javascript.handles import MEMORY_MIN, Handles
from capabilities.sandbox.javascript.host_functions import Imports
from capabilities.sandbox.javascript.script import Script, ScriptDone, Step
from capabilities.sandbox.javascript.warm_image import WarmImage
from capabilities.sandbox.limits import JAVASCRIPT, SandboxLimits
from capabilities.sandbox.wasm.deadline import DeadlineGuard
from capabilities.sandbox.wasm.module_call import INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX, Captured
from capabilities.sandbox.wasm.verdict import CallEnd, verdict

_PATH = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*\Z")
_numbers = itertools.count(1)


class _Closed:
    """In the place of an instance that is gone: nothing may follow its addresses."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StateLost("the instance was closed")


class VM:
    """An instance. Calls are made from one thread at a time; `cancel` may come from any.

    functions: host functions by name ("files.read" makes an object `files`); a coroutine function gives the script a
    promise. modules: sources of ES modules by name. clock: seconds since 1970; without it time stands at 0. entropy:
    whether random numbers differ between instances.
    """

    def __init__(
        self,
        warm: WarmImage,
        limits: SandboxLimits = JAVASCRIPT,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        modules: Mapping[str, str | bytes] | None = None,
        clock: Callable[[], float] | None = None,
        entropy: bool = False,
    ) -> None:
        if limits.memory < MEMORY_MIN:
            raise InvalidConfiguration(f"JavaScript needs at least {MEMORY_MIN} bytes, memory is {limits.memory}")
        if limits.fuel is not None and not warm.runtime.metered:
            raise InvalidConfiguration("fuel was given, and this runtime does not count it; use a metered one")
        self.warm = warm
        self.limits = limits
        self.imports = Imports(self, functions or {}, modules or {}, clock, entropy)
        self.output = Captured(limits.output)
        self.on_output: Callable[[str, str], None] | None = None
        self.watch = DeadlineWatch(limits)
        self._running = threading.Lock()
        self._claimed = False
        self._fresh()

    def reset(self) -> None:
        """Forget all state: a new instance of the same limits and host functions."""
        self._taken()
        try:
            self._fresh()
        finally:
            self._running.release()

    def _fresh(self) -> None:
        limits, runtime = self.limits, self.warm.runtime
        self.lost = ""
        store = Store(runtime.engine)
        store.set_limits(limits.memory, limits.table_elements, INSTANCES_MAX, TABLES_MAX, MEMORIES_MAX)
        self._guard = DeadlineGuard(store)
        if runtime.metered:
            store.set_fuel(limits.fuel if limits.fuel is not None else (1 << 62))
        store.set_epoch_deadline(1 << 40)
        self.entry = Entry(store, self.warm.pre, self.imports, next(_numbers))
        watch = self.watch
        watch.stopped = None
        self.handles = Handles(self.entry, self.warm, limits, lambda: watch.stopped, self.imports.raised_as)
        self._script = Script(self.handles, self.imports, watch)
        self._bounded = False  # with its first script: an instance that is idle has written nothing
        self.imports.fresh()

    def close(self) -> None:
        """Give back all that it holds, now: Python's collector does not know how much that is. InstanceBusy."""
        self._taken()
        self.lost = self.lost or "it was closed"
        self.entry.close()
        self.entry = self.handles.entry = cast("Entry", _Closed())
        self._running.release()

    def begin(
        self,
        code: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        module: bool = False,
        name: str = "",
        timeout_ms: int | None = None,
        shows: bool = False,
    ) -> Step:
        """Run a script until it ends or waits. inputs become globals. With `module` its value are its exports.

        shows: `Done.shown` is what JavaScript shows of the value.
        """
        self._started(timeout_ms)
        self.imports.script = code
        text = values.encode(dict(inputs)) if inputs else ""
        return self._slice(lambda: self._script.begin(code, text, module, name, shows))

    def begin_function(self, function: str, args: Iterable[Any] = (), *, timeout_ms: int | None = None) -> Step:
        """Call a function of the script's by its name, `a.b` for a member. ScriptError when there is none."""
        if not _PATH.match(function):
            raise InvalidConfiguration(f"{function!r} is no name of a function")
        self._started(timeout_ms)
        text = values.encode(list(args))
        return self._slice(lambda: self._script.begin_function(function, text))

    def settle(self, call: str, *, value: Any = None, error: BaseException | None = None) -> Step:
        """Give the script what a host call came to, and go on until it ends or waits again."""

        def work() -> Step:
            function = self.imports.settled(call)
            text = values.encode(value) if error is None else self.imports.failure(function, error)
            return self._script.settle(call, error is None, text)

        return self._slice(work)

    def execute(self, code: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run a script in this thread and give its value. It cannot wait for asynchronous host functions here."""
        return _at_once(self.begin(code, inputs, **options)).value

    def execute_shown(self, code: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> ScriptDone:
        """The same, with what JavaScript shows of the value."""
        return _at_once(self.begin(code, inputs, shows=True, **options))

    def execute_function(self, function: str, args: Iterable[Any] = (), **options: Any) -> Any:
        """Call a function of the script's in this thread and give its value."""
        return _at_once(self.begin_function(function, args, **options)).value

    def set_globals(self, given: Mapping[str, Any]) -> None:
        """Make these values globals."""
        self._started(None)
        text = values.encode(dict(given))
        self._slice(lambda: self._script.globals(text))

    def define_function(self, name: str, function: Callable[..., Any]) -> None:
        """Give it one more host function, which it keeps when it is reset."""
        if not _PATH.match(name):
            raise InvalidConfiguration(f"{name!r} is no name of a function")
        self._started(None)
        self._slice(lambda: self.imports.define(name, function, prepared=self.prepared))

    def get_global(self, name: str) -> Any:
        """The value of a global, of whatever kind of declaration."""
        if not _PATH.match(name):
            raise InvalidConfiguration(f"{name!r} is no name of a global")
        return self.execute(name)

    def cancel(self) -> None:
        """Stop what runs, from any thread: Cancelled in the caller."""
        self.stop()
        self.watch.hasten()
        threading.Timer(GRACE_MS / 1000, self._force).start()

    def stop(self) -> None:
        """Ask it to stop, as `cancel` does, without force."""
        self.watch.asked = True

    @property
    def prepared(self) -> bool:
        """Whether the instance has its host functions."""
        return self._script.prepared

    def still(self) -> None:
        """Check that nothing runs in it and its state is there. InstanceBusy, StateLost."""
        if self._running.locked() or self._claimed:
            raise InstanceBusy("the instance runs a script; take a snapshot between two of them")
        if self.lost:
            raise StateLost(f"the instance was ended by force ({self.lost})")

    def went_on(self, *, prepared: bool) -> None:
        """Its memory was replaced by that of another one. prepared: which had these host functions."""
        self._script.prepared = prepared
        self._bounded = False

    def claim(self) -> None:
        """Claim the instance for a script that may wait, until `release`. InstanceBusy."""
        if self._claimed:
            raise InstanceBusy("the instance runs a script that waits for its host; an instance runs one at a time")
        self._claimed = True

    def release(self) -> None:
        """The script is over, or given up."""
        self._claimed = False

    def abandoned(self) -> SandboxError:
        """The time of the execution is over while it waits for its host: what it waits for is not waited for."""
        self._script.forget()
        found = self.watch.timeout()
        found.used = self.used()
        return found

    def used(self) -> Used:
        """The resources that the execution used until now."""
        fuel = None
        limits = self.limits
        if limits.fuel is not None and not self._guard.interrupted:
            fuel = limits.fuel - int(self.entry.store.get_fuel())
        out = self.output
        printed = out.text("stdout"), out.text("stderr")
        return Used(self.watch.elapsed_ms, fuel, self.entry.size, *printed, limits.memory)

    def _started(self, timeout_ms: int | None) -> None:
        """An execution begins: what an earlier one waited for is forgotten."""
        self._taken()
        self._running.release()
        self.output = Captured(self.limits.output)
        self.watch.begin(timeout_ms)
        self.imports.started()
        if self.limits.fuel is not None:
            self.entry.store.set_fuel(self.limits.fuel)

    def _taken(self) -> None:
        if not self._running.acquire(blocking=False):
            raise InstanceBusy("the instance runs another script; an instance runs one at a time")

    def _slice[T](self, work: Callable[[], T]) -> T:
        """Run guest code under the guards. Whatever ends it is the one error of it."""
        self._taken()
        try:
            if self.lost:
                raise StateLost(f"the instance was ended by force ({self.lost}); reset it, or restore a snapshot")
            with self.warm.runtime.running():
                self.watch.enter()
                self._guard.cpu_ms = self.watch.cpu_left_ms
                self._guard.begin(self.watch.hard_ms)
                try:
                    if not self._bounded:
                        self._bounded = True
                        self.handles.bound()
                    return work()
                except (Trap, WasmtimeError, ComponentTrapped) as error:
                    raise self._killed(error) from None
                except SandboxError as error:
                    self._after_error()
                    error.used = self.used()
                    raise
                except Exception as error:  # what it gave is nothing that the engine gives: it is no engine any more
                    raise self._killed(ComponentTrapped(f"the engine is broken: {error!r}")) from error
                finally:
                    self.watch.leave()
        finally:
            self._running.release()

    def _killed(self, error: Exception) -> SandboxError:
        """The instance is dead; why."""
        found: SandboxError
        if self.imports.failed is not None:
            found, self.imports.failed = self.imports.failed, None
            found.used = self.used()
        elif self.watch.asked:
            found = Cancelled()
            found.used = self.used()
        elif self._guard.interrupted:
            found = self.watch.cpu_over() if self._guard.cpu_over else self.watch.timeout()
            found.used = self.used()
        else:
            ended = verdict(CallEnd(str(error), self.used()), self.limits, "the script")
            assert isinstance(ended, SandboxError)  # only a host's own error may be another, and those were kept above
            found = ended
        self.lost = str(found)
        return found

    def _after_error(self) -> None:
        """Let what a script began go on to its end, in its own time. One that was stopped may have left jobs that would
        go on with the next one.
        """
        try:
            self._script.jobs()
            stopped = self.watch.stopped
            if stopped is not None:
                self._script.forget()
                if self.entry.call("qjs_is_job_pending"):
                    self.lost = f"{stopped}, with promises that would have gone on"
        except (Trap, WasmtimeError, ComponentTrapped) as error:
            self._killed(error)

    def _force(self) -> None:
        if self.watch.asked and self._running.locked():
            self._guard.cancelled = True
            self.warm.runtime.nudge()


def _at_once(step: Step) -> ScriptDone:
    if isinstance(step, ScriptDone):
        return step
    names = ", ".join(sorted({call.function for call in step.calls}))
    raise InvalidConfiguration(f"the script waits for {names}: it has to be run where that can be awaited")
