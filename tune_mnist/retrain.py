"""The retrain command: the best config trained on all training pictures, scored once on the test set, kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from tune_mnist.shell.arguments import fields_of
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.choices import Download, TrustCode
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import STORAGE, check_storage_name
from tune_mnist.spec.study import StudySpec, check_study_name
from tune_mnist.spec.toml import read_spec

DESCRIPTION = """Retrain a study's best config on all training pictures and score it once on the test set.

Name a study's folder (its best cell is taken), or a SPEC.toml of one cell, or give the cell by one value each of
models, lr, batch size and epochs. The model lands in the study's folder best/, ready for predict and serve. The
same command again goes on from the last checkpoint."""


@dataclass(frozen=True, kw_only=True)
class RetrainArgs:
    """What to retrain, and where and how."""

    study: Positional[Annotated[Path | None, arg(metavar="[STUDY]")]] = None
    """A study's folder, such as ray_results/grid, or s3://BUCKET/PREFIX/NAME."""
    spec: Annotated[StudySpec, arg(name="")] = field(default_factory=StudySpec)
    rank: int = 1
    """Which of the study's cells, the best being 1; others than the best land in rank-N/."""
    key: str | None = None
    """Instead of a rank: the key of one of the study's trainings, to its last epoch; lands in key-KEY/."""
    name: str = "retrain"
    """Without a study: the name of the folder under STORAGE; by default a spec's own."""
    storage: Path = STORAGE
    """Without a study: folder, or bucket, of the results."""
    checkpoint_every: int = 500
    """Steps between checkpoints, of which the last 10 are kept."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    threads: int = 1
    """CPU threads; another number rounds differently."""
    robustness: bool = False
    """Also measure accuracy on distorted test pictures, of the first seed, trained with augmentation and without."""
    download: Download = False
    trust_code: TrustCode = False
    json: bool = False
    """Print the outcome as one JSON object."""

    def __post_init__(self) -> None:
        check_study_name(self.name)
        check_storage_name(self.storage)
        require(self.rank >= 1, "rank >= 1", self.rank, "change --rank")
        require(self.rank == 1 or self.key is None, "one of rank and key", "both", "drop --rank or --key")
        require(self.checkpoint_every >= 1, "checkpoint_every >= 1", self.checkpoint_every, "raise --checkpoint-every")
        require(self.threads >= 1, "threads >= 1", self.threads, "raise --threads")
        if self.study is None:
            require(self.rank == 1 and self.key is None, "rank and key are a study's", "no study", "name its folder")
        else:
            plain = dataclasses.replace(self.spec, seeds=1) == StudySpec()
            require(plain, "a study's config is its own", "flags or a spec as well", "drop them, or the study")


def _retrain(args: RetrainArgs) -> int:
    from tune_mnist.deploy.retrain_seeds import print_outcomes, run_retrain

    print_outcomes(run_retrain(**fields_of(args, but="json")), as_json=args.json)
    return 0


def from_toml(path: Path) -> RetrainArgs:
    """The arguments that a TOML file asks for."""
    return RetrainArgs(spec=read_spec(path), name=path.stem)


main = command("retrain", RetrainArgs, _retrain, DESCRIPTION, from_toml)

if __name__ == "__main__":
    leave(main())
