"""Messages between actors and the envelopes that they travel in (A28, A44, A51)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from uuid import UUID

from capabilities.actors.multicodec import Multicodec


class Priority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class MessageKind(StrEnum):
    FIRE_AND_FORGET = "fire_and_forget"
    REQUEST = "request"
    """Expects a response."""
    RESPONSE = "response"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call a function. `args` are a frame of a codec; the result comes in the same codec (A29)."""

    function: str
    args: bytes


@dataclass(frozen=True, slots=True)
class InvokeResult:
    result: bytes
    error: str | None = None


@dataclass(frozen=True, slots=True)
class InterComponent:
    """A message of another component, for `handle-message`."""

    sender: str
    payload: bytes
    correlation_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Stop after what is before it in the mailbox."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Tell how it goes."""


@dataclass(frozen=True, slots=True)
class HealthStatus:
    status: str
    reason: str = ""


type Message = Invoke | InvokeResult | InterComponent | Shutdown | HealthCheck | HealthStatus | bytes


@dataclass(frozen=True, slots=True)
class ActorEnvelope:
    """A message on its way. `timestamp_s` is when it was sent, in seconds of the sender's clock."""

    message_id: UUID
    sender: str
    to: str
    payload: Message
    timestamp_s: float
    kind: MessageKind = MessageKind.FIRE_AND_FORGET
    codec: Multicodec = Multicodec.JSON
    topic: str = ""
    correlation_id: UUID | None = None
    priority: Priority = Priority.NORMAL
    ttl_s: float | None = None

    def expired(self, now_s: float) -> bool:
        """Whether it is older than its time to live, strictly."""
        return self.ttl_s is not None and now_s - self.timestamp_s > self.ttl_s

    def reply_to(self, payload: Message, message_id: UUID, now_s: float) -> ActorEnvelope:
        """The response: back to the sender, under the same correlation id."""
        return replace(
            self,
            message_id=message_id,
            sender=self.to,
            to=self.sender,
            payload=payload,
            kind=MessageKind.RESPONSE,
            timestamp_s=now_s,
        )
