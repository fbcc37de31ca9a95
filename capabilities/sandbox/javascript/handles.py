"""Values of one instance by their handles: made, read, called, freed, and thrown ones as the errors that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from capabilities.sandbox.errors import ComponentTrapped, OutOfMemory, ResourceLimitExceeded, SandboxError
from capabilities.sandbox.javascript import values
from capabilities.sandbox.javascript.errors import ScriptError
from capabilities.sandbox.javascript.ffi import Entry
from capabilities.sandbox.javascript.warm_image import STACK_BYTES, WarmImage
from capabilities.sandbox.limits import MIB, SandboxLimits

MEMORY_MIN = 4 * MIB
STATIC_BYTES = 1280 * 1024
"""Bytes of an instance's memory: its C stack and what it begins with."""
RESERVE_BYTES = 512 * 1024
"""Bytes of an instance's memory, kept from scripts: for the error that says that there is no more."""

EXCEPTION = 6
_INT, _BOOL, _NULL, _UNDEFINED = 0, 1, 2, 3
"""Tags of the engine's values, in the upper half of their eight bytes."""


class Handles:
    """The handles of one instance, used between `begin` and `end` of its guard.

    stopped: what ends the script, once something does. raised_as: the error that a host function raised, by its number.
    """

    def __init__(
        self,
        entry: Entry,
        warm: WarmImage,
        limits: SandboxLimits,
        stopped: Callable[[], SandboxError | None],
        raised_as: Callable[[str], SandboxError | None],
    ) -> None:
        self.entry = entry
        self.warm = warm
        self.limits = limits
        self._stopped = stopped
        self._raised_as = raised_as
        self._allowed = limits.memory - STATIC_BYTES - RESERVE_BYTES

    def bound(self) -> None:
        """Tell the engine its limit of memory."""
        self.entry.call("qjs_set_memory_limit", self._allowed)

    def tag(self, handle: int) -> int:
        """The kind of a value that needs no memory of its own; -1 for all others."""
        tag = int.from_bytes(self.entry.read(handle + 4, 4), "little")
        return tag if tag <= EXCEPTION else -1

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

    def shown(self, handle: int) -> str:
        """The text by which JavaScript shows a value; "" of undefined."""
        if self.tag(handle) == _UNDEFINED:
            return ""
        made = self.checked(self.function("show", handle))
        text = self.read(made)
        self.free(made)
        return text

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
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise ComponentTrapped("the engine gave a text that is none") from None

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
        if not handle or self.tag(handle) == EXCEPTION:
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
        """The one error that a thrown value stands for. Frees the value."""
        if (stopped := self._stopped()) is not None:
            self.free(thrown)
            return stopped
        self.entry.call("qjs_set_memory_limit", 0)
        try:
            made = self.function("describe", thrown)
            if self.tag(made) == EXCEPTION:
                self.free(self.entry.call("qjs_get_exception"), thrown)
                return self._stopped() or self._said("", "a value was thrown that cannot be described", "", "")
            said = values.decode(self.read(made))
            self.free(made, thrown)
        finally:
            self.bound()
        if not isinstance(said, dict):
            raise ComponentTrapped("the engine gave an error that is none")
        return self._said(*(str(said.get(each, "")) for each in ("name", "message", "stack", "host")))

    def _said(self, name: str, message: str, stack: str, host: str) -> SandboxError:
        raised = self._raised_as(host)
        if raised is not None:
            return raised
        if name == "InternalError" and message == "out of memory":
            return OutOfMemory(self.limits.memory, None)
        if not stack and message in ("null", "") and self.entry.size > self.limits.memory * 3 // 4:
            return OutOfMemory(self.limits.memory, None)  # there was none left to make the error of
        if message == "Maximum call stack size exceeded":
            return ResourceLimitExceeded("stack", STACK_BYTES, None)
        return ScriptError(name, message, stack)
