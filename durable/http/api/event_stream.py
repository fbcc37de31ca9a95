"""Server-sent events of the API: each with an id, after which a client that comes back goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from durable.core.limits import POLL_BEAT_S
from durable.http.api.json_document import encode_document
from durable.http.sse import STREAM_HEADERS, ascii_json

_COMMENT = b":\n\n"
_RETRY = b"retry: 1000\n\n"
"""In milliseconds: when a client comes back whose stream ended."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event: its kind, its document, and the id with which a client comes back."""

    event: str
    document: object
    id: str

    def encoded(self) -> bytes:
        """The event as it is sent."""
        data = ascii_json(encode_document(self.document).decode())
        return f"id: {self.id}\nevent: {self.event}\ndata: {data}\n\n".encode("ascii")


class EventStream:
    """An answer that is a stream of events until they end, the client goes, the server ends, or `life_s` is over."""

    def __init__(self, events: AsyncIterator[StreamEvent], ended: asyncio.Event, *, life_s: float) -> None:
        self._events = events
        self._ended = ended
        self._life_s = life_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI protocol's
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        await send({"type": "http.response.body", "body": _RETRY, "more_body": True})
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(_disconnected(receive))
        ending = asyncio.ensure_future(self._ended.wait())
        over = asyncio.ensure_future(asyncio.sleep(self._life_s))
        following: asyncio.Future[Any] | None = None
        try:
            while not (gone.done() or ending.done() or over.done()):
                if following is None:
                    following = asyncio.ensure_future(anext(self._events, None))
                began = loop.time()
                either = {following, gone, ending, over}
                await asyncio.wait(either, timeout=POLL_BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    event, following = following.result(), None
                    if event is None:
                        break
                    await send({"type": "http.response.body", "body": event.encoded(), "more_body": True})
                elif loop.time() - began >= POLL_BEAT_S:
                    await send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (gone, ending, over, following):
                if task is not None:
                    task.cancel()
            if following is not None:
                with suppress(BaseException):
                    await following
            closing = getattr(self._events, "aclose", None)
            if closing is not None:
                await closing()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
