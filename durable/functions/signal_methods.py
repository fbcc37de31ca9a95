"""Operations that outsiders end: signals by name, and promises (specs/signals.md)."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from resonate.types import PromiseRecord

from durable.core.durations import seconds
from durable.core.errors import BadArguments, ExecutionTimedOut
from durable.core.limits import SIGNAL_NAME_CHARS_MAX
from durable.functions.operation import Derived, Operation
from durable.functions.prompt_records import ABSENT
from durable.functions.replay.function_pass import FunctionPass, Perform, UnderWay
from durable.functions.replay.record import OperationKey
from durable.records.values import adapter_of, digest, from_json

SIGNAL = "durable:signal"
EXECUTION = "durable:execution"
"""Tags of a promise that waits: the store gives it the next signal of that name (`store/operations/signals.py`)."""


class SignalWait[T](Operation[T]):
    """Waits for the next signal of a name. One whose await was cancelled takes none from those who still wait."""

    def __init__(
        self, function_pass: FunctionPass, shape: Callable[[Any], T], channel: SignalChannel, limit: float | None
    ) -> None:
        super().__init__(function_pass, shape)
        self._channel = channel
        self.limited = limit is not None
        """Whether its operation ends by itself, so that nobody else can rely on it."""

    async def _wait(self) -> T:
        try:
            return await super()._wait()
        except asyncio.CancelledError:
            self._channel.leave(self)
            raise

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:
        if isinstance(typ, asyncio.CancelledError) or typ is asyncio.CancelledError:
            self._channel.leave(self)  # also where the coroutine has not begun
        return super().throw(typ, val, tb)


class SignalChannel:
    """The waits of one function for signals of one name.

    Each wait is an operation of its own, and the store gives the signals to them in order. An operation whose await
    was cancelled stays open, as any does; what it gets goes to whoever waits by then, or to the next wait. All follows
    from the deliveries alone, so that it is the same in each replay.
    """

    def __init__(self) -> None:
        self._waits: deque[SignalWait[Any]] = deque()
        self._open = 0
        """Operations without a limit that may still get a signal."""
        self._signals: deque[PromiseRecord] = deque()

    def enter(self, wait: SignalWait[Any]) -> bool:
        """Stand in line. Whether an operation has to be begun: no signal is left over, and no operation is to spare."""
        if self._signals:
            wait.deliver(self._signals.popleft())
            return False
        self._waits.append(wait)
        if wait.limited:
            return True
        needed = sum(not each.limited for each in self._waits)
        if self._open >= needed:
            return False
        self._open += 1
        return True

    def leave(self, wait: SignalWait[Any]) -> None:
        """Its await was cancelled."""
        if wait in self._waits:
            self._waits.remove(wait)

    def deliver(self, own: SignalWait[Any], record: PromiseRecord) -> None:
        """The operation of `own` came to this: a signal goes to the first in line, anything else to `own`."""
        if not own.limited:
            self._open -= 1
        if record.state != "resolved":
            if own in self._waits:
                self._waits.remove(own)
                own.deliver(record)
        elif self._waits:
            self._waits.popleft().deliver(record)
        else:
            self._signals.append(record)


class OutsidePromise[T](Operation[T]):
    """A promise that whoever knows its `id` may settle: `engine.settle`, `durable promise resolve`, HTTP."""

    @property
    def id(self) -> str:
        """Its name for whoever settles it: a webhook's address may hold it."""
        return self.promise_id


