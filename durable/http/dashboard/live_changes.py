"""The stream that tells a page that the store changed: not what, since the page asks for its parts itself.

So nothing is lost when the stream breaks: whoever comes back looks at once (specs/dashboard.md, U).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from durable.core.limits import POLL_BEAT_S
from durable.http.dashboard.page_templates import PAGE_HEADERS
from durable.http.server_state import Site
from durable.store.changes import Changes

PAUSE_S = 0.2
"""Between two events of one stream: a burst of commits is one event."""

CLOCK_S = 3.0
"""A page looks again after so long without a change: an engine's death commits nothing, and steps that an engine of
this process records are told to nobody."""


def stream_of(site: Site) -> StreamingResponse:
    """The events for one page, until it goes, the server ends, or the stream is old."""
    headers = {**PAGE_HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(_events(site), headers=headers, media_type="text/event-stream")


async def _events(site: Site) -> AsyncIterator[str]:
    changes = Changes()
    unwatch = site.store.watch(lambda _: changes.tell())
    end_stream = site.streaming(changes.tell)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + site.stream_s
    try:
        changed = changes.next()
        yield "retry: 1000\n\n"
        while not site.ending and loop.time() < ends_at:
            await asyncio.wait([changed], timeout=min(CLOCK_S, POLL_BEAT_S))
            if site.ending:
                return
            changed = changes.next()  # before the page looks: what comes now is another event
            yield "data: changed\n\n"
            await asyncio.sleep(PAUSE_S)
    finally:
        end_stream()
        unwatch()
