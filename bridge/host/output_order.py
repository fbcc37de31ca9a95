"""A worker's output in its place: offsets counted, and gaps marked (specs/worker-protocol.md, B2).

The worker is not read while its reader asked for a pause, nor while its checkpoints crowd (W6c)."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from bridge.host.transport import Transport
from bridge.protocol.messages import CHARS_MAX, Output, Stream
from durable.core.errors import ProtocolError


class ReadGate:
    """A pause in reading, for either of two reasons. What the worker says then waits in it, and so does it."""

    def __init__(
        self, printed: OutputOrder, transport: Callable[[], Transport | None], crowded: Callable[[], bool]
    ) -> None:
        self._printed = printed
        self._transport = transport
        self._crowded = crowded
        self._asked = False

    def pause(self) -> None:
        """Its reader asks for a pause, until `resume`."""
        self._asked = True
        self._stop()

    def resume(self) -> None:
        """Its reader goes on."""
        self._asked = False
        self._go_on()

    def crowd(self) -> None:
        """Its checkpoints crowd, or have room again."""
        if self._crowded():
            self._stop()
        else:
            self._go_on()

    def _stop(self) -> None:
        transport = self._transport()
        if transport is not None:
            transport.pause(pipes=not self._printed.paused())

    def _go_on(self) -> None:
        if self._asked or self._crowded():
            return
        self._printed.tell_dropped()
        transport = self._transport()
        if transport is not None:
            transport.resume()


class OutputOrder:
    """The output of the execution in flight, or of the last one. `show` gets what came through the pipes."""

    def __init__(self, show: Callable[[Output], None], *, drops: bool) -> None:
        """drops: while nothing is taken, what comes through the pipes is counted and thrown away."""
        self.execution = ""
        """Id of the execution whose output it is; empty between executions."""
        self.offset = 0
        """Characters printed before."""
        self._show = show
        self._drops = drops
        self._dropped: dict[Stream, int] | None = None

    def begin(self, execution: str, offset: int) -> None:
        """Count what is printed from now on as this execution's."""
        self.execution, self.offset = execution, offset

    def end(self) -> None:
        """The execution is over: what is printed from now on belongs to none."""
        self.execution = ""

    def placed(self, message: Output) -> Output:
        """The message with its offset. What is printed when its execution is over belongs to none.

        ProtocolError for more than can be counted.
        """
        if not self.execution or message.execution_id != self.execution:
            return replace(message, execution_id="") if message.execution_id else message
        if self.offset + message.chars > CHARS_MAX:
            raise ProtocolError(f"output that goes on to character {self.offset + message.chars}")
        found = replace(message, offset=self.offset)
        self.offset += message.chars
        return found

    def paused(self) -> bool:
        """Nothing is taken from now on; True when what comes through the pipes is to be read, and dropped."""
        if self._drops and self._dropped is None:
            self._dropped = {}
        return self._drops

    def piped(self, stream: Stream, text: str) -> None:
        """Show what C code or a child process printed, or count it as dropped."""
        if self._dropped is None:
            self._show(Output(execution_id=self.execution, stream=stream, data=text))
        else:
            self._dropped[stream] = self._dropped.get(stream, 0) + len(text)

    def tell_dropped(self) -> None:
        """Mark what came through the pipes while nothing was taken; what comes now is taken again."""
        dropped, self._dropped = self._dropped, None
        for stream, chars in (dropped or {}).items():
            self._show(Output(execution_id=self.execution, stream=stream, data="", dropped=chars))
