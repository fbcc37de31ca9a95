"""The page behind a link: every form answered as a browser does it, and attacked (specs/prompt.md, Pages)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal, cast, override
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from pydantic import BaseModel, TypeAdapter

import durable
from capabilities.prompts.answer_validation import validated
from capabilities.prompts.prompt import Prompt, prompt_for
from durable.http.pages.answer_problems import AnswerProblem
from durable.http.pages.prompt_form import form_page, read_form
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.prompts.signed_links import links_for
from durable.store.sqlite.store import Store
from tests.conftest import TOKEN
from tests.waiting import first_prompt, until

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></textarea></title></style><!--"


PROBLEM = AnswerProblem("", "too short")


class Page(HTMLParser):
    """What a browser would make of it: its elements, the fields of its form as they are sent, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.fields: list[tuple[str, str]] = []
        self.text = ""
        self._area: list[str] | None = None
        self.feed(text)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag == "textarea":
            self._area = [found["name"] or "", ""]
        elif tag == "input" and found.get("type") in ("text", "password", "number", "date", "time"):
            self.fields.append((found["name"] or "", found.get("value") or ""))

    @override
    def handle_data(self, data: str) -> None:
        self.text += data
        if self._area is not None:
            self._area[1] += data

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            self.fields.append((self._area[0], self._area[1].removeprefix("\n")))
            self._area = None


class Browser:
    """GETs a link, fills its form, sends it."""

    def __init__(self, url: str, engine: durable.Engine) -> None:
        self.url = url
        self._engine = engine

    def link(self, prompt: durable.OpenPrompt, n: int = 0) -> str:
        signed = links_for(prompt.id, prompt.prompt, prompt.created_at, prompt.timeout_at, prompt.created_at)[n]
        return f"{self.at(prompt.id)}?link={signed.sign(self._engine.store.key)}"

    def at(self, prompt: str) -> str:
        return f"{self.url}/prompts/{quote(prompt, safe='')}/answer"

    async def get(self, url: str, **headers: str) -> tuple[int, Page, Any]:
        async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
            return answer.status, Page(await answer.text()), answer.headers

    async def send(self, url: str, fields: Any, **headers: str) -> tuple[int, Page]:
        data = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", **headers}
        async with aiohttp.ClientSession(headers=headers) as http, http.post(url, data=data) as answer:
            return answer.status, Page(await answer.text())

    async def fill(self, url: str, do: str, **typed: Any) -> tuple[int, Page]:
        """Type into the form as it was shown, and press a button."""
        _, page, _ = await self.get(url)
        names = {attributes.get("name") for _, attributes in page.elements}
        assert typed.keys() <= names, (typed, names)
        assert do in [attributes.get("value") for tag, attributes in page.elements if tag == "button"]
        kept = [(name, text) for name, text in page.fields if name not in typed]
        given = [
            (name, each) for name, texts in typed.items() for each in (texts if isinstance(texts, list) else [texts])
        ]
        return await self.send(url, [*kept, *given, ("do", do)], **{"sec-fetch-site": "same-origin"})


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def browser(engine: durable.Engine) -> AsyncIterator[Browser]:
    with listen("127.0.0.1", 0) as sock:
        async with serving(Site(cast(Store, engine.store), TOKEN), sock) as url:
            yield Browser(url, engine)


class Line(BaseModel):
    sku: str = "none"


class Order(BaseModel):
    sku: str
    count: int
    gift: bool = False
    line: Line = Line()


@durable.function
async def everything(ctx: durable.Context) -> list[Any]:
    found: list[Any] = [
        await ctx.ask("Text?", initial=" two\nlines", context="# Why\n<b>"),
        await ctx.ask("Number?", schema=int),
        (await ctx.ask("Order?", schema=Order, initial={"sku": "a<b"})).model_dump(),
        await ctx.choose("One?", ["x", 2]),
        await ctx.choose("Many?", ["x", 2, True], many=True),
        (await ctx.approve("Ship?", {"n": 1}, to=["ana"])).why,
    ]
    review = await ctx.review(Order(sku="a", count=1), Order)
    found += [review.outcome, review.document.count, (await ctx.review("plain")).outcome]
    try:
        await ctx.ask("Team?", to=["team:ops"])
    except durable.Denied as error:
        found.append(str(error))
    return found


