"""An instance that lives on between calls as an actor's: begun, given messages, asked for its health, let go.

A component exports what of `durable:host/lifecycle` it needs, or the same functions without the interface; a core
module `_start`, `_cleanup`, `_health` and `handle-message` (requirements A25-A31, specs/actors.md, W1-W3). All of them
are optional. Two threads of which one ends what the other calls come one after the other: wasm's own store is not for
both, and whoever cancels a call does not know yet that it has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from capabilities.actors.errors import ActorNotReady
from capabilities.actors.health import Health, checked, health_of, read_health
from capabilities.actors.states import ComponentEvent, ComponentState, step_component
from capabilities.sandbox.errors import ExecutionFailed, SerializationError
from capabilities.sandbox.wasm.component_call import ComponentCall
from capabilities.sandbox.wasm.fuel_meter import Outcome
from capabilities.sandbox.wasm.module_call import CoreCall

LIFECYCLE = "durable:host/lifecycle@"

type Role = Literal["start", "cleanup", "health", "message", "callback", "execute"]

_INTERFACE: Mapping[Role, str] = {
    "start": "init",
    "cleanup": "shutdown",
    "health": "health",
    "message": "handle-message",
    "callback": "handle-callback",
    "execute": "execute",
}
_OF_COMPONENTS: Mapping[Role, str] = {
    "start": "start",
    "cleanup": "cleanup",
    "health": "health",
    "message": "handle-message",
    "callback": "handle-callback",
}
_OF_MODULES: Mapping[Role, str] = {
    "start": "_start",
    "cleanup": "_cleanup",
    "health": "_health",
    "message": "handle-message",
}


class InstanceMessage(msgspec.Struct, frozen=True):
    """A message for an instance. invoke: function and its arguments; message: sender and bytes; callback: request and
    Ok or Err; health: nothing.
    """

    kind: Literal["invoke", "message", "callback", "health"]
    args: tuple[Any, ...] = ()


class Dropped(Exception):
    """Raised where it has no function for this kind of message: nothing was called (A30)."""


class ActorInstance:
    """One incarnation of an actor. `call` is fresh: nothing was called in it yet."""

    def __init__(self, call: CoreCall | ComponentCall, name: str) -> None:
        self.call = call
        self.name = name
        self.state = ComponentState.CREATING
        self._in_use = threading.RLock()
        self.started_at: float | None = None
        """Seconds since the epoch (A31)."""
        self._exports = call.exports()
        self._lifecycle = next((each for each in self._exports if each.startswith(LIFECYCLE)), None)

    def export(self, role: Role) -> str | None:
        """The function for it; None where there is none."""
        wanted = _INTERFACE[role]
        if self._lifecycle is not None and wanted in self._exports[self._lifecycle]:
            return f"{self._lifecycle}#{wanted}"
        plain = (_OF_MODULES if isinstance(self.call, CoreCall) else _OF_COMPONENTS).get(role)
        return plain if plain is not None and plain in self._exports[""] else None

    def start(self, config: bytes = b"") -> None:
        """Instantiate it, and call its start. It is Failed where that raises, and ready otherwise."""
        with self._in_use:
            self._go(ComponentEvent.START)
            try:
                self._begin(config)
            except BaseException:
                self._go(ComponentEvent.FAIL)
                raise
            self._go(ComponentEvent.LOAD)
        self.started_at = time.time()

    def _begin(self, config: bytes) -> None:
        self.call.instantiate()
        function = self.export("start")
        if function is not None:
            self.call.call(function, *((config,) if "#" in function else ()))
        if self.call.closed:
            raise ExecutionFailed(function or "start", "it ended the program: an actor lives on, it returns")

    def resume(self) -> None:
        """Be ready without a start: it was given the state of an instance that was started."""
        self._go(ComponentEvent.START)
        self._go(ComponentEvent.LOAD)
        self.started_at = time.time()

    def take(self, message: InstanceMessage) -> Outcome:
        """Give it a message. ActorNotReady, Dropped, Err for its own error, or the SandboxError of what stopped it."""
        with self._in_use:
            if self.state is not ComponentState.READY:
                raise ActorNotReady(self.name, str(self.state))
            try:
                found: Outcome = getattr(self, f"_{message.kind}")(*message.args)
            finally:
                if self.call.closed:  # it trapped, or was stopped
                    self._go(ComponentEvent.FAIL)
        return found

    def health(self) -> Health:
        """Its health, by its state or by what it says itself."""
        with self._in_use:
            if self.state is not ComponentState.READY:
                return health_of(self.state)
            found: Health = self._health().value
        return found

    def stop(self) -> None:
        """Call its cleanup, and give back all that it holds, whatever that came to. What cleanup raised. Idempotent.

        A call in another thread ends first: cancel it. An instance whose call was cancelled has no cleanup.
        """
        with self._in_use:
            if self.state is ComponentState.TERMINATED:
                return
            ready = self.state is ComponentState.READY and not self.ended
            self._go(ComponentEvent.STOP)
            try:
                function = self.export("cleanup") if ready else None
                if function is not None:
                    self.call.call(function)
            finally:
                self.call.close()
                self._go(ComponentEvent.FREE)

    @property
    def ended(self) -> bool:
        """Whether it takes no more: it trapped, was closed, or its call was cancelled and will end."""
        return self.call.closed or self.call.guard.cancelled

    # -- kinds of messages ----------------------------------------------------------------------------------------

    def _invoke(self, function: str, args: list[Any]) -> Outcome:
        name = self._named(function)
        if name is not None:
            return self.call.call(name, *args)
        execute = self.export("execute")
        if execute is None:
            return self.call.call(function, *args)  # which says what there is
        data = args[0] if args else b""
        context = {"execution": self.name, "timeout_millis": self.call.limits.timeout_ms}
        return self.call.call(execute, function, data, context)

    def _named(self, function: str) -> str | None:
        if "#" in function or function in self._exports[""]:
            return function
        inside = self._lifecycle is not None and function in self._exports[self._lifecycle]
        return f"{self._lifecycle}#{function}" if inside else None

    def _message(self, sender: str, data: bytes) -> Outcome:
        function = self.export("message")
        if function is None:
            raise Dropped(f"{self.name} exports no handle-message")
        if isinstance(self.call, CoreCall):
            return self.call.call_bytes(function, data)
        outcome = self.call.call(function, sender, data)
        if outcome.value is not None and not isinstance(outcome.value, bytes):
            raise SerializationError(f"the reply of {function} is bytes or none, not {type(outcome.value).__name__}")
        return outcome

    def _callback(self, request: str, answer: Any) -> Outcome:
        function = self.export("callback")
        if function is None:
            raise Dropped(f"{self.name} exports no handle-callback")
        return self.call.call(function, request, answer)

    def _health(self) -> Outcome:
        function = self.export("health")
        if function is None:
            return Outcome(health_of(self.state), self.call.used())
        outcome = self.call.call(function)
        return Outcome(checked(_said(function, outcome.value), outcome.used.elapsed_ms), outcome.used)

    def _go(self, event: ComponentEvent) -> None:
        self.state = step_component(self.state, event)


def _said(function: str, value: Any) -> Health:
    try:
        return read_health(value)
    except ValueError as error:
        raise SerializationError(f"what {function} returned: {error}") from None
