"""The look that all figures share: style, panels, captions, legends and PNG bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tune_mnist.spec.training import Protocol

WIDTH = 180 / 25.4  # inches: a printed page between its margins
DPI = 200


@contextmanager
def styled() -> Iterator[None]:
    """The same look whatever the user's own settings, so that the bytes are the same too."""
    seaborn = sns.axes_style("whitegrid", {"axes.edgecolor": ".4", "grid.color": ".9"})
    fonts = {"font.family": "DejaVu Sans", "font.size": 8.5, "axes.titlesize": 9.5}
    lines = {"lines.linewidth": 1.3, "lines.markersize": 4.5, "axes.linewidth": 0.8, "hatch.linewidth": 0.6}
    with matplotlib.style.context(["default", seaborn, fonts | lines]):
        yield


def printable(text: str) -> str:
    """Any text, such as a file's name, as a figure can show it: its $ as such, and bytes that are no text as \\x…."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as PNG, of bytes that depend on the figure alone; 256 colours are plenty, in a third of the bytes."""
    return _compressed(_drawn(figure))


def pngs(figures: Iterable[tuple[str, Figure]]) -> dict[str, bytes]:
    """Each figure's `png` by its name; one is compressed while the next is drawn."""
    with ThreadPoolExecutor(1) as beside:
        compressing = {name: beside.submit(_compressed, _drawn(figure)) for name, figure in figures}
    return {name: compressed.result() for name, compressed in compressing.items()}


@styled()
def _drawn(figure: Figure) -> NDArray[np.uint8]:
    """The figure's pixels (height, width, 3)."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # once: savefig would draw twice where there is a layout to find
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _compressed(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def make_panels(down: int, across: int, height: float, sharey: Any = "row") -> tuple[Figure, Any]:
    """A figure of `down` × `across` axes, about `height` inches each, and these as a 2-d array."""
    figure = Figure(figsize=(WIDTH, height * down + 1.2))  # without a canvas, on which seaborn would draw each heatmap
    return figure, figure.subplots(down, across, squeeze=False, sharey=sharey)


def percent_tick(share: float, _: float = 0) -> str:
    """A share as a tick's label: percent, up to three decimals."""
    return f"{round(100 * share, 3):g}%"


def legend(figure: Figure, panel: Axes) -> None:
    """Put the panel's legend under the figure."""
    handles, labels = panel.get_legend_handles_labels()
    lines = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]
    figure.legend(lines, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)


def caption(figure: Figure, title: str, protocol: Protocol | None, notes: Sequence[str]) -> None:
    """Write on top the title, and under it what the reader must know of the numbers; a `protocol` tells their split."""
    split = {
        None: "",
        "holdout": "protocol holdout: measured on the validation split",
        "report": "protocol report: measured on the test set, on which the choice was made too",
    }[protocol]
    whole = [note.replace(" ", "\N{NO-BREAK SPACE}") for note in dict.fromkeys([split, *notes]) if note]
    lines = textwrap.wrap("; ".join(whole), int(112 * figure.get_figwidth() / WIDTH), break_on_hyphens=False)
    titles = textwrap.wrap(title, int(80 * figure.get_figwidth() / WIDTH), break_on_hyphens=False)
    inch = 1 / figure.get_figheight()
    below = 0.2 * (len(titles) - 1)  # inches, that further lines of the title take
    figure.text(0.01, 1 - 0.05 * inch, "\n".join(titles), va="top", size=10.5, weight="bold")
    figure.text(0.01, 1 - (0.26 + below) * inch, "\n".join(lines), va="top", size=8, color=".3")
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - (0.33 + below + 0.14 * len(lines)) * inch))
