"""`python -m tests.browser.smoothness [--seconds N]`: whether pages stay smooth in Chromium while the store changes.

A page of a running execution and the list of executions are scrolled up and down all the time, while some ten steps a
second are recorded. A PerformanceObserver counts the long tasks: those that keep the page's thread for over 50 ms, so
that a frame is missed. Exits 1 where one takes over LONG_MS_MAX, all together take over BUSY_FACTOR_MAX, or a page is
hardly renewed. The times are by the wall: on a machine that is busy otherwise they say little.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import durable
from durable.http.dashboard_mount import DashboardMount
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.direct_store import DirectStore
from tests.browser import jobs
from tests.browser.conftest import CHROMIUM, watched
from tests.conftest import TOKEN

LONG_MS_MAX = 200
"""Of one task: a person feels a page that does not follow for longer."""

BUSY_FACTOR_MAX = 0.05
"""Of the time, in long tasks."""

RENEWALS_PER_S_MIN = 0.2
"""Of a page that is measured: one that is hardly renewed is smooth whatever it does."""

OTHERS = 300
PAGES = ("/ui/executions/long", "/ui/executions")

_WATCH = """() => {
  window.longTasks = []; window.looks = 0;
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask", buffered: false });
  const changes = new MutationObserver(() => { window.looks += 1; });
  changes.observe(document.getElementById("main"), { subtree: true, childList: true });
  let down = true;
  const scroll = () => {
    window.scrollBy(0, down ? 40 : -40);
    if (window.scrollY <= 0) down = true;
    if (window.scrollY + window.innerHeight >= document.documentElement.scrollHeight - 1) down = false;
    requestAnimationFrame(scroll);
  };
  requestAnimationFrame(scroll);
}"""


async def measure(seconds: float) -> bool:
    """Print a line for each page; whether all are smooth."""
    from playwright.async_api import async_playwright

    good = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work.db"
        async with durable.open(path, observer=lambda _: None) as engine, async_playwright() as playwright:
            for n in range(OTHERS):
                await engine.start(jobs.count, 1, id=f"other-{n}")
            running = await engine.start(jobs.long, 100_000, id="long")
            site = Site(cast(DirectStore, engine.store), TOKEN)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            with listen("127.0.0.1", 0) as sock:
                async with serving(site, sock, DashboardMount(site, str(path))) as url:
                    window = await watched(browser, url, viewport={"width": 1280, "height": 800})
                    await window.log_in()
                    for page in PAGES:
                        await window.go(page)
                        good &= _told(page, seconds, await _watched(window.page, seconds))
                    await window.check()
            await browser.close()
            await running.cancel()
    return good


async def _watched(page: Any, seconds: float) -> tuple[list[float], int]:
    """The long tasks (ms) in so many seconds, and how often the page changed meanwhile."""
    await page.evaluate(_WATCH)
    await page.wait_for_timeout(seconds * 1000)
    return await page.evaluate("window.longTasks"), await page.evaluate("window.looks")


def _told(page: str, seconds: float, found: tuple[list[float], int]) -> bool:
    tasks, looks = found
    calm = max(tasks, default=0) <= LONG_MS_MAX and sum(tasks) <= BUSY_FACTOR_MAX * seconds * 1000
    good = calm and looks >= RENEWALS_PER_S_MIN * seconds
    figures = f"{looks:4} renewals, {len(tasks):3} tasks over 50 ms, the longest {max(tasks, default=0):4.0f} ms"
    print(f"{'ok  ' if good else 'OVER'} {figures}, {sum(tasks):5.0f} ms together, {page}", flush=True)
    return good


def main() -> int:
    """Measure, and say whether it is smooth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each page")
    return 0 if asyncio.run(measure(parser.parse_args().seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