async def test_every_form_is_answered_as_a_browser_does_it(engine: durable.Engine, browser: Browser) -> None:
    execution = await engine.start(everything, id="e")

    async def asked(question: str) -> str:
        return browser.link(await first_prompt(engine, question))

    text = await asked("Text?")
    _, shown, _ = await browser.get(text)
    assert ("h1", {}) in shown.elements
    assert "Why" in shown.text
    assert "<b>" in shown.text
    assert "b" not in {tag for tag, _ in shown.elements}
    assert (await browser.fill(text, "answer"))[0] == 200
    number = await asked("Number?")
    status, page = await browser.fill(number, "answer", value="many <b>", by="ana")
    assert status == 422
    assert "Write a whole number, such as 3." in page.text
    assert ("value", "many <b>") in page.fields
    assert ("by", "ana") in page.fields
    assert (await browser.fill(number, "answer", value="7"))[0] == 200
    typed: dict[str, Any] = {"field.count": "3", "field.gift": "true", "field.line": '{"sku": "b"}'}
    order = await asked("Order?")
    assert (await browser.fill(order, "answer", **{**typed, "field.count": "x"}))[0] == 422
    assert (await browser.fill(order, "answer", **typed))[0] == 200
    assert (await browser.fill(one := await asked("One?"), "answer"))[0] == 422
    assert (await browser.fill(one, "answer", choose=["1", "2"]))[0] == 422
    assert (await browser.fill(one, "answer", choose="9"))[0] == 422
    assert (await browser.fill(one, "answer", choose="-1"))[0] == 400
    assert (await browser.fill(one, "answer", choose="2"))[0] == 200
    assert (await browser.fill(await asked("Many?"), "answer", choose=["1", "3"]))[0] == 200
    assert (await browser.fill(await asked("Ship?"), "approve", why="paid"))[0] == 200
    review = await asked("Is this right?")
    _, page, _ = await browser.get(review)
    document = json.loads(dict(page.fields)["document"])
    assert (await browser.fill(review, "edit", document="{"))[0] == 422
    assert (await browser.fill(review, "respond"))[0] == 422
    assert (await browser.fill(review, "edit", document=json.dumps({**document, "count": 5})))[0] == 200

    async def next_review() -> Any:
        return [p for p in await engine.prompts() if p.prompt.initial == "plain"]

    plain = browser.link((await until(engine, next_review))[0])
    assert (await browser.fill(plain, "accept"))[0] == 200
    team = await asked("Team?")
    assert (await browser.fill(team, "decline"))[0] == 400  # who of them?
    assert (await browser.fill(team, "decline", by="tom", why="no <b>"))[0] == 200
    order_ = {"sku": "a<b", "count": 3, "gift": True, "line": {"sku": "b"}}
    expected = [" two\nlines", 7, order_, 2, ["x", True], "paid", "edited", 5, "accepted"]
    assert await execution.result(timeout=30) == [*expected, "'Team?' was declined by tom: no <b>"]
    history = await engine.answers("exec:e:input:6")
    assert [(given.by, given.via) for given in history] == [("ana", "page")]


@durable.function
async def asks(ctx: durable.Context, question: str, timeout: float | None = None) -> Any:
    return await ctx.ask(question, timeout=timeout, default="late", to=["ana"])


