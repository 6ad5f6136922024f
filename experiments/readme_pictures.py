"""Make the pictures of the README's first screen: a run's live table, a study's page, and the page to draw digits on.

    python experiments/readme_pictures.py    # two minutes: needs Chromium and the extras `dev` and `serve`

The table is of the default grid, which is started for it and stopped; the page is the curated study's.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import find_browser, open_page  # noqa: E402
from tune_mnist.running.watching.display import view  # noqa: E402
from tune_mnist.study.files import write_atomic  # noqa: E402
from tune_mnist.study.look import Look  # noqa: E402
from tune_mnist.study.progress import RunState  # noqa: E402
from tune_mnist.study.study import Study  # noqa: E402

PICTURES = ROOT / "experiments" / "pictures"
SHARE = 0.08  # of the model-epochs is done in the picture
WIDTH, HEIGHT = 1000, 700  # of a page, in pixels
THREE = [
    (0.3, 0.26), (0.48, 0.18), (0.64, 0.28), (0.6, 0.42), (0.46, 0.48), (0.62, 0.54), (0.68, 0.68), (0.5, 0.8),
    (0.3, 0.74),
]
"""A drawn 3, in shares of the paper's sides."""


@contextlib.contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A command of the package, interrupted when the block ends."""
    program = [sys.executable, "-m", f"tune_mnist.{words[0]}", *words[1:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def state_of_a_run(storage: str) -> RunState:
    """Where a default grid stands once a share of it is done."""
    with command("grid", "--storage", storage):
        while not (Path(storage) / "grid" / "study.json").exists():
            time.sleep(0.5)
        look = Look(Study(Path(storage) / "grid"))
        while (state := look().progress).done_epochs < SHARE * state.total_epochs or len(state.running) < 4:
            time.sleep(0.5)
    return state


def as_svg(state: RunState) -> str:
    """A run's live table, as a terminal of 80 columns shows it."""
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(view(state))
    return console.export_svg(title="python -m tune_mnist.grid")


async def page_of(address: str) -> bytes:
    """The top of a page, as PNG."""
    async with open_page(find_browser() or "chromium", address) as page:
        await page.look(WIDTH, HEIGHT, "light")
        return await page.screenshot()


async def drawn(address: str) -> bytes:
    """The page to draw on when a three was drawn and read, as PNG."""
    async with open_page(find_browser() or "chromium", address) as page:
        await page.look(WIDTH, HEIGHT, "light")
        await page.draw(THREE, "#paper")
        await page.until("document.getElementById('digit').textContent === '3' && !busy")
        return await page.screenshot()


def drawing_page() -> bytes:
    """The drawing page of a server, as PNG."""
    with command("serve", "--port", "0") as process:
        assert process.stdout is not None
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        return asyncio.run(drawn(address))


def main() -> int:
    PICTURES.mkdir(exist_ok=True)
    write_atomic(PICTURES / "page.png", asyncio.run(page_of((ROOT / "ray_results/holdout/report.html").as_uri())))
    write_atomic(PICTURES / "drawing.png", drawing_page())
    with tempfile.TemporaryDirectory() as storage:
        write_atomic(PICTURES / "live.svg", as_svg(state_of_a_run(storage)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
