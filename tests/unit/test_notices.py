"""When people are told of a question, and what a signed link says: both without I/O."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from typing import Any

import pytest

import durable
from capabilities.prompts.prompt import Prompt, prompt_for
from durable.core.clock import TIME_MAX_MS
from durable.core.retries import Retries
from durable.prompts.reminders import due, next_ms, notice_id
from durable.prompts.signed_links import Link, links_for, read_link

ID = "exec:e:input:1"


def opened(**fields: Any) -> durable.OpenPrompt:
    return durable.OpenPrompt(ID, "e", prompt_for("q", **fields), 1_000, TIME_MAX_MS)


def told(prompt: durable.OpenPrompt, now_ms: int) -> list[tuple[str, int]]:
    return [(each.notice, each.nth) for each in due(prompt, now_ms)]


def test_what_is_due_follows_from_the_time() -> None:
    prompt = opened(remind_s=10.0, escalate_s=25.0, to=["ana"], escalate_to=["eve"])
    assert told(prompt, 1_000) == [("asked", 0)]
    assert next_ms(prompt, 1_000) == 11_000
    assert told(prompt, 11_000) == [("asked", 0), ("reminder", 1)]
    assert next_ms(prompt, 21_000) == 26_000
    assert told(prompt, 26_000) == [("asked", 0), ("escalated", 0), ("reminder", 2)]
    assert next_ms(prompt, 26_000) == 31_000
    assert told(prompt, 0) == [("asked", 0)]  # a clock that was set back
    assert next_ms(opened(), 5_000) == float("inf")


def test_a_notice_has_one_name_and_no_other_has_it() -> None:
    prompt = opened(remind_s=10.0, escalate_s=25.0)
    ids = [notice_id(each) for now in (26_000, 31_000) for each in due(prompt, now)]
    assert len(ids) == 6
    assert len(set(ids)) == 4  # asked and escalated are the same notices later
    assert all("." not in each for each in ids)


def test_reminders_have_a_shortest_step() -> None:
    assert told(opened(remind_s=1e-9), 1_250)[-1] == ("reminder", 2)


@pytest.mark.parametrize(
    ("fields", "now", "who"),
    [
        ({}, 1_000, [None]),
        ({"to": ["ana", "team:ops"]}, 1_000, ["ana", "team:ops"]),
        ({"to": ["ana"], "escalate_s": 1.0, "escalate_to": ["eve"]}, 1_999, ["ana"]),
        ({"to": ["ana"], "escalate_s": 1.0, "escalate_to": ["eve"]}, 2_000, ["ana", "eve"]),
        ({"form": "approve", "quorum": 2}, 1_000, []),
        ({"form": "approve", "quorum": 2, "to": ["ana", "team:ops"]}, 1_000, ["ana"]),
    ],
)
def test_who_has_a_link(fields: dict[str, Any], now: int, who: list[str | None]) -> None:
    links = links_for(ID, prompt_for("q", **fields), 1_000, 9_000, now)
    assert [link.who for link in links] == who
    assert all(link.until == 9_000 and link.prompt == ID for link in links)


def test_a_link_is_read_with_its_key_and_whole_only() -> None:
    link = Link(ID, 1, "ana", 5)
    text = link.sign(b"key")
    assert read_link(text, (b"other", b"key")) == link
    assert read_link(text, (b"other",)) is None
    said, _, mac = text.partition(".")
    forged = base64.urlsafe_b64encode(b'["exec:e:input:1",1,"eve",5]').rstrip(b"=").decode()
    for bad in ("", ".", "é.é", said, f".{mac}", f"{said}.{mac[:-2]}", f"{forged}.{mac}", f"{text}.x", f"a.{mac}"):
        assert read_link(bad, (b"key",)) is None


def test_a_link_says_who_answers() -> None:
    asked = Prompt(question="q", to=("ana", "team:ops"))
    person, team, anybody = (Link(ID, 1, who, 5) for who in ("ana", "team:ops", None))
    assert person.answerer(None, asked) == person.answerer("ana", asked) == ("ana", ())
    with pytest.raises(durable.NotAsked):
        person.answerer("eve", asked)
    assert team.answerer("tom", asked) == ("tom", ("team:ops",))
    with pytest.raises(durable.NotAsked):
        team.answerer("ana", asked)
    assert anybody.answerer("tom", Prompt(question="q")) == ("tom", ())
    person.check_time(4)
    with pytest.raises(durable.AnswerLate):
        person.check_time(5)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    key = b"0123456789abcdef"
    hook = durable.Webhook("https://example.test/hook", "whsec_" + base64.b64encode(key).decode())
    mac = hmac.new(key, b"msg_1.17.{}", hashlib.sha256).digest()
    assert hook.signature("msg_1", 17, b"{}") == "v1," + base64.b64encode(mac).decode()
    assert "whsec_" not in repr(hook)


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("example.test", "s", "http:// or https://"),
        ("file:///etc/passwd", "s", "http:// or https://"),
        ("http://example.test", "", "needs a secret"),
        ("http://example.test", "whsec_%", "base64"),
    ],
)
def test_webhooks_that_cannot_be(url: str, secret: str, message: str) -> None:
    with pytest.raises(durable.BadArguments, match=message):
        durable.Webhook(url, secret)


def test_waits_between_tries_double_and_spread() -> None:
    assert [Retries(1.0, 300.0, lambda: 1.0).delay(n) for n in (0, 1, 2, 9, 99)] == [1, 2, 4, 300, 300]
    assert [Retries(1.0, 300.0, lambda: 0.0).delay(n) for n in (0, 1, 99)] == [0.5, 1, 150]
    drawn = random.Random(7)
    waits = [Retries(1.0, 300.0, drawn.random).delay(3) for _ in range(100)]
    assert min(waits) >= 4
    assert max(waits) <= 8
    assert len(set(waits)) == 100
