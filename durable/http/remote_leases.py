"""How long engines elsewhere live: while their stream is open or a beat came in time (specs/http.md, L1-L2).

No I/O; times are monotonic seconds.
"""

from __future__ import annotations

from collections import Counter


class RemoteLeases:
    """The engines that joined over HTTP."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self._until: dict[str, float] = {}
        self._streams: Counter[str] = Counter()

    def __contains__(self, engine: str) -> bool:
        return engine in self._until

    def engines(self) -> list[str]:
        """All of them."""
        return list(self._until)

    def join(self, engine: str, now: float) -> None:
        """The engine begins to live, or goes on."""
        self._until[engine] = now + self.lease_s

    def leave(self, engine: str) -> None:
        """Forget an engine that left in order, or is dead."""
        self._until.pop(engine, None)

    def beat(self, engine: str, now: float) -> bool:
        """Renew an engine that was heard of. False when it is not known here: it has to join again."""
        if engine not in self._until:
            return False
        self._until[engine] = now + self.lease_s
        return True

    def opened(self, engine: str) -> None:
        """One of its streams began, maybe before it joined."""
        self._streams[engine] += 1

    def closed(self, engine: str, now: float) -> None:
        """One of its streams ended: with the last one its lease runs."""
        self._streams[engine] -= 1
        if not self._streams[engine]:
            del self._streams[engine]
        self.beat(engine, now)

    def expired(self, now: float) -> list[str]:
        """The engines that are dead now; forgotten here."""
        dead = [name for name, until in self._until.items() if until <= now and name not in self._streams]
        for name in dead:
            del self._until[name]
        return dead
