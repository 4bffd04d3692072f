"""A browser that looks at pages served by the real server, and notes whatever it should not have seen."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar
from playwright.async_api import async_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visit:
    """One visitor with a window of their own."""

    page: Any
    origin: str
    complaints: list[str] = field(default_factory=list)
    """What the browser said on its console, and what it asked of anyone but the origin."""

    async def goes_to(self, path: str) -> None:
        await self.page.goto(self.origin + path)

    async def is_wider_than_the_window(self) -> bool:
        """Whether a reader would have to scroll sideways."""
        wider: bool = await self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return wider

    async def found_by_axe(self) -> str:
        """What a reader with other eyes or hands would stumble over; nothing if there is nothing."""
        results = await Axe().run(self.page)
        return str(results.generate_report()) if results.violations_count else ""

    async def focused(self) -> str:
        """The id of what the keyboard speaks to, or its text where it has none."""
        told: str = await self.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        return told

    async def tabs_to(self, wanted: str, *, presses: int = 60) -> None:
        """Press the tabulator until the keyboard speaks to this."""
        for _ in range(presses):
            await self.page.keyboard.press("Tab")
            if await self.focused() == wanted:
                return
        raise AssertionError(f"the keyboard does not reach {wanted!r}")


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[str]:
    """The origin at which a running application is served over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(app, port=port, interface=Interfaces.ASGINL, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    try:
        await _until_open(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # granian types it no further
        await serving


async def _until_open(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return


@asynccontextmanager
async def a_browser() -> AsyncIterator[Any]:
    """Debian's Chromium, with an empty profile."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(browser: Any, origin: str, **window: Any) -> AsyncIterator[Visit]:
    """A visitor, who leaves when the block ends."""
    context = await browser.new_context(**window)
    visit = Visit(await context.new_page(), origin)

    def look_at(request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(origin).netloc:
            visit.complaints.append(f"asked for {request.url}")

    visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", look_at)
    yield visit
    await context.close()
