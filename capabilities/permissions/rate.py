"""Rates: a bucket that fills at `per_s`, holds one second's worth, and may go into debt. Time is given in seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

WAIT_S_MAX = 60.0
"""A call that its rate would delay longer than this is refused."""


class Bucket:
    """How long to wait before so much may be used. What is taken is taken at once; the wait pays for it."""

    __slots__ = ("_at_s", "_left", "per_s")

    def __init__(self, per_s: float, now_s: float) -> None:
        assert per_s > 0
        self.per_s = per_s
        self._left = per_s
        self._at_s = now_s

    def take(self, amount: float, now_s: float) -> float:
        """Take it, and say for how many seconds the taker has to wait: 0 while there was enough."""
        self._left = min(self.per_s, self._left + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s
        self._left -= amount
        return max(0.0, -self._left / self.per_s)


class RateWait(NamedTuple):
    """How long a call has to wait, and the rate that it waits for."""

    seconds: float
    per_s: float


class CallRates:
    """The rates of one owner's calls: of all together, of each capability that has its own, and of network bytes."""

    def __init__(self, calls_per_s: float, network_bytes_per_s: float, own: Mapping[str, float]) -> None:
        """own: by capability, calls in a second."""
        now_s = time.monotonic()
        self._calls = Bucket(calls_per_s, now_s)
        self._network = Bucket(network_bytes_per_s, now_s)
        self._own = {name: Bucket(rate, now_s) for name, rate in own.items()}

    def change(self, calls_per_s: float, network_bytes_per_s: float, own: Mapping[str, float]) -> None:
        """The rates that hold from now on. What was taken of those of all calls counts on."""
        self._calls.per_s, self._network.per_s = calls_per_s, network_bytes_per_s
        now_s = time.monotonic()
        self._own = {name: Bucket(rate, now_s) for name, rate in own.items()}

    def take(self, capability: str) -> RateWait:
        """Take one call of this capability; the longer wait counts."""
        now_s = time.monotonic()
        wait = RateWait(self._calls.take(1, now_s), self._calls.per_s)
        own = self._own.get(capability)
        return wait if own is None else max(wait, RateWait(own.take(1, now_s), own.per_s))

    async def pace(self, network_bytes: int) -> None:
        """Wait until so much may go over the network."""
        wait_s = self._network.take(network_bytes, time.monotonic())
        if wait_s > 0:
            await asyncio.sleep(wait_s)
