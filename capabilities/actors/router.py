"""Messages on their way to an actor by its id: a look into the registry, and a call of its address (A39-A43)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from capabilities.actors.actor_registry import ActorRegistry
from capabilities.actors.errors import MessagingError
from capabilities.sandbox.errors import ComponentNotFound

type Address = Callable[[Any], Any]
"""Takes an envelope, or raises MessagingError."""


@dataclass(slots=True)
class RoutingStats:
    """Counts of messages since the router was made; `latency_s` is the sum over those that were timed."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    timed: int = 0
    latency_s: float = 0.0

    @property
    def average_latency_s(self) -> float:
        """Of the messages that were timed; 0 for none."""
        return self.latency_s / self.timed if self.timed else 0.0


class Router:
    """Sends to ids. clock: seconds, for latencies of `timed_send`; None measures nothing."""

    __slots__ = ("_clock", "_failed", "_find", "_sent", "_stats", "registry")

    def __init__(self, registry: ActorRegistry[Address], clock: Callable[[], float] | None = None) -> None:
        self.registry = registry
        self._find = registry.find
        self._clock = clock
        self._sent = self._failed = 0
        self._stats = RoutingStats()

    def send(self, target: str, envelope: Any) -> Any:
        """Hand a message to an actor. ComponentNotFound; MessagingError when its address refuses it."""
        address = self._find(target)
        if address is None:
            self._failed += 1
            self.registry.lookup(target)
        try:
            answer = address(envelope)  # type: ignore[misc]
        except MessagingError:
            self._failed += 1
            raise
        except Exception as error:
            self._failed += 1
            raise MessagingError(f"{target} could not take a message: {error}") from error
        self._sent += 1
        return answer

    def timed_send(self, target: str, envelope: Any) -> Any:
        """The same, with its latency in the statistics."""
        if self._clock is None:
            return self.send(target, envelope)
        begin = self._clock()
        try:
            return self.send(target, envelope)
        finally:
            self._stats.timed += 1
            self._stats.latency_s += self._clock() - begin

    def broadcast(self, targets: Iterable[str], envelope: Any) -> int:
        """Send to each in order, up to the first failure, which is raised; how many got it."""
        count = 0
        for target in targets:
            self.send(target, envelope)
            count += 1
        return count

    def try_broadcast(self, targets: Iterable[str], envelope: Any) -> list[tuple[str, Exception | None]]:
        """Send to all; for each in order what went wrong, or None."""
        found: list[tuple[str, Exception | None]] = []
        for target in targets:
            try:
                self.send(target, envelope)
                found.append((target, None))
            except (MessagingError, ComponentNotFound) as error:
                found.append((target, error))
        return found

    @property
    def stats(self) -> RoutingStats:
        found = self._stats
        return RoutingStats(self._sent + self._failed, self._sent, self._failed, found.timed, found.latency_s)
