"""The host of an instance: the functions that it was given, its modules, its output, and no more."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import os
import posixpath
import struct
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wasmtime import Trap, WasmtimeError

from capabilities.call_signature import Method
from capabilities.sandbox.errors import (
    MESSAGE_MAX,
    CapabilityDenied,
    ComponentTrapped,
    HostError,
    ResourceLimitExceeded,
    SandboxError,
)
from capabilities.sandbox.host_calls import CallFailed
from capabilities.sandbox.javascript import values
from capabilities.sandbox.javascript.errors import ScriptSyntaxError
from capabilities.sandbox.javascript.modules import Source, as_module, asked_kind, parted

if TYPE_CHECKING:
    from capabilities.sandbox.javascript.vm import VM

OUTSTANDING_MAX = 1_000
"""Host calls that one script waits for at once."""
OUTSTANDING_BYTES_MAX = 2 * values.TEXT_BYTES_MAX
"""Bytes of their arguments, as text: Python holds all of them, at ten times that and more."""
CALLS_MAX = 100_000
"""Host calls of one execution."""
REJECTIONS_MAX = 100
RANDOM_BYTES_MAX = 65_536
ERRORS_MAX = 1_000
"""The last errors of host functions are remembered, to be raised as they were if the script does not catch them."""
CAUSES_MAX = 100
"""Causes of one error, one behind the other."""

_BAD_FILE = 8  # of WASI


@dataclass(frozen=True, slots=True)
class ScriptHostCall:
    """A call of an asynchronous host function that the script waits for."""

    id: str
    function: str
    args: list[Any]


class Imports:
    """The imports of one instance. Whatever a host function raises is an error of this instance and no other."""

    def __init__(
        self,
        vm: VM,
        functions: Mapping[str, Callable[..., Any]],
        modules: Mapping[str, Source],
        clock: Callable[[], float] | None,
        entropy: bool,
    ) -> None:
        self._vm = vm
        self._functions = {name: Method(name, function) for name, function in functions.items()}
        self._modules = {_place(name): source for name, source in modules.items()}
        self.script = ""
        """The source of the script that runs, of which modules may be imported."""
        self._clock = clock
        self._entropy = entropy
        self.calling = False
        """Whether a host function runs in this thread."""
        self.failed: SandboxError | None = None
        """The error that ended the call from within an import."""
        self._asking = ""
        """The host function that is asked for."""
        self._errors: dict[str, SandboxError] = {}

    @property
    def names(self) -> set[str]:
        """The names of its functions."""
        return set(self._functions)

    def fresh(self) -> None:
        """The instance is a new one."""
        self._drawn = 0
        self._rejected: dict[int, int] = {}
        self._last = 0
        self.started()

    def started(self) -> None:
        """An execution begins."""
        self.failed = None
        self._new: list[ScriptHostCall] = []
        self._sizes: dict[str, int] = {}
        self.outstanding: dict[str, str] = {}
        self._calls = 0
        self._failures = 0
        self._errors.clear()

    def prepare(self) -> None:
        """Give the instance its functions: under the guards of its first execution."""
        handles = self._vm.handles
        for name in self._functions:
            self._prepare(name)
        if self._entropy:
            handles.free(handles.checked(handles.function("entropy")))

    def define(self, name: str, function: Callable[..., Any], *, prepared: bool) -> None:
        """One more function, or another of that name. prepared: the instance has the others already."""
        self._functions[name] = Method(name, function)
        if prepared:
            self._prepare(name)

    def _prepare(self, name: str) -> None:
        handles = self._vm.handles
        given = [handles.string(name), handles.truth(self._functions[name].is_async)]
        handles.free(handles.checked(handles.function("define", *given)), *given)

    def imported(self, name: str, args: Sequence[int]) -> int:
        """Called by the instance. Ctrl-C comes while Python code runs, which is here: it asks the script to stop."""
        try:
            return int(_TABLE[name](self, *args))
        except KeyboardInterrupt:
            self._vm.stop()
            self._vm.watch.over  # noqa: B018 - it takes note of it
            return self._stopped() if name == "host_call" else int(name == "host_interrupt")

    def raised(self, error: BaseException) -> None:
        """An import itself failed: the call ends with this."""
        if isinstance(error, Trap | WasmtimeError):
            return  # the instance itself was ended, while an import of its used it: its guard knows
        self.failed = error if isinstance(error, SandboxError) else HostError("import", error)

    def taken(self) -> list[ScriptHostCall]:
        """Host calls that began since this was asked last."""
        new, self._new = self._new, []
        return new

    def failure(self, function: str, error: BaseException) -> str:
        """An error as the script sees it, remembered for when it is not caught."""
        message = str(error)
        short = len(message) <= MESSAGE_MAX
        known = error if isinstance(error, SandboxError) and short else HostError(function, error)
        if known is not error and short:
            known.__cause__ = error
        _let_go(error)
        self._failures += 1
        number = str(self._failures)
        self._errors[number] = known
        self._errors.pop(str(self._failures - ERRORS_MAX), None)
        name = "PermissionError" if isinstance(error, PermissionError) else type(error).__name__
        if isinstance(error, CallFailed):
            name, message = error.kind, error.message
        return json.dumps({"name": name, "message": message[:MESSAGE_MAX], "id": number})

    def raised_as(self, number: str) -> SandboxError | None:
        """The error that a host function raised, by the number that its script has."""
        return self._errors.get(number)

    def handled(self, promise: int) -> None:
        """Somebody looks at this promise: it is not reported."""
        reason = self._rejected.pop(promise, 0)
        self._vm.handles.free(reason)

    def report(self) -> None:
        """Tell of the promises that were rejected and that nobody looked at."""
        for reason in list(self._rejected.values()):
            self._print("stderr", f"Uncaught (in promise) {self._vm.handles.error(reason)}\n")
        self._rejected.clear()

    def settled(self, call: str) -> str:
        """A host call is over; its function."""
        self._sizes.pop(call, 0)
        return self.outstanding.pop(call)

    def _interrupt(self) -> int:
        return 1 if self._vm.watch.over else 0

    def _call(self, _name: int, _length: int, _this: int, count: int, address: int) -> int:
        if self._vm.watch.over:
            return self._stopped()
        self._asking = "host"
        try:
            return self._asked(*self._texts(count, address))
        except (Trap, WasmtimeError):
            raise
        except Exception as error:
            return self._thrown(self._asking, error)

    def _texts(self, count: int, address: int) -> list[str]:
        vm = self._vm
        if not 1 <= count <= 3:
            raise TypeError("the host takes one to three texts")
        handles = struct.unpack(f"<{count}I", vm.entry.read(address, 4 * count))
        if not all(vm.entry.call("qjs_is_string", handle) for handle in handles):
            raise TypeError("the host takes texts")
        return [vm.handles.read(handle) for handle in handles]

    def _asked(self, op: str, *texts: str) -> int:
        """A handle of the answer."""
        vm = self._vm
        match op, texts:
            case "print", ("stdout" | "stderr" as stream, text):
                self._print(stream, text)
                return vm.entry.call("qjs_dup_value", vm.warm.functions["undefined"])
            case "call", (function, args):
                self._asking = function
                return vm.handles.string(values.encode(self._result(function, args)))
            case "start", (function, args):
                self._asking = function
                return vm.handles.string(self._start(function, args))
            case "random", () if self._entropy:
                return vm.entry.new_number(int.from_bytes(os.urandom(7), "little") % (1 << 53) / (1 << 53))
        raise TypeError("the host does not know that")

    def _stopped(self) -> int:
        """Throw what a script cannot catch: the engine asks too seldom in a script that does little but host calls."""
        entry = self._vm.entry
        error = entry.call("qjs_new_error")
        low, high = struct.unpack("<II", entry.read(error, 8))
        entry.call_wide("JS_SetUncatchableError", entry.call("qjs_get_context_ptr"), low, high)
        self._vm.handles.free(entry.call("qjs_throw", error), error)
        return 0

    def _thrown(self, function: str, error: BaseException) -> int:
        """Throw it in the script. 0 says that an exception is pending."""
        vm = self._vm
        text = vm.handles.string(self.failure(function, error))
        vm.handles.free(vm.handles.function("fail", text), text)
        return 0

    def _method(self, function: str) -> Method:
        self._calls += 1
        if self._calls > CALLS_MAX:
            raise ResourceLimitExceeded("host calls", CALLS_MAX, self._calls)
        found = self._functions.get(function)
        if found is None:
            raise CapabilityDenied("the script", "call", function, "it was not given that function")
        return found

    def _result(self, function: str, text: str) -> Any:
        method = self._method(function)
        if method.is_async:
            raise CapabilityDenied("the script", "call", function, "it gives a promise")
        arguments = method.bind(values.decode(text), {})
        self.calling = True
        try:
            return method.call(arguments)
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C, which stops the script
            raise _ended(function, error) from error
        except (SystemExit, GeneratorExit, asyncio.CancelledError) as error:
            raise _ended(function, error) from error
        finally:
            self.calling = False

    def _start(self, function: str, text: str) -> str:
        if not self._method(function).is_async:
            raise CapabilityDenied("the script", "start", function, "it gives no promise")
        if len(self.outstanding) >= OUTSTANDING_MAX:
            raise ResourceLimitExceeded("host calls at once", OUTSTANDING_MAX, len(self.outstanding) + 1)
        held = sum(self._sizes.values()) + len(text)
        if held > OUTSTANDING_BYTES_MAX:
            raise ResourceLimitExceeded("arguments of host calls at once", OUTSTANDING_BYTES_MAX, held)
        self._last += 1
        call = ScriptHostCall(str(self._last), function, values.decode(text))
        self.outstanding[call.id] = function
        self._sizes[call.id] = len(text)
        self._new.append(call)
        return call.id

    async def perform(self, call: ScriptHostCall) -> Any:
        """Do what the script asked for. Whatever it raises is for the script."""
        method = self._functions[call.function]
        try:
            made = method.call(method.bind(call.args, {}))
            return await made if inspect.isawaitable(made) else made
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # whoever runs the script wants no more of it
            raise _ended(call.function, error) from error
        except (KeyboardInterrupt, SystemExit, GeneratorExit) as error:
            raise _ended(call.function, error) from error

    def _print(self, stream: str, text: str) -> None:
        vm = self._vm
        vm.output.writer(stream)(text.encode("utf-8", "replace"))
        if vm.on_output is not None:
            vm.on_output(stream, text)

    def _rejection(self, promise: int, reason: int, handled: int) -> int:
        vm = self._vm
        key = vm.entry.call("qjs_get_value_ptr", promise)
        vm.handles.free(promise)
        if handled or len(self._rejected) >= REJECTIONS_MAX:
            vm.handles.free(self._rejected.pop(key, 0) if handled else 0, reason)
        else:
            self._rejected[key] = reason
        return 0

    def _normalize(self, base: int, name: int) -> int:
        entry = self._vm.entry
        named, importer = _decoded(entry.c_string(name)), _decoded(entry.c_string(base))
        wanted = _resolved(importer, named)
        source = self._modules.get(importer, self.script)
        kind = asked_kind(source, named) if isinstance(source, str) else ""
        return self._vm.handles.text((f"{wanted} ({kind})" if kind else wanted).encode())

    def _load(self, name: int, length: int) -> int:
        vm = self._vm
        called = _decoded(vm.entry.c_string(name))
        wanted, kind = parted(called) if called not in self._modules else (called, "")
        source = self._modules.get(wanted)
        if source is None:
            given = ", ".join(sorted(self._modules)) or "none"
            return self._thrown("import", CapabilityDenied("the script", "import", wanted, f"its modules are {given}"))
        try:
            raw = as_module(wanted, source, kind).encode("utf-8", "surrogatepass")
        except ValueError as error:
            return self._thrown("import", ScriptSyntaxError("SyntaxError", str(error), ""))
        vm.entry.write(length, len(raw).to_bytes(4, "little"))
        return vm.handles.text(raw)

    def _time(self, _clock: int, _low: int, *rest: int) -> int:
        now = 0 if self._clock is None else int(self._clock() * 1e9)
        self._vm.entry.write(rest[-1], now.to_bytes(8, "little"))
        return 0

    def _random(self, address: int, count: int) -> int:
        """From the system when it was granted; else the same for every instance."""
        if count > RANDOM_BYTES_MAX:
            raise ComponentTrapped(f"the engine asked for {count} random bytes")
        if self._entropy:
            data = os.urandom(count)
        else:
            self._drawn += 1
            data = hashlib.shake_128(b"durable-exec %d" % self._drawn).digest(count)
        self._vm.entry.write(address, data)
        return 0

    def _write(self, file: int, pieces: int, count: int, written: int) -> int:
        entry = self._vm.entry
        if file not in (1, 2):
            return _BAD_FILE
        total = 0
        for at in range(min(count, 16)):
            address, length = struct.unpack("<II", entry.read(pieces + 8 * at, 8))
            self._print("stderr", entry.read(address, min(length, 65_536)).decode(errors="replace"))
            total += length
        entry.write(written, total.to_bytes(4, "little"))
        return 0


def _ended(function: str, error: BaseException) -> RuntimeError:
    """An error for the script in place of one meant for the program around it, which ends the host function only."""
    return RuntimeError(f"{function} raised {type(error).__name__}{f': {error}' if str(error) else ''}")


def _let_go(error: BaseException | None) -> None:
    """An error that is remembered keeps its lines, and not all that its functions held: arguments of megabytes."""
    for _ in range(CAUSES_MAX):
        if error is None:
            return
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _place(name: str) -> str:
    """A module's name as an import has it: `./sub.js` is `sub.js`, seen from the script."""
    return posixpath.normpath(name) if name.startswith(".") else name


def _resolved(importer: str, named: str) -> str:
    if not named.startswith("."):
        return named
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), named))


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _no_file(_imports: Imports, *_args: int) -> int:
    return _BAD_FILE


def _utc(_imports: Imports, *_args: int) -> int:
    return 0


_TABLE: dict[str, Callable[..., int]] = {
    "host_interrupt": Imports._interrupt,
    "host_call": Imports._call,
    "host_promise_rejection": Imports._rejection,
    "host_module_normalize": Imports._normalize,
    "host_module_load": Imports._load,
    "host_get_timezone_offset": _utc,
    "clock_time_get": Imports._time,
    "random_get": Imports._random,
    "fd_write": Imports._write,
    "fd_close": _no_file,
    "fd_seek": _no_file,
    "fd_fdstat_get": _no_file,
}
"""Handlers by the import's name, whatever its module."""
