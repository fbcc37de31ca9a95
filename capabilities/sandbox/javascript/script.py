"""The script that one instance runs: begun, its jobs run until it ends or waits, its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capabilities.sandbox.javascript.deadline import DeadlineWatch
from capabilities.sandbox.javascript.errors import ScriptError, ScriptSyntaxError
from capabilities.sandbox.javascript.handles import EXCEPTION, Handles
from capabilities.sandbox.javascript.host_functions import Imports, ScriptHostCall
from capabilities.sandbox.javascript.warm_image import SCRATCH_BYTES

_MODULE, _ASYNC, _COMPILE_ONLY = 1, 1 << 7, 1 << 5

_NO_EXPORT = "Could not find export"
"""How QuickJS says that a module does not export what another one imports."""


@dataclass(frozen=True, slots=True)
class ScriptDone:
    """The script ended with this value."""

    value: Any
    shown: str = ""
    """The text by which JavaScript shows the value, where that was asked for."""


@dataclass(frozen=True, slots=True)
class ScriptWaits:
    """The script waits for host calls; these are new."""

    calls: Sequence[ScriptHostCall]


type Step = ScriptDone | ScriptWaits
"""The outcome of a script each time it runs: an end, or host calls that it waits for."""


class Script:
    """The script of one instance, one at a time. prepared: the instance has its host functions."""

    def __init__(self, handles: Handles, imports: Imports, watch: DeadlineWatch) -> None:
        self._handles = handles
        self._imports = imports
        self.prepared = False
        self._watch = watch
        self._main = 0  # a handle of what the script came to
        self._wrapped = False
        self._shows = False

    def begin(self, code: str, inputs: str, module: bool, name: str, shows: bool) -> Step:
        """Run code; inputs are its globals as JSON text, or "". shows: with the text by which its value is shown."""
        self._shows = shows
        self._prepare()
        if inputs:
            self.globals(inputs)
        self._main = self._eval(code, module, name)
        return self._drained()

    def settle(self, call: str, done: bool, text: str) -> Step:
        """Give the script what a host call came to (JSON text of a value or an error) and go on."""
        handles = self._handles
        given = [handles.string(call), handles.truth(done), handles.string(text)]
        handles.free(handles.checked(handles.function("settle", *given)), *given)
        return self._drained()

    def forget(self) -> None:
        """Forget what the script came to: it is not asked for any more."""
        self._main = 0

    def _prepare(self) -> None:
        if not self.prepared:
            self.prepared = True
            self._imports.prepare()

    def _eval(self, code: str, module: bool, name: str, flags: int = 0) -> int:
        """A handle of what the code gives."""
        raw = code.encode("utf-8", "surrogatepass")
        self._wrapped = not module and "await" in code  # then it gives a promise of {value}
        flags |= _MODULE if module else _ASYNC if self._wrapped else 0
        entry = self._handles.entry
        if len(raw) < SCRATCH_BYTES // 2:
            address = self._handles.warm.scratch + SCRATCH_BYTES // 2
            entry.write(address, raw + b"\0")
        else:
            address = self._handles.text(raw)
        title = self._handles.text(name.encode("utf-8", "replace")) if name else self._handles.warm.name
        handle = entry.call("qjs_eval", address, len(raw), title, flags)
        try:
            return self._handles.checked(handle)
        except ScriptError as error:
            if error.name != "SyntaxError":
                raise
            if self._wrapped and self._reads(address, raw, title, flags & ~_ASYNC):
                self._wrapped = False  # `await` is a name in it
                return self._handles.checked(entry.call("qjs_eval", address, len(raw), title, flags & ~_ASYNC))
            if not self._compiles(address, raw, title, flags) or (module and _NO_EXPORT in error.message):
                raise ScriptSyntaxError(error.name, error.message, error.stack) from None
            raise
        finally:
            if len(raw) >= SCRATCH_BYTES // 2:
                entry.call("wasm_free", address)
            if name:
                entry.call("wasm_free", title)

    def _reads(self, address: int, raw: bytes, title: int, flags: int) -> bool:
        """Whether it is JavaScript without top-level await, and is not with it. The source is in its place again."""
        with_await = self._compiles(address, raw, title, flags | _ASYNC)
        found = not with_await and self._compiles(address, raw, title, flags)
        if found and len(raw) < SCRATCH_BYTES // 2:
            self._handles.entry.write(address, raw + b"\0")
        return found

    def _compiles(self, address: int, raw: bytes, title: int, flags: int) -> bool:
        """Whether it is JavaScript: asked only after a SyntaxError, which JSON.parse throws as well."""
        if len(raw) < SCRATCH_BYTES // 2:
            self._handles.entry.write(address, raw + b"\0")
        handle = self._handles.entry.call("qjs_eval", address, len(raw), title, flags | _COMPILE_ONLY)
        failed = self._handles.tag(handle) == EXCEPTION
        if failed:
            self._handles.free(self._handles.entry.call("qjs_get_exception"))
        self._handles.free(handle)
        return not failed

    def begin_function(self, function: str, args: str) -> Step:
        """Call a function of the script's; args as JSON text."""
        self._shows = False
        self._prepare()
        found = self._eval(function, False, "")
        given = self._handles.string(args)
        if not self._handles.entry.call("qjs_is_function", found):
            self._handles.free(found, given)
            raise ScriptError("TypeError", f"{function} is not a function")
        self._main = self._handles.checked(self._handles.function("apply", found, given))
        self._handles.free(found, given)
        return self._drained()

    def globals(self, text: str) -> None:
        """Make these globals, given as JSON text."""
        given = self._handles.string(text)
        self._handles.free(self._handles.checked(self._handles.function("globals", given)), given)

    def _drained(self) -> Step:
        """Run all jobs, then look at what the script came to."""
        call = self._handles.entry.call
        self.jobs()
        while self._watch.stopped is None and not self._imports.outstanding and self._ticked():
            self.jobs()
        if self._watch.stopped is not None:
            raise self._watch.stopped
        new = self._imports.taken()
        while True:
            main = self._main
            if self._handles.tag(main) >= 0 or not call("qjs_is_promise", main):
                return ScriptWaits(new) if self._imports.outstanding else self._done(main)
            if not self._awaited(main):
                return ScriptWaits(new)

    def _ticked(self) -> bool:
        """Whether a timer was there and has run: time is virtual, and passes when nothing else is to be done."""
        call, main = self._handles.entry.call, self._main
        waits = (
            self._handles.tag(main) < 0 and bool(call("qjs_is_promise", main)) and not call("qjs_promise_state", main)
        )
        given = self._handles.truth(waits)
        handle = self._handles.checked(self._handles.function("tick", given))
        ran = self._handles.value(handle)
        self._handles.free(handle, given)
        return ran is True

    def jobs(self) -> None:
        """Run the jobs of promises until there are none, or the script is stopped."""
        call = self._handles.entry.call
        while self._watch.stopped is None and call("qjs_is_job_pending"):
            if call("qjs_execute_pending_job") >> 31:
                self._handles.free(call("qjs_get_exception"))

    def _awaited(self, main: int) -> bool:
        """Whether the promise that the script came to is settled; then its value is what it came to."""
        call = self._handles.entry.call
        state = call("qjs_promise_state", main)
        if state == 0:
            if not self._imports.outstanding:
                self._dropped()
                raise ScriptError("Error", "the script waits for a promise that nothing will settle")
            return False
        call("qjs_promise_mark_as_handled", main)
        self._imports.handled(call("qjs_get_value_ptr", main))
        result = call("qjs_promise_result", main)
        self._dropped()
        if state != 1:
            raise self._handles.error(result)
        if self._wrapped:
            self._wrapped = False
            self._main = call("qjs_get_prop_string", result, self._handles.warm.value)
            self._handles.free(result)
        else:
            self._main = result
        return True

    def _done(self, handle: int) -> Step:
        value = self._handles.value(handle)
        shown = self._handles.shown(handle) if self._shows else ""
        self._dropped()
        self._imports.report()
        self.jobs()  # of getters that were asked for the value
        if self._watch.stopped is not None:
            raise self._watch.stopped
        return ScriptDone(value, shown)

    def _dropped(self) -> None:
        if self._main:
            self._handles.free(self._main)
            self._main = 0
