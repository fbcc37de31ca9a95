"""A whole story in the browser: a run is watched, killed and resumed, its question answered, a session taken back."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import durable
from tests.browser import jobs
from tests.browser.conftest import Watched, start_engine, watched

if TYPE_CHECKING:
    from playwright.async_api import Browser


class Engines:
    """Engine processes on one store, of which one runs."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = start_engine(self._store)

    def kill(self) -> None:
        """SIGKILL: nothing is given back."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


@pytest.fixture
def engines(store: Path) -> Iterator[Engines]:
    found = Engines(store)
    found.start()
    yield found
    found.kill()


@pytest.fixture
async def client(engines: Engines, store: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(store, serve=False, observer=lambda _: None) as engine:
        yield engine


@pytest.fixture
def address(client: durable.Engine, store: Path) -> Iterator[str]:
    """The address that `durable ui` prints."""
    command = [sys.executable, "-m", "durable.cli", "--store", str(store), "ui", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.fixture
async def ui(address: str, chromium: Browser) -> AsyncIterator[Watched]:
    """A window that the address has let in."""
    found = await watched(chromium, address.partition("/ui/")[0], viewport={"width": 1280, "height": 900})
    await found.page.goto(address)
    await found.page.wait_for_url("**/ui/inbox")
    other = await watched(chromium, found.url)
    await other.page.goto(address)
    assert "Log in" in await other.page.inner_text("main"), "it lets nobody else in"
    yield found
    await found.check()


async def test_a_run_is_watched_killed_and_goes_on(ui: Watched, client: durable.Engine, engines: Engines) -> None:
    from playwright.async_api import expect

    await client.start(jobs.long, 40, id="long")
    await ui.go("/ui/executions/long")
    rows = ui.page.locator("table.steps tbody tr")
    await expect(rows.nth(5)).to_be_visible(timeout=20_000)
    engines.kill()
    seen = await rows.count()
    assert seen < 40, "it was killed while it ran"
    await ui.go("/ui/workers")
    await expect(ui.page.locator("#workers")).not_to_contain_text("alive", timeout=20_000)
    engines.start()
    await ui.go("/ui/executions/long")
    await expect(rows.nth(seen + 5)).to_be_visible(timeout=30_000)
    await expect(ui.page.locator("dl.facts .state").first).to_contain_text("completed", timeout=30_000)
    assert await rows.count() == 40
    states = await ui.page.locator("table.steps .state").all_inner_texts()
    assert all("completed" in state for state in states)


async def test_a_question_is_answered_with_a_wrong_and_a_right_value(ui: Watched, client: durable.Engine) -> None:
    from playwright.async_api import expect

    execution = await client.start(jobs.review, "lathes", id="story")
    page = ui.page
    card = page.locator("article.card")
    await expect(card).to_have_count(1, timeout=20_000)  # it comes by itself
    await expect(card.locator("strong")).to_have_text("lathes")
    await card.get_by_label("publish").select_option("Yes")
    await card.get_by_label("Copies").fill("99")
    await client.start(jobs.fails, id="other")  # the store changes while somebody writes
    await page.wait_for_timeout(800)
    assert await card.get_by_label("Copies").input_value() == "99"
    await card.get_by_role("button", name="Answer").click()
    await expect(card.locator(".field-error")).to_have_text("It is at most 20.")
    await client.start(jobs.fails, id="third")
    await page.wait_for_timeout(800)
    assert await card.get_by_label("Copies").input_value() == "99", "and it stays what it was"
    assert await page.evaluate("document.activeElement.name") == "field.copies"
    await card.get_by_label("Copies").fill("3")
    await card.get_by_label("Your name").fill("ana")
    await card.get_by_role("button", name="Answer").click()
    await expect(page.locator("#cards")).to_contain_text("Your answer is recorded")
    await page.wait_for_timeout(800)
    await expect(page.locator("#cards")).to_contain_text("Your answer is recorded")
    assert (await execution.result(60)).startswith("3 copies")
    await ui.go("/ui/executions/story")
    await expect(page.locator("dl.facts .state").first).to_contain_text("completed")
    assert await page.locator("table.steps .tick").count() == 2, "the step that was tried three times"
    kinds = await page.locator("svg.overview rect").evaluate_all("all => all.map((each) => each.className.baseVal)")
    assert "bar-people" in kinds


async def test_code_is_run_and_a_session_is_taken_back(ui: Watched, engines: Engines) -> None:
    from playwright.async_api import expect

    engines.kill()  # nobody but `durable ui` is there
    page = ui.page
    await ui.go("/ui/sessions")
    await page.get_by_label("New session").fill("desk")
    await page.get_by_role("button", name="Make it").click()
    await page.wait_for_url("**/ui/sessions/desk")

    async def run(code: str, n: int, shown: str) -> None:
        await page.get_by_label("Run code").fill(code)
        await page.get_by_label("Run code").press("Control+Enter")
        cell = page.locator(f"[id='cell-desk@{n}']")
        await expect(cell).to_contain_text("completed", timeout=60_000)
        await expect(cell).to_contain_text(shown)

    await run("import durable\nx = 'the older value'\ndurable.checkpoint('before')\nprint('first')", 1, "first")
    await expect(page.locator("#checkpoints li").first).to_be_visible(timeout=20_000)
    await run("x = 'the newer value'\nprint('second')", 2, "second")
    older = page.locator("#checkpoints li", has_text="before").last
    await expect(older).to_be_visible(timeout=20_000)
    number = re.findall(r"\d+", await older.locator("strong").inner_text())[0]
    await page.locator("#checkpoints a", has_text="Changes since").first.click()
    await expect(page.locator("#checkpoints .diff").first).not_to_be_empty(timeout=60_000)
    await page.get_by_role("button", name="Look at them").click()
    await expect(page.locator("#variables")).to_contain_text("the newer value", timeout=60_000)
    assert await page.locator("#checkpoints .diff").first.inner_text() != "", "it stays when the rail is renewed"
    newest = await page.locator("#checkpoints li strong").first.inner_text()
    await ui.go(f"/ui/sessions/desk/diff?before={number}&after={newest}")
    await expect(page.locator("main")).to_contain_text("the newer value")
    await ui.go("/ui/sessions/desk")
    await older.get_by_text("Restore…").click()
    await older.get_by_role("button", name=f"Restore checkpoint {number}").click()
    await expect(page.locator("main .said").first).to_contain_text("restored from checkpoint", timeout=60_000)
    await run("x", 3, "the older value")
