"""The journal of an actor that is a component: its messages since it was saved, with what it was answered meanwhile.

An instance of a component cannot be read from outside, so it is made again by giving a fresh one the same messages and
the same answers. An entry has both: nothing else is needed, whatever became of the messages (specs/actors.md, W6).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec

from capabilities.sandbox.host_calls import CallFailed, HostCall, Port
from capabilities.sandbox.wasm.actor_instance import InstanceMessage
from capabilities.sandbox.wasm.wit_values import Err, Ok, plain
from durable.core.errors import NonDeterminism
from durable.records.values import digest

LOCAL = "local"
"""The capability, in a journal, of what the engine answers itself."""


class JournalCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host call: what was asked, after how much fuel, and its answer, or the kind and the text of its failure."""

    asked: str
    fuel: int | None = None
    value: Any = None
    failed: tuple[str, str] | None = None


class JournalEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that was taken. `execution`: under which; `fuel`: all that it used, by the meter `meter`.

    checks: the health checks since the message before it, each an entry of the kind `check` under that one's execution.
    """

    execution: str
    kind: str
    args: list[Any] = []
    calls: list[JournalCall] = []
    meter: str = ""
    fuel: int | None = None
    checks: list[JournalEntry] = []

    def message(self) -> InstanceMessage:
        """The message, as it was given to the instance."""
        return read_message(self.kind, self.args)


def read_message(kind: str, args: list[Any]) -> InstanceMessage:
    """A message from its JSON: bytes are base64, the answer to a request {"ok"} or {"err"}."""
    match kind, args:
        case "invoke", [str(), list()]:
            return InstanceMessage("invoke", tuple(args))
        case "message", [str(sender), str(data)]:
            return InstanceMessage("message", (sender, base64.b64decode(data)))
        case "callback", [str(request), {"ok": str(data)}]:
            return InstanceMessage("callback", (request, Ok(base64.b64decode(data))))
        case "callback", [str(request), {"err": dict(failure)}]:
            return InstanceMessage("callback", (request, Err(failure)))
        case "health" | "check", []:
            return InstanceMessage("health")
    raise AssertionError(f"no message of an instance: {kind!r}, {args!r}")


_entries = msgspec.json.Decoder(JournalEntry)


def read_entry(text: str) -> JournalEntry:
    """An entry as it is stored. msgspec.DecodeError."""
    return _entries.decode(text)


def write_entry(entry: JournalEntry) -> str:
    """An entry as JSON."""
    return msgspec.json.encode(entry).decode()


def _asked(call: HostCall) -> str:
    return digest(call.capability, call.method, call.arguments)


class JournalPort:
    """The port of an instance: it asks whoever answers now and notes that, or answers from an entry."""

    def __init__(self) -> None:
        self.noted: list[JournalCall] = []
        self._live: Port | None = None
        self._entry: JournalEntry | None = None
        self._compare = False
        self._place = 0

    def record(self, port: Port) -> None:
        """From now on calls go to this port, and are noted."""
        self._live, self._entry, self.noted = port, None, []

    def replay(self, entry: JournalEntry, meter: str) -> None:
        """From now on calls are answered from an entry; fuel is compared where the same meter counted it."""
        self._live, self._entry, self._place = None, entry, 0
        self._compare = bool(meter) and entry.meter == meter

    def replayed(self, fuel: int | None) -> None:
        """Check that the message is over as it was the first time. NonDeterminism."""
        entry = self._entry
        assert entry is not None
        if self._place != len(entry.calls):
            raise NonDeterminism(entry.execution, f"{len(entry.calls)} host calls", f"{self._place}")
        if self._compare and entry.fuel is not None and fuel is not None and fuel != entry.fuel:
            raise NonDeterminism(entry.execution, f"{entry.fuel} units of fuel", f"the same with {fuel}")

    def __call__(self, call: HostCall) -> Future[Any]:
        """Begin a host call, from the thread that runs the code."""
        if self._entry is not None:
            return self._again(self._entry, call)
        assert self._live is not None
        answer = self._live(call)
        noted = self.noted
        answer.add_done_callback(lambda done: _note(noted, call, done))
        return answer

    def local(self, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the engine's own, as the instance calls it: its answer is noted, too."""

        def call(*args: Any) -> Any:
            asked = HostCall(LOCAL, name, {"args": plain(list(args))})
            if self._entry is not None:
                return self._again(self._entry, asked).result()
            value = answer(*args)
            self.noted.append(JournalCall(_asked(asked), None, value))
            return value

        return call

    def _again(self, entry: JournalEntry, call: HostCall) -> Future[Any]:
        found: Future[Any] = Future()
        what = f"{call.capability}.{call.method}" if call.method else call.capability
        if self._place == len(entry.calls):
            found.set_exception(NonDeterminism(entry.execution, f"{self._place} host calls", f"{what} as one more"))
            return found
        recorded = entry.calls[self._place]
        self._place += 1
        if recorded.asked != _asked(call):
            found.set_exception(NonDeterminism(entry.execution, "another host call in this place", what))
        elif self._compare and None not in (recorded.fuel, call.fuel) and recorded.fuel != call.fuel:
            was, now = f"{what} after {recorded.fuel} units of fuel", f"it after {call.fuel}"
            found.set_exception(NonDeterminism(entry.execution, was, now))
        elif recorded.failed is not None:
            found.set_exception(CallFailed(*recorded.failed))
        else:
            found.set_result(recorded.value)
        return found


def _note(noted: list[JournalCall], call: HostCall, done: Future[Any]) -> None:
    if done.cancelled():
        return
    error = done.exception()
    if error is None:
        noted.append(JournalCall(_asked(call), call.fuel, done.result()))
    elif isinstance(error, CallFailed):
        noted.append(JournalCall(_asked(call), call.fuel, None, (error.kind, error.message)))
