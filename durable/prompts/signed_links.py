"""Signed links: the right to answer one question as one person, until its deadline (specs/prompt.md, Links)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

import msgspec

from capabilities.prompts.prompt import TEAM, Prompt
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import AnswerLate, NotAsked

_PURPOSE = b"durable-exec links to answers"


class Link(NamedTuple):
    """The claims of a link: which question, asked when (ms), who answers (a person, a `team:` name, None: anybody),
    until when (ms)."""

    prompt: str
    asked_at: int
    who: str | None
    until: int

    def sign(self, key: bytes) -> str:
        """The link as text, for headers and URLs. key: the store's, or what its server and a remote engine share."""
        said = msgspec.json.encode(self)
        return f"{_text(said)}.{_text(_mac(key, said))}"

    def answerer(self, by: str | None, prompt: Prompt) -> tuple[str | None, tuple[str, ...]]:
        """The person who answers with this link, and the teams, when they say `by`. NotAsked when it is not theirs."""
        if self.who is None:
            return by, ()
        if not self.who.startswith(TEAM):
            if by not in (None, self.who):
                raise NotAsked(self.prompt, str(by), [self.who])
            return self.who, ()
        if by is not None and by in (*prompt.to, *prompt.escalate_to):  # who is named has a link of their own
            raise NotAsked(self.prompt, by, [self.who])
        return by, (self.who,)

    def check_time(self, now_ms: int) -> None:
        """AnswerLate once the question's deadline has passed."""
        if now_ms >= self.until:
            raise AnswerLate(f"the link to {self.prompt} ended with the deadline; it cannot be answered any more")


def read_link(text: str, keys: tuple[bytes, ...]) -> Link | None:
    """A link that one of these keys signed; None for anything else."""
    said, _, mac = text.partition(".")
    try:
        found, given = _bytes(said), _bytes(mac)
    except (binascii.Error, ValueError):
        return None
    if not any(hmac.compare_digest(given, _mac(key, found)) for key in keys):
        return None
    return msgspec.json.decode(found, type=Link)


def links_for(prompt_id: str, prompt: Prompt, since_ms: int, until_ms: int, now_ms: int) -> list[Link]:
    """One for each who may answer now. Where several must approve, only persons have one: who holds a team's or
    anybody's could be several."""
    asked: tuple[str | None, ...] = prompt.may_answer(since_ms, now_ms) or (None,)
    if prompt.needed() > 1:
        asked = tuple(who for who in asked if who is not None and not who.startswith(TEAM))
    return [Link(prompt_id, since_ms, who, min(until_ms, TIME_MAX_MS)) for who in asked]


def _mac(key: bytes, said: bytes) -> bytes:
    return hmac.new(hmac.new(key, _PURPOSE, hashlib.sha256).digest(), said, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
