"""Server-sent events: a bounded queue of messages, and the stream that sends them to one client."""

from __future__ import annotations

import asyncio
from json.encoder import encode_basestring_ascii
from typing import Protocol

import msgspec
from starlette.types import Receive, Send

from durable.core.limits import POLL_BEAT_S, POLL_QUEUE_MAX

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy in front must not hold messages back
]
_COMMENT = b":\n\n"


def ascii_json(text: str) -> str:
    """The same JSON in ASCII. Readers of the SDKs split lines at U+2028 and the like, and chunks inside a character.

    `text` has no control characters. Values are megabytes long: no character is looked at in Python.
    """
    if text.isascii():
        return text
    # As inside of a string, but for what that does to the backslashes and quotes that are there.
    quoted = encode_basestring_ascii(text)[1:-1]
    return quoted.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")


class StreamSource(Protocol):
    """The source of a stream: messages to take, and a sign that there are some or that the stream is to end."""

    ready: asyncio.Event
    closed: bool

    def take(self) -> list[str]:
        """All messages that wait, as JSON; `ready` is cleared."""

    def close(self) -> None:
        """End the stream after what waits now."""


class Messages:
    """Messages in order. More than a client's share end its stream: it is not reading."""

    def __init__(self, limit: int = POLL_QUEUE_MAX) -> None:
        self.ready = asyncio.Event()
        self.closed = False
        self._limit = limit
        self._waiting: list[str] = []

    def put(self, message: str) -> None:
        """Add one; nothing is added after the end."""
        if self.closed:
            return
        if len(self._waiting) >= self._limit:
            self._waiting.clear()
            self.close()
            return
        self._waiting.append(message)
        self.ready.set()

    def take(self) -> list[str]:
        taken, self._waiting = self._waiting, []
        if not self.closed:
            self.ready.clear()
        return taken

    def close(self) -> None:
        self.closed = True
        self.ready.set()


async def stream(messages: StreamSource, receive: Receive, send: Send, *, life_s: float) -> None:
    """Answer a request with messages until the client goes, the queue is closed, or `life_s` has passed.

    In the last case the queue is left open: what comes from now on is for the client's next stream.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + life_s
    gone = asyncio.create_task(_disconnected(receive, messages))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        await _send(send, _COMMENT)
        while not messages.closed and loop.time() < ends_at:
            try:
                async with asyncio.timeout(min(POLL_BEAT_S, ends_at - loop.time())):
                    await messages.ready.wait()
            except TimeoutError:
                await _send(send, _COMMENT)
                continue
            await _send(send, _events(messages.take()))
        await _send(send, _events(messages.take()), more=False)
    except BaseException:
        messages.close()
        raise
    finally:
        gone.cancel()


def _events(messages: list[str]) -> bytes:
    return "".join(f"data: {ascii_json(message)}\n\n" for message in messages).encode("ascii")


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    if body or not more:
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnected(receive: Receive, messages: StreamSource) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    messages.close()


def encode(value: object) -> str:
    """A document as JSON."""
    return msgspec.json.encode(value).decode()
