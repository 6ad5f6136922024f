"""The predict command: the digits on each picture, how sure they are, and what else they might be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.deploy.digits.answers import STDIN
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.choices import TrustCode
from tune_mnist.spec.errors import require

DESCRIPTION = """Tell the digits on each picture: the most probable, its probability and the runner-up.

Pictures may be of any size and colours, dark on light or light on dark, and need not be centred. Several digits are
read from the left, line by line. A digit of less than 85%, or unlike any of MNIST's, is told to be unsure.
Exit status: 0 all answered, 1 some could not be, 2 bad input or no model."""


@dataclass(frozen=True, kw_only=True)
class PredictArgs:
    """Which pictures to tell the digits of, and by which model."""

    images: Positional[tuple[Path, ...]]
    """Picture files, folders of them (searched with their subfolders), or - for one picture on stdin."""
    model: Path | None = None
    """Folder of a trained model, as retrain writes it; the one that comes with the package if not given."""
    json: bool = False
    """Print one JSON object a line: path and digits, each with its place; a single one's values also beside path."""
    single: bool = False
    """Expect one digit on each picture: several are an error."""
    trust_code: TrustCode = False
    figure: Path | None = None
    """File to draw each picture, the network's view of its digits and the probabilities into."""

    def __post_init__(self) -> None:
        require(len(self.images) > 0, "a picture is named", "none", "name picture files, folders, or - for stdin")
        require(self.images.count(STDIN) <= 1, "stdin is named once", "- twice", "drop one")


def _predict(args: PredictArgs) -> int:
    from tune_mnist.deploy.digits.answers import answer_sources, find_sources, print_answers
    from tune_mnist.deploy.trained import PRETRAINED, load_trained

    if args.figure is not None:
        from tune_mnist.deploy.digits.answer_figure import check_figure, draw  # matplotlib, for figures alone

        check_figure(args.figure)
    trained = load_trained(args.model or PRETRAINED, trusted=args.trust_code)
    sources = list(find_sources(args.images))
    answers = answer_sources(sources, trained, single=args.single)
    print_answers(answers, as_json=args.json)
    if args.figure is not None:
        draw(sources, answers, args.figure)
    return int(any(answer.error for answer in answers))


main = command("predict", PredictArgs, _predict, DESCRIPTION)

if __name__ == "__main__":
    leave(main())
