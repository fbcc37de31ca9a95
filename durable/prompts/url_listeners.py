"""Sending what listeners at URLs wait for: signed POST requests to public addresses, sent until they are taken.

The message is the protocol's `unblock`; the headers are those of Standard Webhooks (specs/store.md, S17).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from durable.core.clock import Clock, now_ms
from durable.core.errors import BadArguments, Denied, DurableError, EngineClosed
from durable.core.events import BackgroundFailed, Observer
from durable.core.limits import POST_LOOK_S, POST_PAUSE_S, WEBHOOK_RETRY_S_MAX, WEBHOOK_S, WEBHOOK_SENDS_MAX
from durable.core.retries import Retries
from durable.store.changes import Changes, StoreChange
from durable.store.direct_store import DirectStore

if TYPE_CHECKING:
    from capabilities.standard.pinned_connection import Lookup, PinnedResolver

SIGNED_BY = "DURABLE_LISTENER_SECRET"
PRIVATE = "DURABLE_LISTENER_PRIVATE"
"""Networks that are not public and may be reached all the same, such as `10.0.0.0/8,127.0.0.1/32`."""

RETRY_FIRST_S = 0.5


class _Claimed(msgspec.Struct, frozen=True):
    post: int
    url: str
    over: bool
    body: str
    tries: int


class _Claim(msgspec.Struct, frozen=True):
    posts: list[_Claimed]
    wait_ms: int | None


def listener_secret(store_key: bytes) -> str:
    """The secret that signs messages: DURABLE_LISTENER_SECRET, else one made from the key of the store."""
    given = os.environ.get(SIGNED_BY)
    if given:
        return given
    made = hmac.new(store_key, b"durable-exec listeners", hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(made).decode()}"


def private_networks() -> tuple[str, ...]:
    """The networks of DURABLE_LISTENER_PRIVATE."""
    return tuple(each.strip() for each in os.environ.get(PRIVATE, "").split(",") if each.strip())


async def keep_posting(store: DirectStore, observer: Observer) -> None:
    """Send what waits for URLs, until cancelled. What goes wrong is an event."""
    poster = Poster(store, observer, private=private_networks())
    try:
        await poster.run()
    finally:
        await poster.close()


class Poster:
    """Sends the messages for URLs of one store, some at a time."""

    def __init__(
        self,
        store: DirectStore,
        observer: Observer,
        *,
        private: tuple[str, ...] = (),
        lookup: Lookup | None = None,
        clock: Clock = now_ms,
        retries: Retries | None = None,
    ) -> None:
        self._store = store
        self._observe = observer
        self._clock = clock
        self._retries = retries or Retries(RETRY_FIRST_S, WEBHOOK_RETRY_S_MAX)
        self._lookup = lookup
        self._private = private
        self._secret = listener_secret(store.key)
        self._posts = Changes()
        self._others = Changes()
        self._unwatch: Callable[[], None] = store.watch(self._on_change)
        self._sending: set[asyncio.Task[None]] = set()

    @cached_property
    def _resolver(self) -> PinnedResolver:
        from capabilities.standard.pinned_connection import PinnedResolver, system_lookup

        return PinnedResolver(self._lookup or system_lookup, self._private)

    def _on_change(self, change: StoreChange) -> None:
        if change.posts:
            self._posts.tell()
        elif change.foreign:
            self._others.tell()

    async def run(self) -> None:
        """Look for messages and send them, for ever."""
        while True:
            posted, changed = self._posts.next(), self._others.next()  # before the look: nothing falls between
            try:
                wait_s = await self._look()
            except EngineClosed:
                return
            except DurableError as error:
                self._observe(BackgroundFailed("messages to URLs", str(error)))
                wait_s = POST_LOOK_S
            soon = {posted, *self._sending}
            pause_s = min(wait_s, POST_PAUSE_S)
            done, _ = await asyncio.wait(soon, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if not done and wait_s > pause_s:
                soon = {posted, changed, *self._sending}
                await asyncio.wait(soon, timeout=wait_s - pause_s, return_when=asyncio.FIRST_COMPLETED)

    async def _look(self) -> float:
        """Take what is due and begin to send it; seconds until the next is due, or until somebody must look again."""
        free = WEBHOOK_SENDS_MAX - len(self._sending)
        if free <= 0:
            return POST_LOOK_S
        answer = await self._store.request("listener.claim", {"limit": free})
        found = msgspec.convert(answer.data, _Claim)
        for each in found.posts:
            task = asyncio.create_task(self._send(each))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return POST_LOOK_S if found.wait_ms is None else min(POST_LOOK_S, found.wait_ms / 1000)

    async def _send(self, post: _Claimed) -> None:
        """Send one message once, and record what came of it."""
        retry_ms: int | None = None
        if post.over:
            self._observe(BackgroundFailed(f"listener {post.url}", "it took no message for a day: given up"))
            return
        try:
            trouble = await self._post(post)
            if trouble is not None:
                retry_ms = int(self._retries.delay(post.tries) * 1000)
        except (Denied, BadArguments) as refused:
            trouble = f"{refused}; {PRIVATE} can allow it. It is not sent"
        except Exception as error:  # the receiver cannot be reached
            trouble, retry_ms = repr(error), int(self._retries.delay(post.tries) * 1000)
        if trouble is not None:
            self._observe(BackgroundFailed(f"listener {post.url}", trouble))
        try:
            await self._store.request("listener.end", {"post": post.post, "retry_ms": retry_ms})
        except DurableError:
            pass  # the store is closed or away: it is sent again

    async def _post(self, post: _Claimed) -> str | None:
        """Send it; what is wrong when it was not taken. Denied where the address may not be reached."""
        import aiohttp  # with the line below an HTTP client, which most engines do without

        from capabilities.standard.pinned_connection import client, parse_url, refusal_in
        from durable.prompts.webhooks import Webhook

        url = parse_url(post.url, ("http", "https"))
        assert url.host is not None
        self._resolver.check_literal(url.host)
        body, now_s = post.body.encode(), self._clock() // 1000
        message_id = f"msg_{hashlib.sha256(f'{post.url} {post.body}'.encode()).hexdigest()[:32]}"
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": Webhook(post.url, self._secret).signature(message_id, now_s, body),
        }
        try:
            async with (
                client(self._resolver, WEBHOOK_S, redirects=False) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                taken = 200 <= answer.status < 300 or answer.status == HTTPStatus.GONE
                return None if taken else f"the receiver answered {answer.status}"
        except aiohttp.ClientError as error:
            refusal = refusal_in(error)
            if refusal is not None:
                raise refusal from None
            raise

    async def close(self) -> None:
        """Send no more; what was not taken is sent by the next."""
        self._unwatch()
        for task in [*self._sending]:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
