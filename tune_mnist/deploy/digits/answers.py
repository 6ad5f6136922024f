"""Picture files to answers: the digits on each, how sure they are, and what else they might be; printed."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_mnist.spec.errors import UserError

if TYPE_CHECKING:
    from tune_mnist.deploy.digits.pictures import Picture
    from tune_mnist.deploy.digits.reading import Digit
    from tune_mnist.deploy.trained import Trained


STDIN = Path("-")
NO_DIGIT = "no digit found: give a picture of a digit that stands out from its paper"


@dataclass(frozen=True)
class Source:
    """A picture file that is still to be read; `read` may raise `UserError`."""

    path: str
    read: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class Answer:
    """The digits in a picture, line by line, each from the left; or why there are none."""

    path: str
    digits: tuple[Digit, ...] = ()
    """Their boxes are in the pixels of the upright picture."""
    error: str = ""

    @property
    def digit(self) -> int | str | None:
        """The most probable digit of a picture of one; None after an error or with several."""
        return self.digits[0].name() if len(self.digits) == 1 else None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: path and error, or path and digits, of which a single one's values stand beside it too."""
        if self.error:
            return {"path": self.path, "error": self.error}
        digits = [digit_as_json(digit) for digit in self.digits]
        return {"path": self.path, **(digits[0] if len(digits) == 1 else {}), "digits": digits}


def digit_as_json(digit: Digit) -> dict[str, Any]:
    """Plain JSON values: digit (a class's name), probability, runner_up, runner_up_probability, sure, line, and box."""
    first, second = digit.ranking[:2]
    return {
        "digit": digit.name(), "probability": digit.probabilities[first],
        "runner_up": digit.name(1), "runner_up_probability": digit.probabilities[second],
        "sure": digit.sure, "line": digit.line + 1, "box": [round(value) for value in digit.box],
    }


def predict_files(paths: Iterable[Path], trained: Trained | None = None) -> list[Answer]:
    """The answers to picture files, in order; all go through the network as one batch.

    `trained` is the package's own model if not given. A file that cannot be answered has its `error` set.
    """
    from tune_mnist.deploy.trained import PRETRAINED, load_trained

    return answer_sources([_file(path) for path in paths], trained or load_trained(PRETRAINED))


def answer_sources(
    sources: Sequence[Source], trained: Trained, *, single: bool = False, **limits: int
) -> list[Answer]:
    """The answers to `sources`, in order; `limits` are those of `open_picture`.

    With `single` a picture of several digits is an error.
    """
    from tune_mnist.deploy.digits.pictures import colourfulness, grey_levels
    from tune_mnist.deploy.digits.reading import read_digits

    pictures = [_opened(source, limits) for source in sources]
    readable = [picture for picture in pictures if not isinstance(picture, UserError)]
    read = read_digits([grey_levels(picture.pixels) for picture in readable], trained)
    for number, picture in enumerate(readable):
        if not read[number] and (colour := colourfulness(picture.pixels)) is not None:
            read[number] = read_digits([colour], trained)[0]
    found = iter(read)
    return [
        Answer(source.path, error=str(picture)) if isinstance(picture, UserError)
        else _answer(source.path, picture, next(found), single)
        for source, picture in zip(sources, pictures, strict=True)
    ]


def _opened(source: Source, limits: dict[str, int]) -> Picture | UserError:
    from tune_mnist.deploy.digits.pictures import open_picture

    try:
        return open_picture(source.read(), **limits)
    except UserError as error:
        return error


def _answer(path: str, picture: Picture, digits: list[Digit], single: bool) -> Answer:
    if not digits:
        return Answer(path, error=NO_DIGIT)
    if single and len(digits) > 1:
        return Answer(path, error=f"{len(digits)} digits found: give a picture of one, or leave out --single")
    scale = picture.width / picture.pixels.width
    whole = [replace(digit, box=digit.box.scaled(scale)) for digit in digits]
    return Answer(path, tuple(whole))


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
    from tune_mnist.deploy.digits.pictures import read_file

    return Source(str(path), lambda: read_file(path))


def _pictures_in(folder: Path) -> Iterator[Path]:
    from tune_mnist.deploy.digits.pictures import suffixes

    known = suffixes()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if Path(name).suffix.lower() in known)


def _read_stdin() -> bytes:
    from tune_mnist.deploy.digits.pictures import read_stream

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
            print(f"{answer.path}: {in_words(answer)}")


def in_words(answer: Answer) -> str:
    """The digits as they are read, an unsure one with a question mark, and of the least sure what else it may be."""
    doubtful = min(answer.digits, key=lambda digit: (digit.sure, digit.probability))
    p, q = (doubtful.probabilities[number] for number in doubtful.ranking[:2])
    first, second = doubtful.name(), doubtful.name(1)
    if len(answer.digits) == 1:
        return f"{'' if doubtful.sure else 'unsure: '}{first} ({p:.1%}), or else {second} ({q:.1%})"
    lines = [list(line) for _, line in itertools.groupby(answer.digits, key=lambda digit: digit.line)]
    read = " / ".join(" ".join(f"{d.name()}{'' if d.sure else '?'}" for d in line) for line in lines)
    return f"{read} (least sure: {first} {p:.1%}, or else {second} {q:.1%})"
