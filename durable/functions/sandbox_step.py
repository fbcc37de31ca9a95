"""Foreign code as a step: run by the engine's sandbox, its value recorded (specs/sandbox.md, F4 and I1-I5)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import msgspec

from capabilities.sandbox.wasm.wit_values import Err, Ok, Some, Variant
from durable.core import ids
from durable.core.errors import BadArguments, DurableError, EngineFailed, NonDeterminism, NotDeclared, NotEncodable
from durable.functions.definition import NEVER
from durable.functions.failures import rejection
from durable.functions.replay.function_pass import FunctionPass, Perform, UnderWay
from durable.functions.resonate.sdk import PlatformError
from durable.functions.resonate.store_ports import internal
from durable.functions.step_run import Leaf
from durable.records.codec import decode
from durable.records.values import to_json

type RunCode = Callable[[str], Awaitable[Any]]
"""Runs the code under this execution id, and gives what is recorded."""

type Kept = tuple[str, bytes]
"""The execution id of a call, which signs for it, and the state after it."""
type Stateful = Callable[[str, Kept | None], Awaitable[Any]]
"""The same from a state that was kept; what is recorded has the state after it, `state`."""
type Ends = Callable[[], AbstractContextManager[None]]
"""What is done inside is cancelled when the function goes on no more."""


def given(value: Any, what: str) -> Any:
    """A copy of what is given to foreign code: values that it can take as they are, of anything else its JSON."""
    try:
        return _given(value, what)
    except RecursionError:
        raise NotEncodable(f"{what} cannot be given to foreign code: it contains itself, or is too deep") from None


def _given(value: Any, what: str) -> Any:
    match value:
        case None | str() | int() | float() | bytes() | datetime() | frozenset() | Variant() | Some() | Ok() | Err():
            return value
        case bytearray():
            return bytes(value)
        case set():
            return frozenset(value)
        case list() | tuple():
            return [_given(each, what) for each in value]
        case Mapping():
            return {key: _given(each, what) for key, each in value.items()}
    return to_json(value, what)


def performing(function_pass: FunctionPass, perform: RunCode, ends: Ends) -> Perform:
    """Foreign code as a leaf. It is tried once: whatever it asks for is recorded by itself."""
    run = function_pass.run

    async def body(promise_id: str) -> Any:
        execution = promise_id.removeprefix(ids.PREFIX)
        try:
            with ends():
                return await perform(execution)
        except (NonDeterminism, NotDeclared) as error:
            raise run.halted(error) from None
        except PlatformError:
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and run.closing():
                raise
            own = isinstance(error, EngineFailed) or not isinstance(error, DurableError)
            if own and isinstance(error, Exception):  # the code's are others of ours
                raise PlatformError([internal(f"run {execution}", error)]) from error
            raise rejection(error, execution) from None

    return Leaf(function_pass, body, NEVER, stoppable=True).perform


def with_state(value: Any, state: bytes) -> dict[str, Any]:
    """The record of an instance's call: both in one promise, so there never is one without the other."""
    return {"value": value, "state": base64.b64encode(state).decode("ascii")}


class InstanceCall:
    """One call of an instance: it runs once the call before it has ended."""

    def __init__(
        self, function_pass: FunctionPass, ends: Ends, stateful: Stateful, before: InstanceCall | None
    ) -> None:
        self._pass = function_pass
        self._before = before
        self._found: UnderWay | None = None

        async def performed(execution: str) -> Any:
            return await stateful(execution, await self._state())

        self.perform = performing(function_pass, performed, ends)

    def begun(self, found: UnderWay) -> None:
        self._found = found

    async def _state(self) -> Kept | None:
        """The state after the last call that succeeded: one that failed leaves the state as it was (I3)."""
        call = self._before
        while call is not None:
            assert call._found is not None
            record = await self._pass.record_of(call._found)
            if record.state == "resolved":
                call._before = None  # what was before it is not needed any more
                return call._found.promise_id.removeprefix(ids.PREFIX), base64.b64decode(decode(record)["state"])
            call = call._before
        return None


class Instances(msgspec.Struct):
    """The instances of one context: by component and name, the last call that was begun, and the task that owns it."""

    function_pass: FunctionPass
    ends: Ends
    _last: dict[tuple[str, str], InstanceCall] = {}
    _owners: dict[tuple[str, str], asyncio.Task[Any] | None] = {}

    def next(self, component: str, name: str, stateful: Stateful) -> InstanceCall:
        """The next call of an instance."""
        call = InstanceCall(self.function_pass, self.ends, stateful, self._last.get((component, name)))
        self._last[component, name] = call
        return call

    def check(self, component: str, name: str) -> None:
        """Its calls have one order, that of one task: which of two tasks comes first is not the same in a replay."""
        task = asyncio.current_task()
        owner = self._owners.setdefault((component, name), task)
        if owner is not task:
            raise BadArguments(f"instance {name!r} of {component!r} is called by another task; one task calls it")
