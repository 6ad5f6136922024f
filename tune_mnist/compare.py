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
    along: tuple[str, ...] = ()
    """Settings to match cells by, such as lr epochs, the best of those with the same being compared; if not given,
    all of which the studies have values in common."""
    json: bool = False
    """Print the comparison as one JSON object."""


def _compare(args: CompareArgs) -> int:
    from tune_mnist.reporting.compared import print_comparison
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study
    from tune_mnist.tables.comparison import compare_folders

    first, second = (Study(storage_at(path)) for path in (args.first, args.second))
    print_comparison(compare_folders(first, second, args.along or None), as_json=args.json)
    return 0


main = command(
    "compare", CompareArgs, _compare,
    "Set two studies side by side: what differs in settings, their best cells and, beyond noise, those they share.",
)

if __name__ == "__main__":
    leave(main())
