"""Where SIGINT may raise (specs/session.md E6). Only the main thread uses it; Python runs signal handlers there."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident, main_thread
from types import CodeType, FrameType


class Gate:
    """Decides what a SIGINT does, by where the main thread is.

    `executing`: an execution is in flight. `open`: its code runs, from `enter` on until whoever called that sets it to
    False: a method for it would be one more place for an interrupt that nobody takes. Masked spans (sending, reading,
    capture) keep the signal until they end. In the running loop it goes to the foreground coroutine unless that very
    coroutine is running; a second one raises at once, because a callback that never yields would keep the loop from
    delivering it.
    """

    def __init__(self) -> None:
        self.executing = False
        self.open = False
        self.pending = False
        self.in_step = False
        self.deliver: Callable[[], object] | None = None
        """Interrupts the foreground coroutine; set while the loop runs it."""
        self.storing: CodeType | None = None
        """The code of a function whose argument would be lost by an interrupt as it begins; it calls `check` later."""
        self._masked = 0
        self._asked = False
        self._main = main_thread().ident
        self._theirs: object = None

    def install(self) -> None:
        """Take SIGINT over."""
        signal.signal(signal.SIGINT, self.on_signal)

    def on_signal(self, _signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT."""
        if not self.executing:
            return
        if self._masked or not self.open or self._enters_storing(frame):
            self.pending = True
            return
        if self.deliver is not None and not self.in_step and not self._asked:
            self._asked = True
            self.deliver()
            return
        raise KeyboardInterrupt

    def _enters_storing(self, frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code is self.storing and frame.f_lineno == frame.f_code.co_firstlineno

    def users(self, handler: object = None) -> object:
        """The user's own handler of SIGINT, None where there is none; or set it."""
        current = signal.getsignal(signal.SIGINT)
        if handler is not None:
            self._theirs = handler
        elif current != self.on_signal:
            return current
        return self._theirs

    def begin(self) -> None:
        """An execution starts."""
        self.pending = self._asked = False
        self.executing = True
        if self._theirs is not None:
            signal.signal(signal.SIGINT, self._theirs)  # type: ignore[arg-type]

    def end(self) -> None:
        """The execution ended: a late SIGINT does nothing, whatever handler the user's code installed for itself."""
        self.executing = self.open = self.pending = False
        current = signal.getsignal(signal.SIGINT)
        if current == self.on_signal:
            self._theirs = None
        else:
            self._theirs = current
            self.install()

    def enter(self) -> None:
        """User code starts. Raises what was kept meanwhile."""
        self._asked = False
        self.open = True
        self.check()

    def delivered(self) -> None:
        """The foreground coroutine got its interrupt: the next one is a first one again."""
        self._asked = False

    def check(self) -> None:
        """Raise a kept KeyboardInterrupt."""
        if self.pending and self.open and not self._masked:
            self.pending = False
            raise KeyboardInterrupt

    @property
    def interrupted(self) -> bool:
        """Whether the main thread, which asks, has a KeyboardInterrupt to come at a masked span's end."""
        return self.pending and self.open and get_ident() == self._main

    def mask(self) -> bool:
        """Keep SIGINT until `unmask`; False on other threads, which it never reaches."""
        if get_ident() != self._main:
            return False
        self._masked += 1
        return True

    def unmask(self) -> None:
        """End a masked span; raises what was kept."""
        self._masked -= 1
        if self.pending:
            self.check()

    @contextmanager
    def masked(self) -> Iterator[None]:
        """A masked span as a block."""
        mine = self.mask()
        try:
            yield
        finally:
            if mine:
                self.unmask()
