"""When an execution has to stop: its deadline, and whether its caller asked."""

from __future__ import annotations

import math
import time

from capabilities.sandbox.errors import Cancelled, CpuTimeExhausted, ExecutionTimeout, SandboxError
from capabilities.sandbox.limits import SandboxLimits

GRACE_MS = 100
"""A script is asked to stop at its deadline, which its state survives; one that never looks is ended so much later."""


class DeadlineWatch:
    """The deadline of one instance, begun again with each execution."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self._timeout_ms = limits.timeout_ms
        self._clock = time.monotonic
        self._begun, self._ends, self._hard_ends = 0.0, math.inf, math.inf
        self._cpu_ms = 0.0
        self._cpu_at: float | None = None
        self.asked = False
        """Whether the caller wants it to stop."""
        self.stopped: SandboxError | None = None
        """The error that the script was told to stop for."""

    def begin(self, timeout_ms: int | None) -> None:
        """An execution begins."""
        self._begun = self._clock()
        self._timeout_ms = timeout_ms or self._limits.timeout_ms
        self._ends = self._begun + self._timeout_ms / 1000
        self._hard_ends = self._ends + GRACE_MS / 1000
        self._cpu_ms, self._cpu_at = 0.0, None
        self.asked = False
        self.stopped = None

    def enter(self) -> None:
        """The script goes on, in this thread."""
        self._cpu_at = time.thread_time()

    def leave(self) -> None:
        """The script is at rest, or over."""
        self._cpu_ms, self._cpu_at = self.cpu_ms, None

    @property
    def cpu_ms(self) -> float:
        """CPU time of the execution until now, in whatever threads; asked in the thread that runs it."""
        return self._cpu_ms + (0.0 if self._cpu_at is None else (time.thread_time() - self._cpu_at) * 1000)

    @property
    def cpu_left_ms(self) -> float | None:
        """Milliseconds until it is ended by force for its CPU time; None without a limit."""
        return None if self._limits.cpu_ms is None else self._limits.cpu_ms - self.cpu_ms + GRACE_MS

    def hasten(self) -> None:
        """Let the script be ended by force within the grace."""
        self._hard_ends = min(self._hard_ends, self._clock() + GRACE_MS / 1000)

    @property
    def over(self) -> bool:
        """The script should stop: asked every few thousand steps of it."""
        if self.asked:
            self.stopped = Cancelled()
        elif self._clock() >= self._ends and self.stopped is None:
            self.stopped = self.timeout()
        elif self._limits.cpu_ms is not None and self.stopped is None and self.cpu_ms >= self._limits.cpu_ms:
            self.stopped = self.cpu_over()
        return self.stopped is not None

    @property
    def left_s(self) -> float:
        """Seconds until the deadline of the execution."""
        return max(0.0, self._ends - self._clock())

    @property
    def hard_ms(self) -> int:
        """Milliseconds until it is ended by force."""
        return max(1, math.ceil((self._hard_ends - self._clock()) * 1000))

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the execution began."""
        return (self._clock() - self._begun) * 1000

    def cpu_over(self) -> SandboxError:
        """The error of CPU time that is used up."""
        assert self._limits.cpu_ms is not None
        return CpuTimeExhausted(self._limits.cpu_ms, self._timeout_ms, self.elapsed_ms, "the script")

    def timeout(self) -> SandboxError:
        """The error of a deadline that is over."""
        return ExecutionTimeout(self._limits.fuel, None, self._timeout_ms, self.elapsed_ms, "the script")
