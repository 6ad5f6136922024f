"""A headless Chromium, driven by its DevTools protocol: real strokes, and what the page then shows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server")


def find_browser() -> str | None:
    """The program of a Chromium on this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab of the browser."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.numbers = socket, itertools.count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            answer = await self.socket.receive_json(timeout=20)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    async def value(self, script: str) -> Any:
        """What a script evaluates to."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return result["result"].get("value")

    async def until(self, script: str, seconds: float = 15.0) -> None:
        """Wait for a script to be true."""
        end = time.monotonic() + seconds
        while not await self.value(script):
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            await asyncio.sleep(0.05)

    async def draw(self, stroke: Sequence[tuple[float, float]], selector: str, *, finger: bool = False) -> None:
        """Press on the first point, in shares of the element's width and height, move along, let go at the last."""
        box = await self.value(f"(b => [b.x, b.y, b.width, b.height])"
                               f"(document.querySelector('{selector}').getBoundingClientRect())")
        points = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in stroke]
        press, move, lift = ("touchStart", "touchMove", "touchEnd") if finger else (
            "mousePressed", "mouseMoved", "mouseReleased")
        for kind, (x, y) in zip([press, *[move] * (len(points) - 1), lift], [*points, points[-1]], strict=True):
            if finger:
                touching = [] if kind == lift else [{"x": x, "y": y}]
                await self.call("Input.dispatchTouchEvent", type=kind, touchPoints=touching)
            else:
                await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def look(self, width: int, height: int, scheme: str) -> None:
        """Give the page a size, as a phone's if it is narrow, and a colour scheme, light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@contextlib.asynccontextmanager
async def open_page(program: str, address: str) -> AsyncIterator[Page]:
    """Open an address in a browser of its own, which ends with the block."""
    import aiohttp

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            program, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            assert browser.stderr is not None
            port = None
            while port is None:
                line = (await asyncio.wait_for(browser.stderr.readline(), 30)).decode()
                assert line, "the browser ended"
                port = re.search(r"listening on ws://127.0.0.1:(\d+)/", line)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port[1]}/json/list") as answer:
                    tab = next(tab for tab in await answer.json() if tab["type"] == "page")
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=2**26) as socket:
                    page = Page(socket)
                    await page.call("Page.navigate", url=address)
                    await page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
                    yield page
        finally:
            browser.kill()
            await browser.wait()