async def test_links_that_are_none_and_forms_that_come_again(engine: durable.Engine, browser: Browser) -> None:
    execution = await engine.start(asks, "Mine?", id="mine")
    await engine.start(asks, "Other?", id="other")
    mine, other = await first_prompt(engine, "Mine?"), await first_prompt(engine, "Other?")
    link = browser.link(mine)
    signed = link.partition("link=")[2]
    body, mac = signed.split(".")
    forged = [
        browser.at(mine.id), f"{browser.at(mine.id)}?link=", f"{browser.at(mine.id)}?link={body}",
        f"{browser.at(mine.id)}?link={body}.{mac[:-2]}AA", f"{browser.at(mine.id)}?link={TOKEN}",
        f"{browser.at(mine.id)}?link=é.é", f"{browser.at(other.id)}?link={signed}",
        f"{browser.at('exec:none:input:1')}?link={signed}",
    ]  # fmt: skip
    for url in forged:
        assert (await browser.get(url, authorization=f"Bearer {TOKEN}"))[0] == 401, url
        assert (await browser.send(url, {"value": "x", "do": "answer"}))[0] == 401, url
    for _ in range(3):
        assert (await browser.get(link))[0] == 200  # looking answers nothing
    fields = {"value": "x", "do": "answer"}
    for site in ("cross-site", "same-site", "none"):
        assert (await browser.send(link, fields, **{"sec-fetch-site": site}))[0] == 403
    assert (await browser.send(link, {**fields, "by": "eve"}))[0] == 403
    assert (await browser.send(link, {"value": "x"}))[0] == 400
    assert (await browser.send(link, {**fields, "do": "approve"}))[0] == 400
    assert (await browser.send(link, b"value=%ff&do=answer"))[0] == 400
    assert (await browser.send(link, [("a", "b")] * 2_000))[0] == 400
    assert [prompt.id for prompt in await engine.prompts()] == [mine.id, other.id]
    assert (await browser.send(link, fields))[0] == 200
    status, page = await browser.send(link, {**fields, "value": "again"})
    assert (status, "by ana" in page.text) == (409, True)
    assert (await browser.get(link))[0] == 409
    assert await execution.result(timeout=30) == "x"
    await engine.cancel("other")
    assert (await browser.send(browser.link(other), fields))[0] == 409
    await engine.start(asks, "Soon?", 0.3, id="soon")
    soon = await first_prompt(engine, "Soon?")
    assert await (await engine.get("soon")).result(timeout=30) == "late"
    assert (await browser.get(browser.link(soon)))[0] == 410
    assert (await browser.send(browser.link(soon), fields))[0] == 410


async def test_pages_run_nothing_load_nothing_and_are_shown_nowhere_else(
    engine: durable.Engine, browser: Browser
) -> None:
    await engine.start(asks, EVIL, id="evil")
    link = browser.link(await first_prompt(engine))
    for url in (link, f"{link}x"):
        _, page, headers = await browser.get(url)
        (style,) = re.findall(r"'sha256-(.*?)'", headers["content-security-policy"])
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "form-action 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "text/html; charset=utf-8"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            (css,) = re.findall("<style>(.*?)</style>", await answer.text())
        assert base64.b64encode(hashlib.sha256(css.encode()).digest()).decode() == style
        assert {tag for tag, _ in page.elements} <= TAGS


TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "p", "pre", "form", "label", "input", "textarea", "button",
    "fieldset", "legend", "select", "option", "main", "small", "div", "span", "h2", "strong", "em", "code", "br",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "method", "type", "value", "rows", "required", "selected", "class",
    "autocomplete", "role", "step", "disabled", "hidden", "formnovalidate", "checked", "id", "aria-invalid",
    "aria-describedby",
}  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {"schema": {"properties": {EVIL: {"title": EVIL, "description": EVIL, "default": EVIL}}}},
        {"schema": {"properties": {"a": {"enum": [EVIL, "b"], "title": EVIL}}}},
        {"choices": [EVIL, {EVIL: EVIL}]},
        {"choices": [EVIL], "many": True},
        {"initial": EVIL},
        {"form": "review", "initial": {EVIL: [EVIL]}},
        {"form": "approve"},
    ],
)
def test_nothing_that_was_asked_becomes_markup(asked: dict[str, Any]) -> None:
    prompt = prompt_for(EVIL, title=EVIL, context=EVIL, reason=EVIL, **asked)
    typed = [("value", EVIL), ("by", EVIL), ("why", EVIL), (f"field.{EVIL}", EVIL), ("document", EVIL)]
    for given in ((), typed):
        page = Page(form_page(prompt, f"team:{EVIL}", [AnswerProblem("", EVIL), AnswerProblem("by", EVIL)], given))
        assert {tag for tag, _ in page.elements} <= TAGS
        assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
        assert page.text.count("<script>alert(1)</script>") >= 4


class Delivery(BaseModel):
    count: int
    price: float = 1.5
    fast: bool
    size: Literal["s", "m"] = "m"
    due: date | None = None
    note: str | None = None
    lines: list[str] = ["a", "b"]
    numbers: list[int] = []
    line: Line
    parts: list[Line] = []


def of_type(schema: Any) -> Prompt:
    return prompt_for("What?", schema=schema, adapter=TypeAdapter(schema))