class Receiving(ABC):
    """The operations of a context that outsiders bring to an end."""

    _pass: FunctionPass

    @abstractmethod
    def _enter(
        self, operation: Operation[Any], made: OperationKey, perform: Perform,
        deliver: Callable[[PromiseRecord], None], tags: dict[str, str],
    ) -> UnderWay:  # fmt: skip
        """Begin an operation that is made already."""

    def signal(
        self, name: str, *, schema: Any = None, timeout: float | timedelta | None = None, default: Any = ABSENT
    ) -> Operation[Any]:
        """Wait for the next signal of this name, for days if need be, holding nothing. Its value, shaped to `schema`.

        Signals come in the order in which they were sent, also those sent before. schema: a type, dataclass, pydantic
        model or JSON Schema; None takes any JSON. A signal that does not fit is ignored, which the log says; where
        somebody waits already, `engine.signal` refuses it. timeout: seconds or timedelta, after
        which `default` is the value; without one ExecutionTimedOut is raised.
        """
        if not isinstance(name, str) or not 0 < len(name) <= SIGNAL_NAME_CHARS_MAX or "\0" in name:
            raise BadArguments(f"a signal's name has 1 to {SIGNAL_NAME_CHARS_MAX} characters, no NUL among them")
        self._pass.run.require("signals")
        limit = seconds(timeout)
        wanted = _schema(schema)
        channel = self._pass.signals.setdefault(name, SignalChannel())
        wait = SignalWait[Any](self._pass, lambda value: _shaped(value, schema, f"signal {name!r}"), channel, limit)
        if channel.enter(wait):
            tags = {SIGNAL: name, EXECUTION: self._pass.run.promise_id}
            made = OperationKey("signal", name, digest(wanted, limit))
            self._enter(wait, made, self._outside(limit, wanted), lambda found: channel.deliver(wait, found), tags)

        def again(error: BadArguments) -> Operation[Any]:
            self._pass.log(logging.WARNING, f"a signal {name!r} does not fit and is ignored: {error}")
            return self.signal(name, schema=schema, timeout=timeout, default=default)

        return _outcome(wait, again, default)

    def promise(
        self, *, schema: Any = None, timeout: float | timedelta | None = None, default: Any = ABSENT
    ) -> OutsidePromise[Any]:
        """A promise that others settle, by its `id`; await it for the value, shaped to `schema`.

        It is checked against `schema` before it is settled. timeout: seconds or timedelta after which `default` is the
        value; without one ExecutionTimedOut is raised. Settled with an error it raises ExecutionError.
        """
        limit, wanted = seconds(timeout), _schema(schema)

        def shape(value: Any) -> Any:
            return _shaped(value, schema, "the value of the promise")

        promise = OutsidePromise[Any](self._pass, shape)
        made = OperationKey("promise", "promise", digest(wanted, limit))
        self._enter(promise, made, self._outside(limit, wanted), promise.deliver, {})
        if default is ABSENT:
            return promise
        return _LatePromise[Any](promise, lambda inner: _or_default(inner, default))

    def _outside(self, limit: float | None, schema: Any) -> Perform:
        function_pass = self._pass

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            data = None if schema is None else {"schema": schema}
            return known or await function_pass.create(found, function_pass.remote(found, timeout=limit, data=data))

        return perform


class _LatePromise[T](Derived[T], OutsidePromise[T]):
    """A promise with a value for its deadline."""


def _outcome(wait: Operation[Any], again: Callable[[BadArguments], Operation[Any]], default: Any) -> Operation[Any]:
    async def look(inner: Operation[Any]) -> Any:
        try:
            return await _or_default(inner, default)
        except BadArguments as error:
            ignored = error
        return await again(ignored)

    return Derived(wait, look)


async def _or_default(operation: Operation[Any], default: Any) -> Any:
    try:
        return await operation
    except ExecutionTimedOut:
        if default is ABSENT:
            raise
        return default


def _schema(schema: Any) -> dict[str, Any] | None:
    """The JSON Schema that is recorded, for whoever sends."""
    from capabilities.prompts.prompt import schema_of

    if schema is None or isinstance(schema, dict):
        return schema_of(schema, None)
    return schema_of(schema, adapter_of(schema))


def _shaped(value: Any, schema: Any, what: str) -> Any:
    if schema is None:
        return value
    if isinstance(schema, dict):
        from capabilities.prompts.json_schema import faults

        found = faults(schema, value)
        if found:
            raise BadArguments(f"{what}: {found[0]['msg']}")
        return value
    return from_json(value, schema, what)
