"""Telling of questions elsewhere: signed POST requests, sent until they were taken (specs/prompt.md, Webhooks)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from durable.channels import Channel
from durable.core.clock import TIME_MAX_MS, Clock, now_ms
from durable.core.errors import BadArguments, NotFound
from durable.core.events import BackgroundFailed, Observer
from durable.core.limits import WEBHOOK_RETRY_S_MAX, WEBHOOK_S, WEBHOOK_SENDS_MAX
from durable.links import links_for
from durable.notices import notice_id
from durable.prompts import OpenPrompt, Prompts

_BASE64 = "whsec_"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where questions are told of: `url`, and the `secret` that signs what is sent (text; base64 after "whsec_").

    answers_at: the URL of `durable serve` as those who answer reach it; links then are whole URLs. retry_s: seconds
    before what was not taken is sent again, doubled each time. BadArguments.
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


class Sender:
    """Sends one webhook's notices. Each is sent until it was taken, a newer reminder came or its question is settled;
    what was not taken when this ends is derived again by the next engine."""

    def __init__(
        self,
        webhook: Webhook,
        prompts: Prompts,
        key: bytes,
        changed: Callable[[], asyncio.Future[None]],
        observer: Observer,
        clock: Clock = now_ms,
    ) -> None:
        self._webhook = webhook
        self._prompts = prompts
        self._key = key
        self._observe = observer
        self._clock = clock
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WEBHOOK_S))
        self._places = asyncio.Semaphore(WEBHOOK_SENDS_MAX)
        self._sending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._channel = Channel(prompts, changed, self._begin, observer, clock)

    def _begin(self, notice: OpenPrompt) -> None:
        place = (notice.id, notice.notice)
        older = self._sending.get(place)
        if older is not None:
            older.cancel()
        task = self._sending[place] = asyncio.get_running_loop().create_task(self._send(notice))

        def ended(_: object) -> None:
            if self._sending.get(place) is task:
                del self._sending[place]

        task.add_done_callback(ended)

    async def _send(self, notice: OpenPrompt) -> None:
        wait_s = self._webhook.retry_s
        while True:
            async with self._places:
                try:
                    if (await self._prompts.get(notice.id))["state"] != "pending":
                        return
                    trouble = await self._post(notice)
                except NotFound:
                    return
                except Exception as error:  # the store or the receiver cannot be reached
                    trouble = repr(error)
            if trouble is None:
                return
            self._observe(BackgroundFailed(f"webhook of {notice.id} ({notice.notice})", trouble))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, WEBHOOK_RETRY_S_MAX)

    async def _post(self, notice: OpenPrompt) -> str | None:
        """Send it once; what is wrong when it was not taken."""
        now, id = self._clock(), notice_id(notice)
        body = self.body(notice, now)
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(now // 1000),
            "webhook-signature": self._webhook.signature(id, now // 1000, body),
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