def test_each_field_has_the_control_of_its_type_and_is_read_as_that() -> None:
    prompt = of_type(Delivery)
    page = Page(form_page(prompt, "ana"))
    controls = {
        attributes["name"]: (tag, attributes.get("type"), "required" in attributes)
        for tag, attributes in page.elements
        if tag in ("input", "select", "textarea")
    }
    assert controls == {
        "field.count": ("input", "number", True), "field.price": ("input", "number", False),
        "field.fast": ("select", None, True), "field.size": ("select", None, False),
        "field.due": ("input", "date", False), "field.note": ("textarea", None, False),
        "field.lines": ("textarea", None, False), "field.numbers": ("textarea", None, False),
        "field.line": ("textarea", None, True), "field.parts": ("textarea", None, False),
        "why": ("input", "text", False),
    }  # fmt: skip
    assert 'As JSON: {"sku": …}' in page.text
    assert ("field.lines", "a\nb") in page.fields
    typed = {
        "count": "3", "price": "2", "fast": "true", "size": "s", "due": "2026-11-20", "note": "12", "lines": "1\r\n x ",
        "numbers": "4\n5", "line": '{"sku": "x"}', "parts": '[{"sku": "y"}]',
    }  # fmt: skip
    answer = read_form("p", prompt, [("do", "answer"), *((f"field.{name}", text) for name, text in typed.items())])
    assert Delivery.model_validate(validated(prompt, "p", answer["value"])) == Delivery(
        count=3, price=2.0, fast=True, size="s", due=date(2026, 11, 20), note="12", lines=["1", "x"], numbers=[4, 5],
        line=Line(sku="x"), parts=[Line(sku="y")],
    )  # fmt: skip
    given = [("do", "answer"), ("field.note", "null"), ("field.lines", '["c"]')]
    assert read_form("p", prompt, given)["value"] == {"note": None, "lines": ["c"]}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [(int, "7", 7), (bool, "yes", True), (bool, "no", False), (date, "2026-11-20", "2026-11-20"),
     (Literal["a", 2], "2", 2), (str | None, "12", "12"), (str | None, "null", None), (list[str], "a\nb", ["a", "b"])],
)  # fmt: skip
def test_one_value_is_a_field_too(schema: Any, text: str, value: Any) -> None:
    prompt = of_type(schema)
    said = read_form("p", prompt, [("do", "answer"), ("value", text)])["value"]
    assert (said, validated(prompt, "p", said)) == (value, value)


def test_enter_in_a_line_approves_nothing_and_declining_needs_no_field() -> None:
    approval = Page(form_page(prompt_for("Ship?", form="approve"), None))
    buttons = [attributes for tag, attributes in approval.elements if tag == "button"]
    assert buttons[0].keys() == {"disabled", "hidden"}
    assert [attributes["value"] for attributes in buttons[1:]] == ["approve", "deny"]
    page = Page(form_page(of_type(int), None))
    (decline,) = [attributes for _, attributes in page.elements if attributes.get("value") == "decline"]
    assert "formnovalidate" in decline


def test_what_was_chosen_is_still_chosen_when_it_is_shown_again() -> None:
    page = Page(form_page(prompt_for("Which?", choices=["x", "y"], many=True), None, [PROBLEM], [("choose", "2")]))
    boxes = [attributes for _, attributes in page.elements if attributes.get("name") == "choose"]
    assert ["checked" in attributes for attributes in boxes] == [False, True]


def test_a_secret_is_not_shown_while_it_is_typed_nor_after() -> None:
    prompt = prompt_for("Key?", secret=True)
    page = Page(form_page(prompt, "ana", [PROBLEM], [("value", "hunter2")]))
    password = {"type": "password", "name": "value", "autocomplete": "off"}
    assert ("input", {**password, "aria-invalid": "true", "aria-describedby": "value.problem"}) in page.elements
    assert ("input", password) in Page(form_page(prompt, "ana")).elements
    assert "hunter2" not in form_page(prompt, "ana", [PROBLEM], [("value", "hunter2")])


async def test_who_comes_late_does_not_learn_a_secret(engine: durable.Engine, browser: Browser) -> None:
    session = await engine.session("desk")
    execution = await session.submit("import getpass; len(getpass.getpass('Key?'))")
    prompt = await first_prompt(engine)
    assert (await browser.send(browser.link(prompt), {"value": "hunter2", "do": "answer", "by": "ana"}))[0] == 200
    assert (await session.result(execution.id)).value == 7
    status, page = await browser.send(browser.link(prompt), {"value": "x", "do": "answer"})
    assert (status, "by ana" in page.text, "hunter2" in page.text) == (409, True, False)
