"""Telling of questions elsewhere: signed POST requests, sent until they were taken (specs/prompt.md, Webhooks)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from durable.core.clock import TIME_MAX_MS, Clock, now_ms
from durable.core.errors import BadArguments, NotFound
from durable.core.events import BackgroundFailed, Notified, Observer
from durable.core.limits import WEBHOOK_NOTIFIES_MAX, WEBHOOK_RETRY_S_MAX, WEBHOOK_S, WEBHOOK_SENDS_MAX
from durable.core.retries import Retries
from durable.prompts.channels import PromptChannel
from durable.prompts.inbox import Inbox
from durable.prompts.open_prompt import OpenPrompt
from durable.prompts.reminders import notice_id
from durable.prompts.signed_links import links_for
from durable.store.changes import Changes
from durable.store.port import StoreFace

_BASE64 = "whsec_"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where questions are told of: `url`, and the `secret` that signs what is sent (text; base64 after "whsec_").

    answers_at: the URL of `durable serve` as those who answer reach it; links then are whole URLs. retry_s: the longest
    wait before what was not taken is sent again, doubled each time. BadArguments.
    """

    url: str
    secret: str = field(repr=False)
    answers_at: str | None = None
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        for url in (self.url, self.answers_at):
            if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
                raise BadArguments(f"a webhook's addresses are http:// or https:// URLs, not {url!r}")
        if not 0 < self.retry_s <= WEBHOOK_RETRY_S_MAX:
            raise BadArguments(f"retry_s= is more than 0 and at most {WEBHOOK_RETRY_S_MAX:g} seconds")
        if not self.key():
            raise BadArguments("a webhook needs a secret: who receives it knows by that who sent it")

    def key(self) -> bytes:
        """The bytes of the secret."""
        if not self.secret.startswith(_BASE64):
            return self.secret.encode()
        try:
            return base64.b64decode(self.secret.removeprefix(_BASE64), validate=True)
        except binascii.Error:
            raise BadArguments(f"what follows {_BASE64!r} in a webhook's secret is base64") from None

    def signature(self, id: str, seconds: int, body: bytes) -> str:
        """The header `webhook-signature` of what is sent at a time (s since the epoch)."""
        mac = hmac.new(self.key(), b"%s.%d." % (id.encode(), seconds) + body, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(mac).decode()}"


class _Message(NamedTuple):
    """A message: what it is about, its id, its body as of a time (ms), and whether it still is to be sent."""

    what: str
    id: str
    body: Callable[[int], bytes]
    wanted: Callable[[], Awaitable[bool]]


