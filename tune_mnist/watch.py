"""The watch command: a study's live page in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import STORAGE

DESCRIPTION = """Serve a page that shows a study's progress, its best trainings, and their curves as they grow.

On this machine alone, from the study's files: running, dead or finished. Ctrl-C ends it and interrupts nothing."""


@dataclass(frozen=True)
class WatchArgs:
    """A study to watch."""

    study: Positional[Annotated[Path | None, arg(metavar="[STUDY]")]] = None
    """The study, such as ray_results/report or s3://BUCKET/PREFIX/NAME; without one, ray_results' newest."""
    port: int = 8100
    """Port to listen on; 0 takes any free one."""

    def __post_init__(self) -> None:
        require(0 <= self.port < 2**16, "0 <= port < 65536", self.port, "change --port")


def _watch(args: WatchArgs) -> int:
    from tune_mnist.running.watching.live_page import serve_until_interrupted
    from tune_mnist.study.look import newest_study
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study

    serve_until_interrupted(Study(storage_at(args.study or newest_study(STORAGE))), args.port)
    return 0


main = command("watch", WatchArgs, _watch, DESCRIPTION)

if __name__ == "__main__":
    leave(main())
