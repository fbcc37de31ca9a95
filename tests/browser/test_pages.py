"""Every page with real data: nothing runs that code said, nothing is loaded from elsewhere, everybody can use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Watched, watched

if TYPE_CHECKING:
    from playwright.async_api import Browser

PAGES = (
    "/ui/inbox",
    "/ui/inbox/settled",
    "/ui/executions",
    "/ui/executions?state=failed",
    "/ui/executions/waiting",
    "/ui/executions/waiting/events",
    "/ui/executions/waiting/record",
    "/ui/executions/waiting/value/arguments",
    "/ui/executions/waiting/steps/waiting.1",
    "/ui/executions/failed",
    "/ui/executions/show@2",
    "/ui/sessions",
    "/ui/sessions/show",
    "/ui/schedules",
    "/ui/actors",
    "/ui/queues",
    "/ui/workers",
    "/ui/deployments",
    "/ui/deployments/release%2F2026-12-01",
    "/ui/audit",
    "/ui/store",
)


@pytest.mark.parametrize("page", PAGES)
async def test_what_code_said_is_text(window: Watched, page: str) -> None:
    await window.go(page)
    await window.page.wait_for_load_state("networkidle") if page == "/ui/store" else None
    for summary in await window.page.locator("table.steps summary").all():
        await summary.click()
    await window.page.wait_for_timeout(150)
    assert await window.page.locator("img[src=x], main script, main svg[onload]").count() == 0
    for frame in window.page.frames[1:]:
        assert "allow-scripts" not in str(await (await frame.frame_element()).get_attribute("sandbox"))


async def test_html_that_was_displayed_does_nothing_even_alone(window: Watched) -> None:
    await window.go("/ui/sessions/show")
    url = await window.page.locator("iframe").first.get_attribute("src")
    answer = await window.page.goto(f"{window.url}{url}")
    assert answer is not None
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "shown" in await window.page.inner_text("body")


async def test_pages_have_no_serious_finding_of_axe(window: Watched) -> None:
    from axe_playwright_python.async_playwright import Axe

    found: dict[str, list[str]] = {}
    for scheme in ("light", "dark"):
        await window.page.emulate_media(color_scheme=scheme)
        for page in PAGES if scheme == "light" else PAGES[:5]:
            await window.go(page)
            results: Any = await Axe().run(window.page, options={"iframes": False})
            serious = [
                f"{each['id']}: {each['nodes'][0]['html'][:160]} ({each['nodes'][0]['failureSummary'][:200]})"
                for each in results.response["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            if serious:
                found[f"{page} {scheme}"] = serious
    window.wrong = [each for each in window.wrong if "Content Security Policy" not in each]  # of axe itself
    assert found == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_on_a_phone(chromium: Browser, served: str, scheme: Any, tmp_path: Path) -> None:
    phone = await watched(
        chromium, served, viewport={"width": 375, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    await phone.log_in()
    for page in PAGES:
        await phone.go(page)
        width = await phone.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 375, (page, width)
    await phone.go("/ui/inbox")
    background = await phone.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is (scheme == "light")
    button = await phone.page.locator("article form button:visible").first.bounding_box()
    assert button is not None
    assert button["height"] >= 40
    await phone.check()


async def test_everything_is_reached_by_keys(window: Watched) -> None:
    page = window.page
    await window.go("/ui/executions")
    await page.keyboard.press("j")
    first = await page.evaluate("document.activeElement.id")
    await page.keyboard.press("j")
    second = await page.evaluate("document.activeElement.id")
    assert first.startswith("row-")
    assert first != second
    await page.keyboard.press("k")
    assert await page.evaluate("document.activeElement.id") == first
    await page.keyboard.press("x")
    assert await page.locator(f"[id='{first}'] input").is_checked()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/ui/executions/**")
    await page.keyboard.press("g")
    await page.keyboard.press("i")
    await page.wait_for_url("**/ui/inbox")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.matches('article form input, article form select')")
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.matches('article')")
    await page.keyboard.press("?")
    assert await page.locator("dialog[open]").count() == 1
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.name") == "q"


_HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_tabs_that_nobody_sees_hold_no_connection(window: Watched) -> None:
    """Browsers have six to a server: with a stream for each tab the seventh would never load."""
    tabs = [window.page, *[await window.page.context.new_page() for _ in range(7)]]
    for tab in tabs:
        await tab.goto(f"{window.url}/ui/executions", timeout=20_000)
        await tab.evaluate(_HIDE, True)
    first = tabs[0]
    async with first.expect_response("**/ui/executions"):  # it looks anew as soon as it is seen
        await first.evaluate(_HIDE, False)


async def test_pages_work_without_scripts(chromium: Browser, served: str) -> None:
    plain = await watched(chromium, served, java_script_enabled=False)
    await plain.log_in()
    for page in PAGES:
        await plain.go(page)
    await plain.page.goto(f"{served}/ui/executions")
    await plain.page.get_by_label("State").select_option("failed")
    await plain.page.get_by_role("button", name="Show").click()
    assert await plain.page.get_by_role("link", name="failed", exact=True).count() == 1
