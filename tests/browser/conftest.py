"""The dashboard under a real browser. Playwright is heavy: `uv run pytest` installs it not, and collects none of this.

    uv run --group browser pytest -n 0 -W default tests/browser

It uses the system's Chromium: `apt-get install chromium`, or DURABLE_TEST_CHROMIUM names another.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durable
from tests.browser import jobs
from tests.conftest import TOKEN, end_server, start_server
from tests.waiting import first_prompt, in_state

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

collect_ignore_glob = [] if find_spec("playwright") is not None else ["test_*.py"]

CHROMIUM = os.environ.get("DURABLE_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


async def fill(store: Path) -> None:
    """A store with something on every page, hostile wherever it can be."""
    async with durable.open(store, durability="process", observer=lambda _: None) as engine:
        await engine.start(jobs.review, f"lathes {jobs.EVIL}", id="waiting", tags={"topic": jobs.EVIL[:50]})
        failed = await engine.start(jobs.fails, id="failed")
        done = await engine.start(jobs.count, 12, id="done")
        session = await engine.session("show")
        await session.execute(_SHOWN)
        await session.execute(f"display(Shown())\nname = {jobs.EVIL!r}\nprint(name)\nname")
        await session.execute(f"raise ValueError({jobs.EVIL!r})")
        await session.execute("import socket\nopen_one = socket.socket()\nprint('\\n'.join(map(str, range(500))))")
        await session.submit("import getpass\nlen(getpass.getpass('Word: '))")
        await engine.answer((await first_prompt(engine, "Word:")).id, "open sesame", by=jobs.EVIL[:40])
        await session.submit(f"answer = ask({jobs.EVIL[:200]!r}, choices=['a', {jobs.EVIL!r}])\nprint(answer)")
        await engine.actor(jobs.Basket, jobs.EVIL[:20]).add(jobs.EVIL)
        await engine.store.request("schedule.create", _SCHEDULE)
        await engine.store.request("engine.join", _RELEASE)
        await in_state(engine, failed, "failed")
        await done.result(30)
        await first_prompt(engine, f"Publish **lathes {jobs.EVIL}**? {jobs.EVIL}")


_HTML = f"<b>shown</b>{jobs.EVIL}<script>parent.window.hacked=5;top.window.hacked=6</script>"
_SHOWN = f"""
class Shown:
    def _repr_html_(self): return {_HTML!r}
    def __repr__(self): return {jobs.EVIL!r}
"""
_RELEASE = {
    "engine": "far",
    "group": jobs.EVIL[:40],
    "pid": 1,
    "deployment": "release/2026-12-01",
    "functions": [f"{jobs.EVIL}::tidy@1"],
    "retention": {f"{jobs.EVIL}::tidy@1": {"completed": 1_000, "failed": None}},
}
_SCHEDULE = {
    "id": "nightly",
    "cron": "0 3 * * *",
    "promiseId": "exec:nightly-{{.timestamp}}",
    "promiseTimeout": 2**53 - 1,
    "promiseParam": {},
    "promiseTags": {"durable:function": f"{jobs.EVIL}::tidy@1", "resonate:target": "poll://any@default"},
}


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `fill`, made once; tests only look at it."""
    store = tmp_path_factory.mktemp("filled") / "work.db"
    asyncio.run(fill(store))
    return store


@pytest.fixture(scope="session")
def served(filled: Path) -> Iterator[str]:
    """The URL of `durable serve` on that store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DURABLE_TOKEN", TOKEN)
        server, url = start_server(filled)
    yield url
    assert end_server(server) == 0


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A browser."""
    from playwright.async_api import async_playwright

    if CHROMIUM is None:
        assert os.environ.get("CI") != "true", "Chromium is not installed: .ci/run installs it"
        pytest.skip("Chromium is not installed; install Debian's chromium, or set DURABLE_TEST_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Watched:
    """A page of the browser, and everything in it that must not be: errors of scripts, requests to other hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", self._said)
        page.on("request", self._asked)
        page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

    def _said(self, message: Any) -> None:
        # Chromium says what it did not do for a display: that is what its frame is for.
        refused = "/displays/" in message.text and ("sandboxed" in message.text or "violates" in message.text)
        if message.type == "error" and not refused and "status of 4" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "about:", "chrome-error:")):
            self.wrong.append(f"request: {request.url}")

    async def go(self, path: str) -> None:
        """Open a page of the dashboard."""
        answer = await self.page.goto(f"{self.url}{path}")
        assert answer is not None
        assert answer.status == 200, path

    async def log_in(self, token: str = TOKEN) -> None:
        """Log in by typing the token."""
        await self.page.goto(f"{self.url}/")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.wait_for_url("**/ui/inbox")

    async def check(self) -> None:
        """Nothing went wrong until here."""
        assert await self.page.evaluate("window.hacked") is None
        assert self.wrong == []


async def watched(browser: Browser, url: str, **options: Any) -> Watched:
    """A new window on a server."""
    context = await browser.new_context(**options)
    return Watched(await context.new_page(), url)


@pytest.fixture
async def window(chromium: Browser, served: str) -> AsyncIterator[Watched]:
    """A window on the filled store, logged in."""
    found = await watched(chromium, served, viewport={"width": 1280, "height": 900})
    await found.log_in()
    yield found
    await found.check()


def start_engine(store: Path) -> subprocess.Popen[str]:
    """An engine in a process of its own, which serves."""
    command = [sys.executable, "-m", "tests.browser.engine", str(store)]
    engine = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert engine.stdout is not None
    assert engine.stdout.readline() == "serving\n"
    return engine
