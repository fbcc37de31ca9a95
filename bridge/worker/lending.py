"""What the engine gives this worker in memory files (specs/worker-protocol.md, W6b, W6d)."""

from __future__ import annotations

import os

from bridge.worker.channel import Channel
from bridge.worker.inbound import Wire
from checkpoint.memory_file import mapped
from durable.core.lent import LENT


def attached(channel: Channel, size: int) -> memoryview:
    """What is in the file whose descriptor came with the last message. OSError, ValueError."""
    descriptor, channel.descriptor, channel.awaits_descriptor = channel.descriptor, -1, False
    if descriptor < 0:
        raise OSError("no descriptor came: the session may have as many open as it is allowed")
    try:
        return mapped(descriptor, size)
    finally:
        os.close(descriptor)


def take(channel: Channel, message: Wire) -> Wire:
    """Await what is lent, or have it; the reply to send."""
    reply: Wire = {"type": "lent", "lend": message["id"], "problem": ""}
    if not message["attached"]:
        channel.awaits_descriptor = True
        return {**reply, "ready": True}
    try:
        LENT[message["name"]] = attached(channel, message["memory"])
    except Exception as error:
        reply["problem"] = f"{type(error).__qualname__}: {error}"
    return reply
