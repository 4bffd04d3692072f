"""The pages in Chromium: legible at both widths in both themes, usable by keyboard alone, and sufficient in themselves.

`scripts/test --browser` runs them, with the packages of scripts/lock/browser.txt. What the pages look like is left in
`.tollgate/screenshots/`.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.console.showcase import LISTINGS, ShownCatalogue
from tests.control_plane import shared_control_plane

browsing: Any = pytest.importorskip("tests.console.browsing", exc_type=ImportError)

pytestmark = pytest.mark.browser

WIDTHS = (390, 1280)
THEMES = ("light", "dark")
NARROWEST = 360
SEED = "/models/openai/gpt-4.1-mini"
PAGES = {"catalogue": "/models", "model": SEED}
OTHERS = (
    "/models/quiet/empty",
    "/models/quiet/unpriced",
    "/models/quiet/hostile",
    "/models/northwind/aurora-2",
    "/models?q=nothing+like+it",
)


@pytest.fixture(scope="module")
async def origin(server_url: str, template: str) -> AsyncIterator[str]:
    async with shared_control_plane(server_url, template, "browser") as plane:
        plane.app.state.public_catalogue = ShownCatalogue(LISTINGS)
        async with browsing.served(plane.app) as address:
            yield address


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Any]:
    async with browsing.a_browser() as started:
        yield started


def window(width: int, theme: str = "light") -> dict[str, Any]:
    return {"viewport": {"width": width, "height": 900}, "color_scheme": theme}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
async def test_both_pages_can_be_looked_at(
    browser: Any, origin: str, repository: Path, name: str, width: int, theme: str
) -> None:
    async with browsing.visiting(browser, origin, **window(width, theme)) as visit:
        await visit.goes_to(PAGES[name])
        folder = repository / ".tollgate" / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        await visit.page.screenshot(path=str(folder / f"{name}-{width}-{theme}.png"), full_page=True)

        assert not await visit.is_wider_than_the_window()
        await visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert await visit.found_by_axe() == ""
        await visit.page.set_viewport_size({"width": NARROWEST, "height": 700})
        assert not await visit.is_wider_than_the_window()
    assert visit.complaints == []


@pytest.mark.parametrize("theme", THEMES)
async def test_so_can_those_with_little_or_strange_things_on_them(browser: Any, origin: str, theme: str) -> None:
    async with browsing.visiting(browser, origin, **window(NARROWEST, theme)) as visit:
        for path in OTHERS:
            await visit.goes_to(path)
            assert await visit.found_by_axe() == "", path
            assert not await visit.is_wider_than_the_window(), path
        assert visit.complaints == []
        await visit.goes_to("/models/no/model")
        assert await visit.found_by_axe() == ""
        assert len(visit.complaints) == 1  # the browser's own word that this was answered with 404


async def test_the_catalogue_is_searched_by_keyboard_alone(browser: Any, origin: str) -> None:
    async with browsing.visiting(browser, origin, **window(1280)) as visit:
        await visit.goes_to("/models")
        await visit.tabs_to("q")
        await visit.page.keyboard.type("a")
        await visit.tabs_to("provider")
        await visit.page.keyboard.type("Az")
        await visit.tabs_to("sort")
        await visit.page.keyboard.type("Cheap")
        await visit.tabs_to("Search")
        async with visit.page.expect_navigation():
            await visit.page.keyboard.press("Enter")

        assert visit.page.url.endswith("/models?q=a&provider=azure&modality=&parameter=&sort=price")
        await visit.tabs_to("GPT-4.1 Mini")
        async with visit.page.expect_navigation():
            await visit.page.keyboard.press("Enter")
        assert visit.page.url.endswith(SEED)
    assert visit.complaints == []


async def test_the_samples_are_leafed_through_by_keyboard_and_the_language_is_remembered(
    browser: Any, origin: str
) -> None:
    async with browsing.visiting(browser, origin, **window(390)) as visit:
        await visit.goes_to(SEED)
        await visit.tabs_to("tab-openai-python")
        for language in ("python", "typescript", "openai-typescript", "curl"):
            await visit.page.keyboard.press("ArrowRight")
            shown = visit.page.locator("pre:visible")
            assert await shown.count() == 1
            assert await shown.locator("code").get_attribute("id") == f"code-{language}"

        await visit.page.reload()
        assert await visit.page.locator("#code-curl").is_visible()
        assert not await visit.page.locator("#code-python").is_visible()
    assert visit.complaints == []


async def test_the_keyboard_skips_to_the_content_and_changes_the_theme(browser: Any, origin: str) -> None:
    async with browsing.visiting(browser, origin, **window(390, "dark")) as visit:
        await visit.goes_to(SEED)
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = await visit.page.evaluate(ground)
        await visit.page.keyboard.press("Tab")
        assert await visit.focused() == "Skip to content"
        await visit.tabs_to("theme")
        await visit.page.keyboard.press("Enter")
        light = await visit.page.evaluate(ground)

        assert light != dark
        assert await visit.found_by_axe() == ""
        await visit.goes_to("/models")
        assert await visit.page.evaluate(ground) == light
    assert visit.complaints == []


async def test_what_is_copied_is_what_is_shown(browser: Any, origin: str) -> None:
    permitted = ["clipboard-read", "clipboard-write"]
    async with browsing.visiting(browser, origin, **window(1280), permissions=permitted) as visit:
        await visit.goes_to(SEED)
        await visit.page.get_by_role("button", name="Copy the model's name").click()
        await visit.page.get_by_role("button", name="Copied").wait_for()

        assert await visit.page.evaluate("navigator.clipboard.readText()") == "openai/gpt-4.1-mini"


async def test_without_scripts_everything_but_comfort_is_there(browser: Any, origin: str) -> None:
    async with browsing.visiting(browser, origin, **window(390), java_script_enabled=False) as visit:
        await visit.goes_to(SEED)
        await visit.page.get_by_text("cURL", exact=True).click()
        assert await visit.page.locator("#code-curl").is_visible()
        assert await visit.page.get_by_role("button").count() == 0

        await visit.goes_to("/models")
        await visit.page.get_by_label("Search").fill("echo")
        await visit.page.get_by_role("button", name="Search").click()
        assert await visit.page.get_by_role("heading", level=2).all_inner_texts() == ["Sandbox Echo"]
    assert visit.complaints == []


async def test_a_page_that_nobody_could_read_would_be_noticed(browser: Any, origin: str) -> None:
    async with browsing.visiting(browser, origin, **window(1280)) as visit:
        await visit.goes_to("/models")
        await visit.page.evaluate("document.querySelector('h1').style.color = '#dddddd'")
        assert "color-contrast" in await visit.found_by_axe()
        await visit.page.evaluate("document.querySelector('h1').style.width = '3000px'")
        assert await visit.is_wider_than_the_window()
