"""One instance of JavaScript: scripts run in it one at a time, and its state lives on (specs/javascript.md)."""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wasmtime import Store, Trap, WasmtimeError

from capabilities.javascript import values
from capabilities.javascript.entry import Entry
from capabilities.javascript.errors import Busy, ScriptError, ScriptSyntaxError, StateLost
from capabilities.javascript.imports import Imports
from capabilities.javascript.warm import SCRATCH_BYTES, STACK_BYTES, Warm
from capabilities.sandbox.call import INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX, Captured
from capabilities.sandbox.errors import (
    Cancelled,
    ComponentTrapped,
    ExecutionTimeout,
    InvalidConfiguration,
    OutOfMemory,
    ResourceLimitExceeded,
    SandboxError,
    Used,
)
from capabilities.sandbox.guard import Guard
from capabilities.sandbox.limits import JAVASCRIPT, MIB, SandboxLimits
from capabilities.sandbox.verdict import End, verdict

GRACE_MS = 100
"""A script is asked to stop at its deadline, which its state survives; one that never looks is ended so much later."""
STATIC_BYTES = 1280 * 1024
"""Of an instance's memory: its C stack and what it begins with."""
RESERVE_BYTES = 512 * 1024
"""Of an instance's memory, kept from scripts: for the error that says that there is no more."""
MEMORY_MIN = 4 * MIB

