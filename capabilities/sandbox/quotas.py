"""Quotas of all executions of one component in one engine together (A74): CPU time a second, memory at once.

CPU time is that of the threads that run the code, as the system counts it (D9). Memory is counted by limits, since that
of a component cannot be seen from outside: an execution takes the room of its limit, and gives it back at its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from capabilities.permissions.rate import Bucket
from capabilities.sandbox.errors import ResourceLimitExceeded
from capabilities.sandbox.fair_queue import Turns
from capabilities.sandbox.limits import MIB

ROOM_WAIT_S_MAX = 60.0
"""An execution that has not found room by then is refused."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """cpu_ms_per_s: more is waited for, as with rates. memory: bytes; executions beyond it wait for their turn."""

    cpu_ms_per_s: float = 1_000.0
    memory: int = 256 * MIB


class Together:
    """The executions of one component. `pace` is called by the threads that run them, `room` in the event loop."""

    def __init__(self, quotas: Quotas, clock: Callable[[], float] = time.monotonic) -> None:
        self.quotas = quotas
        self._clock = clock
        self._lock = threading.Lock()
        self._cpu = Bucket(quotas.cpu_ms_per_s, clock())
        self._turns = Turns()

    @property
    def used(self) -> int:
        """Bytes that the executions under way have taken."""
        return self._turns.used

    def pace(self, cpu_s: float) -> float:
        """So much CPU time was used; the seconds that its user has to wait for it."""
        with self._lock:
            return self._cpu.take(cpu_s * 1_000, self._clock())

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """While it is entered so many bytes are in use. ResourceLimitExceeded when there is no room in time."""
        most = self.quotas.memory
        try:
            if size > most:
                raise TimeoutError
            await self._turns.take(size, most, ROOM_WAIT_S_MAX)
        except TimeoutError:
            raise ResourceLimitExceeded("memory of all executions", most, self._turns.used + size) from None
        try:
            yield
        finally:
            self._turns.give(size)
