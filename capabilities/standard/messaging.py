"""`messaging`: messages to actors, requests whose replies come as messages, and topics (A42, A69, specs/actors.md)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field

from capabilities.actors.topics import topic_words
from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from durable.core.errors import BadArguments

type Target = Annotated[str, Field(min_length=3, max_length=300, pattern=r"^[^/\x00-\x1f]+/[^\x00-\x1f]+$")]
type Encoding = Literal["utf-8", "base64"]
type Millis = Annotated[int, Field(ge=1, le=10**12)]

MESSAGE_BYTES_MAX = 1_000_000
"""One message: it stands in the record of whoever sends it and of whoever takes it."""


class Messaging(Capability):
    """Messages to actors: messaging.send, messaging.request, messaging.cancel; topics: messaging.publish,
    messaging.subscribe, messaging.unsubscribe.

    A target is `class/key`; the message is given to its actor's `handle_message(sender, message)` as bytes.
    """

    name = "messaging"
    also = ("send", "request", "cancel", "publish", "subscribe", "unsubscribe")

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        given = call.arguments
        match call.method:
            case "send" | "request":
                return (Resource("actor", "send to", given["target"]),)
            case "publish":
                topic_words(given["topic"])
                return (Resource("topic", "publish", given["topic"]),)
            case "subscribe" | "unsubscribe":
                return (Resource("topic", "subscribe", given["pattern"]),)
        return ()

    async def call_send(
        self, call: CapabilityCall, target: Target, message: str, *, encoding: Encoding = "utf-8"
    ) -> None:
        """Put a message into an actor's mailbox: it is recorded when this returns, and nobody waits for a reply."""
        await call.host.send_message(call, target, _bytes(message, encoding))

    async def call_request(
        self,
        call: CapabilityCall,
        target: Target,
        message: str,
        timeout_millis: Millis,
        *,
        encoding: Encoding = "utf-8",
    ) -> str:
        """The same from one actor to another: the reply comes to `handle_callback` under the id that is returned."""
        return await call.host.send_request(call, target, _bytes(message, encoding), timeout_millis)

    async def call_cancel(self, call: CapabilityCall, request: str) -> None:
        """Let no reply come to a request that was made here."""
        await call.host.cancel_request(call, request)

    async def call_publish(
        self, call: CapabilityCall, topic: str, message: str, *, encoding: Encoding = "utf-8"
    ) -> int:
        """Send to every actor that subscribed to the topic; how many there are."""
        return await call.host.publish(call, topic, _bytes(message, encoding))

    async def call_subscribe(self, call: CapabilityCall, pattern: str) -> None:
        """Have what is published on a pattern's topics sent to the actor that asks."""
        await call.host.subscribe(call, pattern, wanted=True)

    async def call_unsubscribe(self, call: CapabilityCall, pattern: str) -> None:
        """End a subscription."""
        await call.host.subscribe(call, pattern, wanted=False)


def _bytes(message: str, encoding: Encoding) -> bytes:
    try:
        data = base64.b64decode(message, validate=True) if encoding == "base64" else message.encode()
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BadArguments(f"the message is no {encoding}: {error}") from None
    if len(data) > MESSAGE_BYTES_MAX:
        raise BadArguments(
            f"a message has at most {MESSAGE_BYTES_MAX} bytes, not {len(data)}: keep it and send its name"
        )
    return data
