"""Whether the worker is read: not while its reader asked for a pause, nor while its checkpoints crowd (W6c)."""

from __future__ import annotations

from collections.abc import Callable

from bridge.printed import Printed
from bridge.transport import Transport


class Reading:
    """Two reasons to pause, either of which holds. What the worker says then waits in it, and so does it."""

    def __init__(
        self, printed: Printed, transport: Callable[[], Transport | None], crowded: Callable[[], bool]
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
