"""HTTP to a served store: requests that are repeated until the server answers, and its stream of changes."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable

import aiohttp

from durable.core.errors import EngineClosed, StoreDenied, StoreUnreachable
from durable.core.events import Observer, StoreSilent
from durable.core.limits import CONNECT_S, POLL_BEAT_S
from durable.core.retries import Retries
from durable.store.remote.request_headers import AGAIN

RETRY_FIRST_S = 0.05
RETRY_MAX_S = 2.0
"""Between two tries while the server does not answer: it is a restart, or it is long; both cost little."""

ANSWER_S = 120.0
"""For one answer, its body included: longer than any wait inside the server."""

_BUSY = {429, 502, 503, 504}


class StoreClient:
    """One server and its token. Bound to the running loop."""

    def __init__(self, url: str, token: str, observer: Observer) -> None:
        self.url = url
        self._observe = observer
        self._retries = Retries(RETRY_FIRST_S, RETRY_MAX_S)
        self._closed = asyncio.Event()
        self._unreachable_at: float | None = None
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"} if token else None,
            connector=aiohttp.TCPConnector(limit=64),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S),
        )

    async def close(self) -> None:
        """End everything under way with EngineClosed."""
        self._closed.set()
        await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        once: bool = False,
        within_s: float | None = None,
    ) -> tuple[int, bytes]:
        """A status and a body, sent again while the server cannot be reached or is busy.

        `once`: not again; StoreUnreachable says what is wrong. `within_s`: the same when there is no answer
        within that. Raises StoreDenied for a wrong token, EngineClosed.
        """
        if within_s is not None:
            try:
                async with asyncio.timeout(within_s):
                    return await self.send(method, path, body, headers, once=once)
            except TimeoutError:
                raise StoreUnreachable(self.unanswered(within_s)) from None
        attempt = 0
        while True:
            if self._closed.is_set():
                raise EngineClosed(f"the connection to {self.url} is closed")
            try:
                # As a stream, new for each try: bytes in one piece would stop the loop while they are copied.
                data = io.BytesIO(body) if body else None
                sent = headers if not attempt else {**(headers or {}), AGAIN: "1"}
                async with self._session.request(method, self.url + path, data=data, headers=sent) as response:
                    found = await response.read()
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
                problem = str(error) or type(error).__name__
            else:
                if status == 401:
                    raise StoreDenied(f"{self.url} refuses the token; set DURABLE_TOKEN to the one of its token file")
                if status not in _BUSY:
                    self._unreachable_at = None
                    return status, found
                problem = f"status {status}"
            if once:
                raise StoreUnreachable(f"{self.url} does not answer: {problem}; is `durable serve` running there?")
            self._note(problem)
            await self._wait(self._retries.delay(attempt))
            attempt += 1

    async def events(self, path: str, connected: Callable[[], None]) -> AsyncIterator[bytes]:
        """The data of server-sent events, connecting again when the stream ends; `connected` is called each time."""
        attempt = 0
        while not self._closed.is_set():
            try:
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=3 * POLL_BEAT_S)
                async with self._session.get(self.url + path, timeout=timeout) as response:
                    if response.status == 200:
                        attempt = 0
                        self._unreachable_at = None
                        connected()
                        async for event in _split(response):
                            yield event
            except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
                self._note(str(error) or type(error).__name__)
            await self._wait(self._retries.delay(attempt))
            attempt += 1

    def unreachable_s(self) -> float:
        """How long the server could not be reached; 0 when it could be the last time."""
        return 0.0 if self._unreachable_at is None else time.monotonic() - self._unreachable_at

    def unanswered(self, waited_s: float) -> str:
        """The message of a call that waited in vain."""
        return f"{self.url} has not answered for {waited_s:g} s; is `durable serve` running there?"

    def _note(self, problem: str) -> None:
        if self._unreachable_at is None and not self._closed.is_set():
            self._unreachable_at = time.monotonic()
            self._observe(StoreSilent(self.url, problem))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            pass


async def _split(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each event; comments have none. An event is one line here."""
    buffer, looked = bytearray(), 0
    async for chunk in response.content.iter_any():
        buffer += chunk
        while (end := buffer.find(b"\n\n", max(0, looked - 1))) >= 0:
            event = bytes(buffer[:end])
            del buffer[: end + 2]
            looked = 0
            if event.startswith(b"data:"):
                yield event[len(b"data:") :]
        looked = len(buffer)
