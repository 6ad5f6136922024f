"""The compare command: two studies side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.shell.cli import command, leave


@dataclass(frozen=True)
class CompareArgs:
    """Two studies to compare."""

    first: Positional[Path]
    """The first study's folder, or s3://BUCKET/PREFIX/NAME."""
    second: Positional[Path]
    """The second study's; differences are second less first."""
    json: bool = False
    """Print the comparison as one JSON object."""


def _compare(args: CompareArgs) -> int:
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study
    from tune_mnist.tables.comparison import compare_folders, print_comparison

    first, second = (Study(storage_at(path)) for path in (args.first, args.second))
    print_comparison(compare_folders(first, second), as_json=args.json)
    return 0


main = command(
    "compare", CompareArgs, _compare,
    "Set two studies side by side: the cells that differ, by how much, and whether beyond noise.",
)

if __name__ == "__main__":
    leave(main())
