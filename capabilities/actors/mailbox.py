"""Mailboxes: bounded queues that say what a full one does to a sender (A48-A50). Whoever drives one waits for room."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from capabilities.actors.envelope import Priority
from capabilities.actors.errors import InvalidSupervision, MailboxClosed, MailboxFull

CAPACITY_MAX_DEFAULT = 1000
"""Messages that wait in a mailbox for which nothing else is said (A48)."""


class FullMailbox(StrEnum):
    BLOCK = "block"
    """The sender waits for room."""
    DROP = "drop"
    """The new message is dropped, and nobody is told."""
    ERROR = "error"
    """The sender gets MailboxFull."""


BY_PRIORITY = {
    Priority.CRITICAL: FullMailbox.BLOCK,
    Priority.HIGH: FullMailbox.BLOCK,
    Priority.NORMAL: FullMailbox.ERROR,
    Priority.LOW: FullMailbox.DROP,
}
"""The fate of messages for a full mailbox, where their priorities decide (A49)."""


class Offer(StrEnum):
    TAKEN = "taken"
    DROPPED = "dropped"
    WAIT = "wait"
    """There is no room, and the sender is to wait for it."""


class Empty(Exception):
    """Nothing is in the mailbox just now; it may come."""


@dataclass(slots=True)
class MailboxCounters:
    sent: int = 0
    received: int = 0
    dropped: int = 0


class Mailbox[T]:
    """Messages of one actor, in the order in which they came. capacity None: without a bound.

    One thread puts messages in, closes and drains; another may take meanwhile: each message is got by one of them.
    """

    __slots__ = ("_closed", "_messages", "actor", "backpressure", "capacity", "counters")

    def __init__(
        self,
        actor: str,
        *,
        capacity: int | None = CAPACITY_MAX_DEFAULT,
        backpressure: FullMailbox = FullMailbox.ERROR,
    ) -> None:
        if capacity is not None and capacity < 1:
            raise InvalidSupervision(f"the mailbox of {actor} has room for at least 1 message, not {capacity}")
        self.actor = actor
        self.capacity = capacity
        self.backpressure = backpressure
        self.counters = MailboxCounters()
        self._messages: deque[T] = deque()
        self._closed = False

    def offer(self, message: T, priority: Priority | None = None) -> Offer:
        """Put it in, drop it, or say WAIT. priority: decides in place of `backpressure`. MailboxFull, MailboxClosed."""
        if self._closed:
            raise MailboxClosed(self.actor)
        if self.capacity is not None and len(self._messages) >= self.capacity:
            match self.backpressure if priority is None else BY_PRIORITY[priority]:
                case FullMailbox.BLOCK:
                    return Offer.WAIT
                case FullMailbox.DROP:
                    self.counters.dropped += 1
                    return Offer.DROPPED
                case FullMailbox.ERROR:
                    raise MailboxFull(self.actor, self.capacity)
        self._messages.append(message)
        self.counters.sent += 1
        return Offer.TAKEN

    def take(self) -> T:
        """The oldest message. Empty; MailboxClosed when it is closed and drained."""
        try:
            message = self._messages.popleft()
        except IndexError:
            raise MailboxClosed(self.actor) if self._closed else Empty from None
        self.counters.received += 1
        return message

    def close(self) -> None:
        """Take no more messages; those inside can still be taken. Idempotent."""
        self._closed = True

    def drain(self) -> list[T]:
        """All that is inside, for the dead letters."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._messages.popleft())
        return found

    @property
    def closed(self) -> bool:
        return self._closed

    def __len__(self) -> int:
        return len(self._messages)
