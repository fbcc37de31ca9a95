"""What a worker prints, in its place: offsets counted, and what was not taken marked (worker-protocol.md, B2)."""

from __future__ import annotations

from collections.abc import Callable

from bridge.messages import CHARS_MAX, Output, Stream
from durable.core.errors import ProtocolError


class Printed:
    """The output of the execution in flight, or of the last one. `show` gets what came through the pipes."""

    def __init__(self, show: Callable[[Output], None], *, drops: bool) -> None:
        """drops: while nothing is taken, what comes through the pipes is counted and thrown away."""
        self.execution = ""
        """Whose output it is; empty between executions."""
        self.offset = 0
        """Characters printed before."""
        self._show = show
        self._drops = drops
        self._dropped: dict[Stream, int] | None = None

    def begin(self, execution: str, offset: int) -> None:
        """What is printed from now on is this execution's."""
        self.execution, self.offset = execution, offset

    def end(self) -> None:
        """The execution is over: what is printed from now on belongs to none."""
        self.execution = ""

    def placed(self, message: Output) -> Output:
        """With its offset. What is printed when its execution is over belongs to none.

        ProtocolError for more than can be counted.
        """
        if not self.execution or message.execution_id != self.execution:
            return message.model_copy(update={"execution_id": ""}) if message.execution_id else message
        if self.offset + message.chars > CHARS_MAX:
            raise ProtocolError(f"output that goes on to character {self.offset + message.chars}")
        found = message.model_copy(update={"offset": self.offset})
        self.offset += message.chars
        return found

    def paused(self) -> bool:
        """Nothing is taken from now on; True when what comes through the pipes is to be read, and dropped."""
        if self._drops and self._dropped is None:
            self._dropped = {}
        return self._drops

    def piped(self, stream: Stream, text: str) -> None:
        """What C code or a child process printed."""
        if self._dropped is None:
            self._show(Output(execution_id=self.execution, stream=stream, data=text))
        else:
            self._dropped[stream] = self._dropped.get(stream, 0) + len(text)

    def tell_dropped(self) -> None:
        """Mark what came through the pipes while nothing was taken; what comes now is taken again."""
        dropped, self._dropped = self._dropped, None
        for stream, chars in (dropped or {}).items():
            self._show(Output(execution_id=self.execution, stream=stream, data="", dropped=chars))