class Sender:
    """Sends to one webhook. Each notice is sent until it was taken, a newer reminder came or its question is settled;
    what was not taken when this ends is derived again by the next engine. What code notifies of is sent until it was
    taken or this ends."""

    def __init__(
        self,
        webhook: Webhook,
        prompts: Inbox,
        key: bytes,
        changed: Callable[[], asyncio.Future[None]],
        observer: Observer,
        clock: Clock = now_ms,
        retries: Retries | None = None,
    ) -> None:
        import aiohttp  # an HTTP client, which an engine without webhooks does without

        self._webhook = webhook
        self._prompts = prompts
        self._key = key
        self._observe = observer
        self._clock = clock
        self._retries = retries or Retries(webhook.retry_s, WEBHOOK_RETRY_S_MAX)
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WEBHOOK_S))
        self._places = asyncio.Semaphore(WEBHOOK_SENDS_MAX)
        self._sending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._notifies = 0
        self._channel = PromptChannel(prompts, changed, self._tell, observer, clock)

    def _tell(self, notice: OpenPrompt) -> None:
        async def wanted() -> bool:
            try:
                return bool((await self._prompts.get(notice.id))["state"] == "pending")
            except NotFound:
                return False

        what = f"{notice.id} ({notice.notice})"
        message = _Message(what, notice_id(notice), lambda now: self.body(notice, now), wanted)
        self._begin((notice.id, notice.notice), message)

    def notify(self, event: Notified) -> None:
        """Send what code notifies of. Beyond WEBHOOK_NOTIFIES_MAX that wait, it is dropped, and observed."""
        if self._notifies >= WEBHOOK_NOTIFIES_MAX:
            self._observe(BackgroundFailed(f"webhook of {event.call or event.session}", "too many wait; dropped"))
            return
        id = notified_id(event)
        self._notifies += 1
        self._begin((id, "notify"), _Message(event.call, id, lambda now: notified_body(id, event, now), _always))
        self._sending[id, "notify"].add_done_callback(self._notify_ended)

    def _notify_ended(self, _: object) -> None:
        self._notifies -= 1

    def _begin(self, place: tuple[str, str], message: _Message) -> None:
        older = self._sending.get(place)
        if older is not None:
            older.cancel()
        task = self._sending[place] = asyncio.get_running_loop().create_task(self._send(message))

        def ended(_: object) -> None:
            if self._sending.get(place) is task:
                del self._sending[place]

        task.add_done_callback(ended)

    async def _send(self, message: _Message) -> None:
        attempt = 0
        while True:
            async with self._places:
                try:
                    if not await message.wanted():
                        return
                    trouble = await self._post(message)
                except Exception as error:  # the store or the receiver cannot be reached
                    trouble = repr(error)
            if trouble is None:
                return
            self._observe(BackgroundFailed(f"webhook of {message.what}", trouble))
            await asyncio.sleep(self._retries.delay(attempt))
            attempt += 1

    async def _post(self, message: _Message) -> str | None:
        """Send it once; what is wrong when it was not taken."""
        now = self._clock()
        body = message.body(now)
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(now // 1000),
            "webhook-signature": self._webhook.signature(message.id, now // 1000, body),
        }
        async with self._http.post(self._webhook.url, data=body, headers=headers, allow_redirects=False) as answer:
            return None if 200 <= answer.status < 300 else f"the receiver answered {answer.status}"

    def body(self, notice: OpenPrompt, now: int) -> bytes:
        """The notice as JSON, with a link for each who may answer at that time (ms)."""
        until = notice.timeout_at if notice.timeout_at < TIME_MAX_MS else None
        links = []
        for link in links_for(notice.id, notice.prompt, notice.created_at, notice.timeout_at, now):
            signed = link.sign(self._key)
            each = {"who": link.who, "token": signed}
            if self._webhook.answers_at is not None:
                where = f"{self._webhook.answers_at.rstrip('/')}/prompts/{quote(notice.id, safe='')}/answer"
                each["url"] = f"{where}?link={signed}"
            links.append(each)
        asked = {"id": notice.id, "execution": notice.execution, "created_at": notice.created_at, "timeout_at": until}
        said = {"type": f"prompt.{notice.notice}", "n": notice.nth, "prompt": asked | notice.prompt.record()}
        return msgspec.json.encode(said | {"links": links})

    async def close(self) -> None:
        """Send no more."""
        self._channel.close()
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._http.close()


async def _always() -> bool:
    return True


def notified_id(event: Notified) -> str:
    """The id of a notification: one for a recorded call, however often performed; a new one for any other call."""
    said = event.call or uuid.uuid4().hex
    return f"msg_{hashlib.sha256(f'notify {said}'.encode()).hexdigest()[:32]}"


def notified_body(id: str, event: Notified, now: int) -> bytes:
    """A notification of code, as JSON."""
    said: dict[str, Any] = {
        "id": event.call or id,
        "session": event.session,
        "execution": event.execution,
        "message": event.message,
        "title": event.title or None,
        "sent_at": now,
    }
    return msgspec.json.encode({"type": "notify", "n": 0, "notify": said, "links": []})


class Hooks:
    """All webhooks of one engine or server."""

    def __init__(
        self,
        webhooks: Sequence[Webhook],
        prompts: Inbox,
        key: bytes,
        changed: Callable[[], asyncio.Future[None]],
        observer: Observer,
    ) -> None:
        for webhook in webhooks:
            if not isinstance(webhook, Webhook):
                raise BadArguments(f"webhooks= is a list of durable.Webhook(url, secret), not of {webhook!r}")
        self._senders = [Sender(webhook, prompts, key, changed, observer) for webhook in webhooks]

    def notify(self, event: Notified) -> None:
        """Send what code notifies of to each."""
        for sender in self._senders:
            sender.notify(event)

    async def close(self) -> None:
        """Send no more."""
        for sender in self._senders:
            await sender.close()


@asynccontextmanager
async def telling(store: StoreFace, webhooks: Sequence[Webhook], observer: Observer) -> AsyncIterator[None]:
    """Tell of one store's questions until the block ends, without an engine."""
    changes = Changes()
    unwatch = store.watch(lambda _: changes.tell())
    hooks = Hooks(webhooks, Inbox(store), store.key, changes.next, observer)
    try:
        yield
    finally:
        unwatch()
        await hooks.close()
