"""The status command: where a study stands, once or again and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import STORAGE


@dataclass(frozen=True)
class StatusArgs:
    """A study to look at."""

    study: Positional[Annotated[Path | None, arg(metavar="[STUDY]")]] = None
    """The study, such as ray_results/report or s3://BUCKET/PREFIX/NAME; without one, ray_results' newest."""
    watch: bool = False
    """Look again and again until nobody runs the study any more, or Ctrl-C."""
    every: float = 2.0
    """Seconds between two looks of --watch."""
    json: bool = False
    """Print one JSON object; with --watch, one a line at each change."""

    def __post_init__(self) -> None:
        require(0 < self.every <= 3600, "0 < every <= 3600", self.every, "change --every")


def _status(args: StatusArgs) -> int:
    from tune_mnist.running.watching.status_view import show, watch
    from tune_mnist.study.look import Look, newest_study
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study

    look = Look(Study(storage_at(args.study or newest_study(STORAGE))))
    if args.watch:
        watch(look, args.every, as_json=args.json)
    else:
        show(look(), as_json=args.json)
    return 0


main = command(
    "status", StatusArgs, _status,
    "Show a study's progress, time left, best accuracy and failures, from any machine that sees its folder or bucket.",
)

if __name__ == "__main__":
    leave(main())
