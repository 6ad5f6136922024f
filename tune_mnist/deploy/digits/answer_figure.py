"""Answers drawn: each picture, the network's view of its digits, and their probabilities."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tune_mnist.deploy.digits.answers import Answer, Source, in_words
from tune_mnist.deploy.digits.pictures import open_picture
from tune_mnist.deploy.digits.reading import Digit
from tune_mnist.figures.canvas import DPI, make_panels, printable, styled
from tune_mnist.spec.errors import require
from tune_mnist.study.files import write_atomic

MOST_DRAWN = 24


def check_figure(path: Path) -> None:
    """Raise `UserError` unless a figure can be written there."""
    known = FigureCanvasAgg.get_supported_filetypes()
    require(path.suffix[1:].lower() in known, f"figure ends in one of .{', .'.join(known)}", path, "change --figure")
    require(path.parent.is_dir(), "the figure's folder exists", path.parent, "make it or change --figure")


def draw(sources: Sequence[Source], answers: Sequence[Answer], path: Path) -> None:
    """Write the figure of the first `MOST_DRAWN` pictures that were answered; says on stderr what it does not show."""
    pairs = [pair for pair in zip(sources, answers, strict=True) if not pair[1].error]
    if len(pairs) > MOST_DRAWN:
        print(f"{path} shows the first {MOST_DRAWN} of {len(pairs)} pictures", file=sys.stderr)
    if not pairs:
        print(f"{path} is not drawn: no picture was answered", file=sys.stderr)
        return
    buffer = io.BytesIO()
    with styled():
        figure = draw_answers(pairs[:MOST_DRAWN])
        figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=DPI)
    write_atomic(path, buffer.getvalue())


def draw_answers(pairs: Sequence[tuple[Source, Answer]]) -> Figure:
    """A row for each picture: itself, the network's views and the probabilities; called under `styled`."""
    figure, panels = make_panels(len(pairs), 3, 1.1, sharey=False)
    for row, (source, answer) in zip(panels, pairs, strict=True):
        _draw_picture(row[0], source, answer)
        row[1].imshow(np.hstack([digit.view for digit in answer.digits]), cmap="gray", vmin=0, vmax=255)
        row[1].set_title("the network's view", loc="left")
        if len(answer.digits) == 1:
            _draw_probabilities(row[2], answer.digits[0])
        else:
            _draw_several(row[2], answer.digits)
        row[2].set(ylim=(0, 1), title=in_words(answer))
        for axes in row[:2]:
            axes.set(xticks=[], yticks=[])
    figure.set_layout_engine("constrained")
    return figure


def _draw_picture(axes: Axes, source: Source, answer: Answer) -> None:
    picture = open_picture(source.read())
    shown = np.asarray(picture.pixels)
    extent = (0, picture.width, picture.height, 0)  # so that boxes lie right on what was reduced
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1 if shown.dtype.kind == "f" else 255, extent=extent)
    axes.set_title(printable(Path(answer.path).name), loc="left")
    for digit in answer.digits:
        box = digit.box
        axes.add_patch(Rectangle((box.left, box.top), box.width, box.height, fill=False, color="C1", linewidth=0.8))


def _draw_probabilities(axes: Axes, digit: Digit) -> None:
    numbers = range(len(digit.classes))
    colours = ["C0" if number == digit.ranking[0] else ".7" for number in numbers]
    axes.bar(numbers, digit.probabilities, color=colours)
    small = len(digit.classes) > 10 or max(map(len, digit.classes)) > 1
    axes.set_xticks(numbers, digit.classes, rotation=90 if small else 0, fontsize=5 if small else None)


def _draw_several(axes: Axes, digits: Sequence[Digit]) -> None:
    """One bar a digit, as probable as it is."""
    colours = ["C0" if digit.sure else ".7" for digit in digits]
    axes.bar(range(len(digits)), [digit.probability for digit in digits], color=colours)
    axes.set_xticks(range(len(digits)), [str(digit.name()) for digit in digits])
