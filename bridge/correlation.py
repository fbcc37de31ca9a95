"""Which promise a worker's reply belongs to (requirements P9-P16), and the interceptor that completes promises.

One map, execution or call id -> promise id and a waiter of this process, filled before anything is sent. An entry
leaves the map by resolve, reject, timeout or close; exactly one of these wins, whatever comes after is counted.
Closing settles nothing durable: it only fails this process's waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from bridge.protocol.messages import Error, FromWorker, Result
from durable.core.errors import Conflict, EngineClosed
from durable.core.events import Observer, ReplyUnknown, log_event


class ResultRouter:
    """Resolves with a Result's fields, rejects with an Error's; everything else is not its business."""

    def __init__(self, correlation: Correlation) -> None:
        self._correlation = correlation

    def __call__(self, message: FromWorker) -> None:
        if isinstance(message, Result):
            self._correlation.resolve(message.execution_id, message.model_dump())
        elif isinstance(message, Error) and message.execution_id is not None:
            self._correlation.reject(message.execution_id, message.model_dump())


type Payload = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CorrelatedReply:
    """How a correlated request ended: `ok` with the reply's fields, or not, with a JSON document of the failure."""

    key: str
    promise_id: str
    ok: bool
    payload: Payload


@dataclass(slots=True)
class _Entry:
    promise_id: str
    capability: str
    waiter: asyncio.Future[CorrelatedReply]
    timer: asyncio.TimerHandle | None = None


class Correlation:
    """The pending map of one session."""

    def __init__(self, session: str, *, observer: Observer = log_event) -> None:
        self._session = session
        self._observer = observer
        self._pending: dict[str, _Entry] = {}
        self._closed = False
        self.high_water = 0
        """Most entries there ever were."""
        self.unknown = 0
        """Replies that nobody waited for: late, doubled, or made up."""

    @property
    def size(self) -> int:
        """Entries now."""
        return len(self._pending)

    def promise_of(self, key: str) -> str | None:
        """The promise that a reply for `key` would complete."""
        entry = self._pending.get(key)
        return None if entry is None else entry.promise_id

    def register(
        self, key: str, promise_id: str, *, timeout_s: float | None = None, capability: str = "execute"
    ) -> asyncio.Future[CorrelatedReply]:
        """Expect a reply for `key`; call it before sending. No timeout unless given (D20).

        Raises Conflict when `key` is registered, EngineClosed after close.
        """
        if self._closed:
            raise EngineClosed(f"session {self._session!r} is closed")
        if key in self._pending:
            raise Conflict(f"a reply for {key!r} is already waited for")
        loop = asyncio.get_running_loop()
        entry = _Entry(promise_id, capability, loop.create_future())
        if timeout_s is not None:
            entry.timer = loop.call_later(timeout_s, self._time_out, key, timeout_s)
        self._pending[key] = entry
        self.high_water = max(self.high_water, len(self._pending))
        return entry.waiter

    def resolve(self, key: str, payload: Payload) -> bool:
        """The reply came. False (and counted) when nobody waits for it."""
        return self._settle(key, ok=True, payload=payload)

    def reject(self, key: str, payload: Payload) -> bool:
        """A failure came. False (and counted) when nobody waits for it."""
        return self._settle(key, ok=False, payload=payload)

    def forget(self, key: str) -> None:
        """Its caller gave up; a later reply is unknown."""
        entry = self._take(key)
        if entry is not None:
            entry.waiter.cancel()

    def close(self, error: Exception | None = None) -> None:
        """Fail every waiter (with EngineClosed, or `error`) and empty the map. Idempotent."""
        self._closed = True
        for key in list(self._pending):
            entry = self._take(key)
            if entry is not None and not entry.waiter.done():
                entry.waiter.set_exception(error or EngineClosed(f"session {self._session!r} was closed"))
                entry.waiter.exception()  # a waiter that nobody awaits any more is no warning

    def _settle(self, key: str, *, ok: bool, payload: Payload) -> bool:
        entry = self._take(key)
        if entry is None:
            self.unknown += 1
            self._observer(ReplyUnknown(self._session, key))
            return False
        if not entry.waiter.done():
            entry.waiter.set_result(CorrelatedReply(key, entry.promise_id, ok, payload))
        return True

    def _take(self, key: str) -> _Entry | None:
        entry = self._pending.pop(key, None)
        if entry is not None and entry.timer is not None:
            entry.timer.cancel()
        return entry

    def _time_out(self, key: str, timeout_s: float) -> None:
        entry = self._pending.get(key)
        if entry is None:
            return
        failure: Payload = {
            "type": "error",
            "exception_type": "TimeoutError",
            "exception_message": f"no reply within {timeout_s:g} s",
            "execution_id": key,
            "capability": entry.capability,
            "timeout": timeout_s,
            "request_id": key,
        }
        self._settle(key, ok=False, payload=failure)
