"""The predict command: the digit on each picture, how sure that is, and what else it might be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.deploy.answers import STDIN
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require

DESCRIPTION = """Tell the digit on each picture: the most probable, its probability and the runner-up.

Pictures may be of any size and colours, dark on light or light on dark, and need not be centred.
Exit status: 0 all answered, 1 some could not be, 2 bad input or no model."""


@dataclass(frozen=True, kw_only=True)
class PredictArgs:
    """Which pictures to tell the digits of, and by which model."""

    images: Positional[tuple[Path, ...]]
    """Picture files, folders of them (searched with their subfolders), or - for one picture on stdin."""
    model: Path | None = None
    """Folder of a trained model, as retrain writes it; the one that comes with the package if not given."""
    json: bool = False
    """Print one JSON object a line: path, digit, probability, runner_up, its probability; or path and error."""
    figure: Path | None = None
    """File to draw each picture, the network's view of it and the probabilities into."""

    def __post_init__(self) -> None:
        require(len(self.images) > 0, "a picture is named", "none", "name picture files, folders, or - for stdin")
        require(self.images.count(STDIN) <= 1, "stdin is named once", "- twice", "drop one")


def _predict(args: PredictArgs) -> int:
    from tune_mnist.deploy.answers import answer_sources, check_figure, draw, find_sources, print_answers
    from tune_mnist.deploy.trained import PRETRAINED, load_trained

    if args.figure is not None:
        check_figure(args.figure)
    trained = load_trained(args.model or PRETRAINED)
    sources = list(find_sources(args.images))
    answers = answer_sources(sources, trained)
    print_answers(answers, as_json=args.json)
    if args.figure is not None:
        draw(sources, answers, args.figure)
    return int(any(answer.error for answer in answers))


main = command("predict", PredictArgs, _predict, DESCRIPTION)

if __name__ == "__main__":
    leave(main())
