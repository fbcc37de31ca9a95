"""`python -m tests.browser.pictures [DIRECTORY]`: the pictures of the dashboard that the documentation shows, made of
real pages of a real store by Chromium. They are committed: small, and made again when the pages change.

    uv run --group browser python -m tests.browser.pictures docs/pictures
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, Field

import durable
from durable.http.dashboard_mount import DashboardMount
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.direct_store import DirectStore
from tests.browser.conftest import CHROMIUM, Watched, watched
from tests.conftest import TOKEN
from tests.waiting import first_prompt, in_state

if TYPE_CHECKING:
    from playwright.async_api import Browser

PICTURE_BYTES_MAX = 100_000
"""Of one: all together stay a small part of the documentation."""

PAGES = {
    "dashboard-inbox.png": "/ui/inbox",
    "dashboard-executions.png": "/ui/executions",
    "dashboard-execution.png": "/ui/executions/report-42",
    "dashboard-session.png": "/ui/sessions/desk",
}


class Decision(BaseModel):
    publish: bool
    copies: int = Field(ge=1, le=20, title="Copies")


async def gather(topic: str) -> list[str]:
    await asyncio.sleep(0.15)
    return [f"{topic} {n}" for n in range(3)]


async def summarise(parts: list[str]) -> str:
    await asyncio.sleep(0.3)
    return f"{len(parts)} parts"


async def unreachable() -> None:
    raise ConnectionError("the printer does not answer")


@durable.function(name="report")
async def report(ctx: durable.Context, topic: str) -> str:
    parts = await ctx.run(gather, topic)
    text = await ctx.run(summarise, parts)
    decision = await ctx.ask(
        f"Publish the report about **{topic}**?",
        schema=Decision,
        title="Weekly report",
        context=f"- {text}\n- reviewed by the *tools* team",
        to=["team:editors"],
        timeout=86_400,
        default=Decision(publish=False, copies=1),
    )
    return f"{decision.copies} copies"


@durable.function(name="print-copies")
async def print_copies(ctx: durable.Context) -> None:
    await ctx.run(unreachable)


async def fill(engine: durable.Engine) -> None:
    """Executions in several states, a question, and a session with cells and a checkpoint."""
    waiting = await engine.start(report, "lathes", id="report-42", tags={"customer": "c7"})
    failed = await engine.start(print_copies, id="print-7")
    done = await engine.start(report, "drills", id="report-41", tags={"customer": "c3"})
    await in_state(engine, done, "waiting")
    about_drills = await first_prompt(engine, "Publish the report about **drills**?")
    await engine.answer(about_drills.id, {"publish": True, "copies": 3}, by="ana", teams=["editors"])
    session = await engine.session("desk")
    await session.execute("prices = {'lathe': 2_400, 'drill': 80}\nsum(prices.values())")
    await session.checkpoint("prices")
    await session.execute("for tool, price in prices.items():\n    print(f'{tool:>6} {price:>6,}')")
    await session.execute("prices['saw']")
    await in_state(engine, failed, "failed")
    await done.result(30)
    await in_state(engine, waiting, "waiting")


_SHORTEN = """(machine) => {
  const texts = document.createTreeWalker(document.getElementById("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(machine + "/tests/browser/", "");
}"""
"""Takes the directory of this machine out of what a page says."""


async def draw(browser: Browser, url: str, directory: Path) -> list[Path]:
    """Write a picture of each page. directory: made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    window: Watched = await watched(browser, url, viewport={"width": 1000, "height": 640}, color_scheme="light")
    await window.log_in()
    found = []
    for name, page in PAGES.items():
        await window.go(page)
        await window.page.wait_for_load_state("load")
        await window.page.evaluate(_SHORTEN, str(Path(__file__).parents[2]))
        await window.page.screenshot(path=directory / name, animations="disabled", caret="hide")
        found.append(directory / name)
    await window.check()
    return found


async def make(directory: Path) -> list[Path]:
    """Fill a store, serve it, and draw its pages."""
    from playwright.async_api import async_playwright

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work.db"
        async with durable.open(path, observer=lambda _: None) as engine, async_playwright() as playwright:
            await fill(engine)
            site = Site(cast(DirectStore, engine.store), TOKEN)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            with listen("127.0.0.1", 0) as sock:
                async with serving(site, sock, DashboardMount(site, str(path))) as url:
                    found = await draw(browser, url, directory)
            await browser.close()
            return found


def main() -> None:
    """Draw into the directory that is named, and say how large each picture is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", default="docs/pictures", type=Path)
    for path in asyncio.run(make(parser.parse_args().directory)):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
