"""Picture files to answers: the digit on each, how sure that is, and what else it might be; printed and drawn."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_mnist.spec.errors import UserError, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tune_mnist.deploy.trained import Trained
    from tune_mnist.training.idx import Bytes


STDIN = Path("-")
MOST_DRAWN = 24


@dataclass(frozen=True)
class Source:
    """A picture file that is still to be read; `read` may raise `UserError`."""

    path: str
    read: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a picture shows: ten probabilities and the network's view uint8 (28, 28), or why there is no answer."""

    path: str
    probabilities: tuple[float, ...] = ()
    view: Bytes | None = field(default=None, repr=False)
    error: str = ""

    @cached_property
    def ranking(self) -> list[int]:
        """Digits from the most to the least probable; empty after an error."""
        return sorted(range(len(self.probabilities)), key=lambda digit: -self.probabilities[digit])

    @property
    def digit(self) -> int | None:
        """The most probable digit, None after an error."""
        return self.ranking[0] if self.ranking else None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: path, digit, probability, runner_up, runner_up_probability; or path and error."""
        if self.error:
            return {"path": self.path, "error": self.error}
        first, second = self.ranking[:2]
        return {
            "path": self.path, "digit": first, "probability": self.probabilities[first],
            "runner_up": second, "runner_up_probability": self.probabilities[second],
        }


def predict_files(paths: Iterable[Path], trained: Trained | None = None) -> list[Answer]:
    """The answers to picture files, in order; all go through the network as one batch.

    `trained` is the package's own model if not given. A file that cannot be answered has its `error` set.
    """
    from tune_mnist.deploy.trained import PRETRAINED, load_trained

    return answer_sources([_file(path) for path in paths], trained or load_trained(PRETRAINED))


def answer_sources(sources: Sequence[Source], trained: Trained, **limits: int) -> list[Answer]:
    """The answers to `sources`, in order; `limits` are those of `open_picture`."""
    import numpy as np

    views = [_view(source, limits) for source in sources]
    seen = [view for view in views if not isinstance(view, UserError)]
    rows = iter(trained.probabilities(np.stack(seen)).tolist() if seen else [])
    return [
        Answer(source.path, error=str(view)) if isinstance(view, UserError) else Answer(source.path, next(rows), view)
        for source, view in zip(sources, views, strict=True)
    ]


def _view(source: Source, limits: dict[str, int]) -> Bytes | UserError:
    from tune_mnist.deploy.digits import to_digit
    from tune_mnist.deploy.pictures import grey_levels, open_picture

    try:
        return to_digit(grey_levels(open_picture(source.read(), **limits)))
    except UserError as error:
        return error


def find_sources(named: Iterable[Path]) -> Iterator[Source]:
    """The pictures that were named: folders give their files with a picture's suffix, in the order of their names."""
    for path in named:
        if path == STDIN:
            # Read once: the figure wants it again.
            yield Source("-", _once(_read_stdin))
        elif path.is_dir():
            inside = list(_pictures_in(path))
            yield from map(_file, inside)
            if not inside:
                yield Source(str(path), _failing("no picture in this folder: name one with pictures"))
        else:
            yield _file(path)


def _file(path: Path) -> Source:
    from tune_mnist.deploy.pictures import read_file

    return Source(str(path), lambda: read_file(path))


def _pictures_in(folder: Path) -> Iterator[Path]:
    from tune_mnist.deploy.pictures import suffixes

    known = suffixes()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if Path(name).suffix.lower() in known)


def _read_stdin() -> bytes:
    from tune_mnist.deploy.pictures import read_stream

    return read_stream(sys.stdin.buffer)


def _once(read: Callable[[], bytes]) -> Callable[[], bytes]:
    kept: list[bytes] = []

    def reread() -> bytes:
        kept[:] = kept or [read()]
        return kept[0]

    return reread


def _failing(reason: str) -> Callable[[], bytes]:
    def fail() -> bytes:
        raise UserError(reason)

    return fail


def print_answers(answers: Sequence[Answer], *, as_json: bool = False) -> None:
    """Print a line, or a JSON object, for each answer; in words, errors go to stderr."""
    for answer in answers:
        if as_json:
            print(json.dumps(answer.as_json()))
        elif answer.error:
            print(f"error: {answer.path}: {answer.error}", file=sys.stderr)
        else:
            print(_line(answer))


def _line(answer: Answer) -> str:
    first, second = answer.ranking[:2]
    p, q = answer.probabilities[first], answer.probabilities[second]
    return f"{answer.path}: {first} ({p:.1%}), or else {second} ({q:.1%})"


def check_figure(path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    require(path.suffix[1:].lower() in known, f"figure ends in one of .{', .'.join(known)}", path, "change --figure")
    require(path.parent.is_dir(), "the figure's folder exists", path.parent, "make it or change --figure")


def draw(sources: Sequence[Source], answers: Sequence[Answer], path: Path) -> None:
    import io

    from tune_mnist.figures.canvas import DPI, styled
    from tune_mnist.study.files import write_atomic

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
    """A row for each picture: itself, the network's view of it and the probabilities; called under `styled`."""
    import numpy as np

    from tune_mnist.deploy.pictures import open_picture
    from tune_mnist.figures.canvas import make_panels

    figure, panels = make_panels(len(pairs), 3, 1.1, sharey=False)
    for row, (source, answer) in zip(panels, pairs, strict=True):
        shown = np.asarray(open_picture(source.read()))
        row[0].imshow(shown, cmap="gray", vmin=0, vmax=1 if shown.dtype.kind == "f" else 255)
        row[0].set_title(Path(answer.path).name, loc="left")
        row[1].imshow(answer.view, cmap="gray", vmin=0, vmax=255)
        row[1].set_title("the network's view", loc="left")
        row[2].bar(range(10), answer.probabilities, color=["C0" if digit == answer.digit else ".7" for digit in range(10)])
        row[2].set(xticks=range(10), ylim=(0, 1), title=_line(answer).removeprefix(f"{answer.path}: "))
        for axes in row[:2]:
            axes.set(xticks=[], yticks=[])
    figure.set_layout_engine("constrained")
    return figure
