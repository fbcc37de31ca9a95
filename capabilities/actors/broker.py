"""Publish and subscribe, and requests whose response finds its waiter (A46, A47).

Time is a parameter: whoever drives the broker asks for what is overdue.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from capabilities.actors.envelope import ActorEnvelope, MessageKind
from capabilities.actors.errors import DuplicateCorrelation, MailboxClosed, MessagingError, UnknownCorrelation
from capabilities.actors.router import Address
from capabilities.actors.topics import Subscriptions

type Answered = Callable[[ActorEnvelope | None], None]
"""Told a request's response, or None when its time is over."""


@dataclass(slots=True)
class _Waiter:
    answered: Answered
    deadline_s: float


class PendingRequests:
    """Requests that wait for their response, each under its own correlation id."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, _Waiter] = {}
        self._deadlines: list[tuple[float, int, UUID]] = []
        self._count = 0
        self.high_water = 0

    def register(self, correlation_id: UUID, answered: Answered, deadline_s: float) -> None:
        """Before the request is sent, since a response may come at once. DuplicateCorrelation."""
        if correlation_id in self._waiting:
            raise DuplicateCorrelation(str(correlation_id))
        self._waiting[correlation_id] = _Waiter(answered, deadline_s)
        self._count += 1
        heapq.heappush(self._deadlines, (deadline_s, self._count, correlation_id))
        self.high_water = max(self.high_water, len(self._waiting))

    def resolve(self, response: ActorEnvelope) -> None:
        """Give a response to whoever waits. UnknownCorrelation, for the responder."""
        waiter = None if response.correlation_id is None else self._waiting.pop(response.correlation_id, None)
        if waiter is None:
            raise UnknownCorrelation(str(response.correlation_id))
        waiter.answered(response)

    def forget(self, correlation_id: UUID) -> bool:
        """Its waiter is gone: a response that comes now is for nobody."""
        return self._waiting.pop(correlation_id, None) is not None

    def expire(self, now_s: float) -> int:
        """Answer None to those whose time is over; how many."""
        count = 0
        while self._deadlines and self._deadlines[0][0] <= now_s:
            deadline, _, correlation_id = heapq.heappop(self._deadlines)
            waiter = self._waiting.get(correlation_id)
            if waiter is not None and waiter.deadline_s == deadline:
                del self._waiting[correlation_id]
                waiter.answered(None)
                count += 1
        return count

    def next_deadline_s(self) -> float | None:
        """When `expire` has something to do at the earliest."""
        return self._deadlines[0][0] if self._deadlines else None

    def __contains__(self, correlation_id: UUID | None) -> bool:
        return correlation_id in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)


class Broker:
    """Every subscriber of a topic gets a copy; a response goes to whoever asked, and to nobody else."""

    def __init__(self) -> None:
        self.pending = PendingRequests()
        self._subscriptions: Subscriptions[str] = Subscriptions()
        self._addresses: dict[str, Address] = {}

    def subscribe(self, pattern: str, subscriber: str, address: Address) -> None:
        """Deliver what is published on matching topics to the address. InvalidTopic."""
        self._subscriptions.add(pattern, subscriber)
        self._addresses[subscriber] = address

    def unsubscribe(self, pattern: str, subscriber: str) -> bool:
        """Deliver no more of that; False when it was not subscribed."""
        found = self._subscriptions.remove(pattern, subscriber)
        if found and not self._subscriptions.patterns(subscriber):
            del self._addresses[subscriber]
        return found

    def leave(self, subscriber: str) -> None:
        """Unsubscribe from everything."""
        self._subscriptions.remove_all(subscriber)
        self._addresses.pop(subscriber, None)

    def publish(self, topic: str, envelope: ActorEnvelope) -> int:
        """Deliver a copy to each subscriber; how many got it. Those whose mailbox is closed or full are skipped."""
        answers = envelope.kind is not MessageKind.REQUEST and envelope.correlation_id is not None
        if answers and envelope.correlation_id in self.pending:
            self.pending.resolve(envelope)
            return 1
        count = 0
        for subscriber in self._subscriptions.of(topic):
            try:
                self._addresses[subscriber](envelope)
                count += 1
            except MailboxClosed:
                self.leave(subscriber)
            except MessagingError:
                continue
        return count

    def publish_request(self, topic: str, envelope: ActorEnvelope, answered: Answered, deadline_s: float) -> int:
        """Publish, and tell `answered` the response, or None at the deadline. DuplicateCorrelation."""
        assert envelope.correlation_id is not None, "a request has a correlation id"
        self.pending.register(envelope.correlation_id, answered, deadline_s)
        return self.publish(topic, envelope)
