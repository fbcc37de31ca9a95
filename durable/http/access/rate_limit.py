"""How fast one address may ask: a token bucket that delays before it refuses. No I/O; time is a parameter."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

ADDRESSES_MAX = 10_000
"""Addresses remembered. Forgetting the one seen longest ago gives it a full bucket again, which it has anyway."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Rate:
    """`per_s` requests a second for each address, `burst` at once."""

    def __init__(self, per_s: float, burst: int, wait_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._wait_s = wait_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str, now: float) -> float | None:
        """Seconds to wait before this request is served, or None when it is refused. `now` in seconds, monotonic."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = _Bucket(float(self._burst), now)
            if len(self._buckets) > ADDRESSES_MAX:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(address)
        bucket.left = min(float(self._burst), bucket.left + (now - bucket.at) * self._per_s)
        bucket.at = now
        wait = max(0.0, (1 - bucket.left) / self._per_s)
        if wait > self._wait_s:
            return None
        bucket.left -= 1
        return wait
