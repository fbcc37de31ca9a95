"""The body of a request, within its limit and within that of all bodies together."""

from __future__ import annotations

from starlette.requests import Request

from durable.core.limits import BODIES_BYTES_MAX
from durable.http.server_state import Site


class Turned(Exception):
    """A request that is not let in: its status and what is wrong."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestBody:
    """A request's body within its limit, counted while it is held. Turned."""

    def __init__(self, site: Site, request: Request, limit: int) -> None:
        self._site = site
        self._request = request
        self._limit = limit
        self._held = 0

    async def __aenter__(self) -> bytes:
        declared = self._request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()
        chunks = []
        try:
            async for chunk in self._request.stream():
                self._hold(len(chunk))
                chunks.append(chunk)
        except BaseException:
            self._site.body_bytes -= self._held
            raise
        return b"".join(chunks)

    async def __aexit__(self, *_: object) -> None:
        self._site.body_bytes -= self._held

    def _hold(self, size: int) -> None:
        self._held += size
        self._site.body_bytes += size
        if self._held > self._limit:
            raise self._too_large()
        if self._site.body_bytes > BODIES_BYTES_MAX:
            raise Turned(503, "too many large requests at once (BODIES_BYTES_MAX); try again")

    def _too_large(self) -> Turned:
        return Turned(413, f"the body is over the limit of {self._limit} bytes")
