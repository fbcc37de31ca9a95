"""The calls that a worker has open (specs/worker-protocol.md): each is answered once, ids only ever rise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine

from bridge.protocol.framing import encode
from bridge.protocol.messages import CALLS_OPEN_MAX, Call, CallError, CallResult, encode_message
from durable.core.events import BackgroundFailed, Observer

type OnCall = Callable[[Call], Awaitable[CallResult | None]]


class OpenCalls:
    """The calls of a worker that are not answered yet."""

    def __init__(
        self,
        on_call: OnCall,
        *,
        write: Callable[[list[bytes | memoryview]], None],
        track: Callable[[Coroutine[object, object, None], str], None],
        unknown: Callable[[str], None],
        observer: Observer,
    ) -> None:
        self._on_call = on_call
        self._write = write
        self._track = track
        self._unknown = unknown
        self._observer = observer
        self._open: set[int] = set()
        self._last = -1

    def received(self, message: Call) -> None:
        """A call came: it is handed over, refused when too many are open, ignored and counted when its id is old."""
        if message.call <= self._last:
            self._unknown(f"call {message.call}")
            return
        self._last = message.call
        if len(self._open) >= CALLS_OPEN_MAX:
            error = CallError(exception_message=f"more than {CALLS_OPEN_MAX} calls are open")
            self._write(encode(encode_message(CallResult(call=message.call, error=error))))
            return
        self._open.add(message.call)
        self._track(self._perform(message), f"call {message.capability}")

    def answer(self, call: int, result: CallResult) -> None:
        """Answer a call; a second answer is ignored and counted. Raises NotEncodable, and the call stays open."""
        if call not in self._open or result.call != call:
            self._unknown(f"call {call}")
            return
        frames = encode(encode_message(result))
        self._open.discard(call)
        self._write(frames)

    def clear(self) -> None:
        """The worker ended: nothing is open any more."""
        self._open.clear()

    async def _perform(self, message: Call) -> None:
        try:
            result = await self._on_call(message)
            if result is not None:
                self.answer(message.call, result)
        except Exception as error:
            self._observer(BackgroundFailed(f"call {message.capability} of {message.execution_id}", repr(error)))
            failed = CallError(
                exception_type=type(error).__qualname__, exception_message=str(error).encode(errors="replace").decode()
            )
            self.answer(message.call, CallResult(call=message.call, error=failed))