_MODULE, _ASYNC, _COMPILE_ONLY = 1, 1 << 7, 1 << 5
_INT, _BOOL, _NULL, _UNDEFINED, _EXCEPTION = 0, 1, 2, 3, 6
"""Tags of the engine's values, in the upper half of their eight bytes."""
_PATH = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*\Z")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class HostCall:
    """A call of an asynchronous host function that the script waits for."""

    id: str
    function: str
    args: list[Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The script ended with this value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Waits:
    """The script waits for host calls; these are new."""

    calls: Sequence[HostCall]


type Step = Done | Waits


class VM:
    """An instance. Calls are made from one thread at a time; `cancel` may come from any.

    functions: host functions by name ("files.read" makes an object `files`); a coroutine function gives the script a
    promise. modules: sources of ES modules by name. clock: seconds since 1970; without it time stands at 0. entropy:
    whether random numbers differ between instances.
    """

    def __init__(
        self,
        warm: Warm,
        limits: SandboxLimits = JAVASCRIPT,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        modules: Mapping[str, str] | None = None,
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
        self._running = threading.Lock()
        self._clock = time.monotonic
        self._stop = False
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
        self._main = 0
        self._wrapped = False
        self._stopped: SandboxError | None = None
        store = Store(runtime.engine)
        store.set_limits(limits.memory, limits.table_elements, INSTANCES_MAX, TABLES_MAX, MEMORIES_MAX)
        self._guard = Guard(store)
        if runtime.metered:
            store.set_fuel(limits.fuel if limits.fuel is not None else (1 << 62))
        store.set_epoch_deadline(1 << 40)
        self.entry = Entry(store, self.warm.pre, self.imports, next(_numbers))
        self._allowed = limits.memory - STATIC_BYTES - RESERVE_BYTES
        self._bounded = False  # with its first script: an instance that is idle has written nothing
        self.imports.fresh()
        self.prepared = False

    def begin(
        self,
        code: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        module: bool = False,
        name: str = "",
        timeout_ms: int | None = None,
    ) -> Step:
        """Run a script until it ends or waits. inputs become globals. With `module` its value are its exports."""
        self._started(timeout_ms)
        text = values.encode(dict(inputs)) if inputs else ""
        return self._slice(lambda: self._begin(code, text, module, name))

    def begin_function(self, function: str, args: Iterable[Any] = (), *, timeout_ms: int | None = None) -> Step:
        """Call a function of the script's by its name, `a.b` for a member. ScriptError when there is none."""
        if not _PATH.match(function):
            raise InvalidConfiguration(f"{function!r} is no name of a function")
        self._started(timeout_ms)
        text = values.encode(list(args))
        return self._slice(lambda: self._begin_function(function, text))

    def settle(self, call: str, *, value: Any = None, error: BaseException | None = None) -> Step:
        """Give the script what a host call came to, and go on until it ends or waits again."""

        def work() -> Step:
            function = self.imports.settled(call)
            text = values.encode(value) if error is None else self.imports.failure(function, error)
            handles = [self.string(call), self.truth(error is None), self.string(text)]
            self.free(self.checked(self.function("settle", *handles)), *handles)
            return self._drained()

        return self._slice(work)

    def execute(self, code: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run a script in this thread and give its value. It cannot wait for asynchronous host functions here."""
        return self._at_once(self.begin(code, inputs, **options))

    def execute_function(self, function: str, args: Iterable[Any] = (), **options: Any) -> Any:
        """Call a function of the script's in this thread and give its value."""
        return self._at_once(self.begin_function(function, args, **options))

    def set_globals(self, given: Mapping[str, Any]) -> None:
        """Make these values globals."""
        self._started(None)
        text = values.encode(dict(given))
        self._slice(lambda: self._globals(text))

    def get_global(self, name: str) -> Any:
        """The value of a global, of whatever kind of declaration."""
        if not _PATH.match(name):
            raise InvalidConfiguration(f"{name!r} is no name of a global")
        return self.execute(name)

    def cancel(self) -> None:
        """Stop what runs, from any thread: Cancelled in the caller."""
        self.stop()
        self._hard_ends = min(self._hard_ends, self._clock() + GRACE_MS / 1000)
        threading.Timer(GRACE_MS / 1000, self._force).start()

    def stop(self) -> None:
        """Ask it to stop, as `cancel` does, without force."""
        self._stop = True

    @property
    def over(self) -> bool:
        """The script should stop: asked every few thousand steps of it."""
        if self._stop:
            self._stopped = Cancelled()
        elif self._clock() >= self._ends and self._stopped is None:
            self._stopped = self._timeout()
        return self._stopped is not None

    @property
    def left_s(self) -> float:
        """Until the deadline of the execution."""
        return max(0.0, self._ends - self._clock())

    def still(self) -> None:
        """That nothing runs in it and its state is there. Busy, StateLost."""
        if self._running.locked() or self._claimed:
            raise Busy("the instance runs a script; take a snapshot between two of them")
        if self.lost:
            raise StateLost(f"the instance was ended by force ({self.lost})")

    def went_on(self, *, prepared: bool) -> None:
        """Its memory was replaced by that of another one. prepared: which had these host functions."""
        self.prepared = prepared
        self._bounded = False

    def claim(self) -> None:
        """This instance runs a script that may wait, until `release`. Busy."""
        if self._claimed:
            raise Busy("the instance runs a script that waits for its host; an instance runs one at a time")
        self._claimed = True

    def release(self) -> None:
        """The script is over, or given up."""
        self._claimed = False

    def abandoned(self) -> SandboxError:
        """The time of the execution is over while it waits for its host: what it waits for is not waited for."""
        self._main = 0
        found = self._timeout()
        found.used = self.used()
        return found

    def used(self) -> Used:
        """What the execution used until now."""
        fuel = None
        limits = self.limits
        if limits.fuel is not None and not self._guard.interrupted:
            fuel = limits.fuel - int(self.entry.store.get_fuel())
        elapsed = (self._clock() - self._begun) * 1000
        return Used(elapsed, fuel, self.entry.size, self.output.text("stdout"), self.output.text("stderr"))

    _begun, _ends, _hard_ends = 0.0, math.inf, math.inf

    def _started(self, timeout_ms: int | None) -> None:
        """An execution begins: what an earlier one waited for is forgotten."""
        self._taken()
        self._running.release()
        self.output = Captured(self.limits.output)
        self._begun = self._clock()
        self._timeout_ms = timeout_ms or self.limits.timeout_ms
        self._ends = self._begun + self._timeout_ms / 1000
        self._hard_ends = self._ends + GRACE_MS / 1000
        self._stop = False
        self._stopped = None
        self.imports.started()
        if self.limits.fuel is not None:
            self.entry.store.set_fuel(self.limits.fuel)

    def _taken(self) -> None:
        if not self._running.acquire(blocking=False):
            raise Busy("the instance runs another script; an instance runs one at a time")

    def _slice[T](self, work: Callable[[], T]) -> T:
        """Run guest code under the guards. Whatever ends it is the one error of it."""
        self._taken()
        try:
            if self.lost:
                raise StateLost(f"the instance was ended by force ({self.lost}); reset it, or restore a snapshot")
            with self.warm.runtime.running():
                self._guard.begin(max(1, math.ceil((self._hard_ends - self._clock()) * 1000)))
                try:
                    if not self._bounded:
                        self._bounded = True
                        self.entry.call("qjs_set_memory_limit", self._allowed)
                    return work()
                except (Trap, WasmtimeError, ComponentTrapped) as error:
                    raise self._killed(error) from None
                except SandboxError as error:
                    self._after_stop()
                    error.used = self.used()
                    raise
        finally:
            self._running.release()

    def _killed(self, error: Exception) -> SandboxError:
        """The instance is dead; why."""
        found: SandboxError
        if self.imports.failed is not None:
            found, self.imports.failed = self.imports.failed, None
            found.used = self.used()
        elif self._stop:
            found = Cancelled()
            found.used = self.used()
        elif self._guard.interrupted:
            found = self._timeout()
            found.used = self.used()
        else:
            ended = verdict(End(str(error), self.used()), self.limits, "the script")
            assert isinstance(ended, SandboxError)  # only a host's own error may be another, and those were kept above
            found = ended
        self.lost = str(found)
        return found

    def _timeout(self) -> SandboxError:
        elapsed = (self._clock() - self._begun) * 1000
        return ExecutionTimeout(self.limits.fuel, None, self._timeout_ms, elapsed, "the script")

    def _after_stop(self) -> None:
        """A script that was stopped may have left jobs that would go on with the next one."""
        if self._stopped is not None:
            self._main = 0
            if self.entry.call("qjs_is_job_pending"):
                self.lost = f"{self._stopped}, with promises that would have gone on"

    def _force(self) -> None:
        if self._stop and self._running.locked():
            self._guard.cancelled = True
            self.warm.runtime.nudge()

    def _begin(self, code: str, inputs: str, module: bool, name: str) -> Step:
        if not self.prepared:
            self.prepared = True
            self.imports.prepare()
        if inputs:
            self._globals(inputs)
        self._main = self._eval(code, module, name)
        return self._drained()

    def _eval(self, code: str, module: bool, name: str, flags: int = 0) -> int:
        """A handle of what the code gives."""
        raw = code.encode("utf-8", "surrogatepass")
        self._wrapped = not module and "await" in code  # then it gives a promise of {value}
        flags |= _MODULE if module else _ASYNC if self._wrapped else 0
        entry = self.entry
        if len(raw) < SCRATCH_BYTES // 2:
            address = self.warm.scratch + SCRATCH_BYTES // 2
            entry.write(address, raw + b"\0")
        else:
            address = self.text(raw)
        title = self.text(name.encode("utf-8", "replace")) if name else self.warm.name
        handle = entry.call("qjs_eval", address, len(raw), title, flags)
        try:
            return self.checked(handle)
        except ScriptError as error:
            if error.name == "SyntaxError" and not self._compiles(address, raw, title, flags):
                raise ScriptSyntaxError(error.name, error.message, error.stack) from None
            raise
        finally:
            if len(raw) >= SCRATCH_BYTES // 2:
                entry.call("wasm_free", address)
            if name:
                entry.call("wasm_free", title)

    def _compiles(self, address: int, raw: bytes, title: int, flags: int) -> bool:
        """Whether it is JavaScript: asked only after a SyntaxError, which JSON.parse throws as well."""
        if len(raw) < SCRATCH_BYTES // 2:
            self.entry.write(address, raw + b"\0")
        handle = self.entry.call("qjs_eval", address, len(raw), title, flags | _COMPILE_ONLY)
        failed = self.tag(handle) == _EXCEPTION
        if failed:
            self.free(self.entry.call("qjs_get_exception"))
        self.free(handle)
        return not failed

    def _begin_function(self, function: str, args: str) -> Step:
        if not self.prepared:
            self.prepared = True
            self.imports.prepare()
        found = self._eval(function, False, "")
        given = self.string(args)
        if not self.entry.call("qjs_is_function", found):
            self.free(found, given)
            raise ScriptError("TypeError", f"{function} is not a function")
        self._main = self.checked(self.function("apply", found, given))
        self.free(found, given)
        return self._drained()

    def _globals(self, text: str) -> None:
        given = self.string(text)
        self.free(self.checked(self.function("globals", given)), given)

    def _drained(self) -> Step:
        """Run all jobs, then look at what the script came to."""
        call = self.entry.call
        while call("qjs_is_job_pending"):
            if call("qjs_execute_pending_job") >> 31:
                self.free(call("qjs_get_exception"))
            if self._stopped is not None:
                break
        if self._stopped is not None:
            raise self._stopped
        new = self.imports.taken()
        while True:
            main = self._main
            if self.tag(main) >= 0 or not call("qjs_is_promise", main):
                return Waits(new) if self.imports.outstanding else self._done(main)
            if not self._awaited(main):
                return Waits(new)

    def _awaited(self, main: int) -> bool:
        """Whether the promise that the script came to is settled; then its value is what it came to."""
        call = self.entry.call
        state = call("qjs_promise_state", main)
        if state == 0:
            if not self.imports.outstanding:
                self._dropped()
                raise ScriptError("Error", "the script waits for a promise that nothing will settle")
            return False
        call("qjs_promise_mark_as_handled", main)
        self.imports.handled(call("qjs_get_value_ptr", main))
        result = call("qjs_promise_result", main)
        self._dropped()
        if state != 1:
            raise self.error(result)
        if self._wrapped:
            self._wrapped = False
            self._main = call("qjs_get_prop_string", result, self.warm.value)
            self.free(result)
        else:
            self._main = result
        return True

    def _done(self, handle: int) -> Step:
        value = self.value(handle)
        self._dropped()
        self.imports.report()
        return Done(value)

    def _dropped(self) -> None:
        if self._main:
            self.free(self._main)
            self._main = 0

    def _at_once(self, step: Step) -> Any:
        if isinstance(step, Done):
            return step.value
        names = ", ".join(sorted({call.function for call in step.calls}))
        raise InvalidConfiguration(f"the script waits for {names}: it has to be run where that can be awaited")

    # What the engine's values are, by handle.

    def tag(self, handle: int) -> int:
        """The kind of a value that needs no memory of its own; -1 for all others."""
        tag = int.from_bytes(self.entry.read(handle + 4, 4), "little")
        return tag if tag <= _EXCEPTION else -1

    def value(self, handle: int) -> Any:
        """The Python form of a value."""
        raw = self.entry.read(handle, 8)
        tag = int.from_bytes(raw[4:], "little")
        if tag == _INT:
            return int.from_bytes(raw[:4], "little", signed=True)
        if tag == _BOOL:
            return raw[0] != 0
        if tag in (_NULL, _UNDEFINED):
            return None
        if self.entry.call("qjs_is_string", handle):
            return self.read(handle)
        made = self.checked(self.function("result", handle))
        text = self.read(made)
        self.free(made)
        return values.decode(text)

    def read(self, handle: int) -> str:
        """The text of a string."""
        entry, scratch = self.entry, self.warm.scratch
        address = entry.call("qjs_get_string_len", handle, scratch)
        if not address:
            raise self._pending_error()
        length = entry.word(scratch)
        if length > values.TEXT_BYTES_MAX:
            entry.call("qjs_free_cstring", address)
            raise ResourceLimitExceeded("value", values.TEXT_BYTES_MAX, length)
        data = entry.read(address, length)
        entry.call("qjs_free_cstring", address)
        return data.decode("utf-8", "surrogatepass")

    def string(self, text: str) -> int:
        """A handle of this text."""
        raw = text.encode("utf-8", "surrogatepass")
        address = self.text(raw)
        handle = self.entry.call("qjs_new_string", address, len(raw))
        self.entry.call("wasm_free", address)
        return self.checked(handle)

    def truth(self, value: bool) -> int:
        """A handle of this truth."""
        return self.entry.call("qjs_get_true" if value else "qjs_get_false")

    def text(self, raw: bytes) -> int:
        """These bytes and a NUL in the instance's memory; whoever asks frees them."""
        address = self.entry.call("wasm_malloc", len(raw) + 1)
        if not address:
            raise OutOfMemory(self.limits.memory, len(raw))
        self.entry.write(address, raw + b"\0")
        return address

    def function(self, name: str, *handles: int) -> int:
        """Call a function of the prelude's; a handle of what it gave, perhaps an exception."""
        entry = self.entry
        address = self.warm.scratch + 16
        entry.write(address, b"".join(each.to_bytes(4, "little") for each in handles) or b"\0")
        functions = self.warm.functions
        return entry.call("qjs_call", functions[name], functions["undefined"], len(handles), address)

    def checked(self, handle: int) -> int:
        """The handle, or the error that was thrown instead."""
        if not handle or self.tag(handle) == _EXCEPTION:
            raise self._pending_error()
        return handle

    def free(self, *handles: int) -> None:
        """Let go of these values."""
        for handle in handles:
            if handle:
                self.entry.call("qjs_free_value", handle)

    def _pending_error(self) -> SandboxError:
        return self.error(self.entry.call("qjs_get_exception"))

    def error(self, thrown: int) -> SandboxError:
        """What a thrown value says, as the one error that it is. Frees it."""
        if self._stopped is not None:
            self.free(thrown)
            return self._stopped
        self.entry.call("qjs_set_memory_limit", 0)
        try:
            made = self.function("describe", thrown)
            if self.tag(made) == _EXCEPTION:
                self.free(self.entry.call("qjs_get_exception"), thrown)
                return self._stopped or self._said("", "a value was thrown that cannot be described", "", "")
            said = values.decode(self.read(made))
            self.free(made, thrown)
        finally:
            self.entry.call("qjs_set_memory_limit", self._allowed)
        return self._said(*(str(said[each]) for each in ("name", "message", "stack", "host")))

    def _said(self, name: str, message: str, stack: str, host: str) -> SandboxError:
        raised = self.imports.raised_as(host)
        if raised is not None:
            return raised
        if name == "InternalError" and message == "out of memory":
            return OutOfMemory(self.limits.memory, None)
        if not stack and message in ("null", "") and self.entry.size > self.limits.memory * 3 // 4:
            return OutOfMemory(self.limits.memory, None)  # there was none left to make the error of
        if message == "Maximum call stack size exceeded":
            return ResourceLimitExceeded("stack", STACK_BYTES, None)
        return ScriptError(name, message, stack)
