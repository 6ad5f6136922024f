"""The data command: a data set's checksums, class counts and first ten pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.choices import DataFolder, DatasetChoice, Download


@dataclass(frozen=True)
class DataArgs:
    """Which data set to show, and where to."""

    dataset: DatasetChoice = "mnist"
    data: DataFolder = None
    download: Download = False
    figure: Path = Path("first_ten.png")
    """File to draw the first ten training pictures into."""
    json: bool = False
    """Print JSON instead of tables."""


def _data(args: DataArgs) -> int:
    from tune_mnist.figures.preview import draw_first_ten, print_facts
    from tune_mnist.training.dataset import describe, load_dataset

    dataset = load_dataset(args.dataset, args.data, download=args.download)
    draw_first_ten(dataset, args.figure)
    print_facts(describe(dataset) | {"figure": str(args.figure)}, as_json=args.json)
    return 0


main = command(
    "data", DataArgs, _data, "Show a data set's checksums and class counts, and draw its first ten training pictures."
)

if __name__ == "__main__":
    leave(main())
