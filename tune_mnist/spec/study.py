"""A grid study's spec, and the names that a study may have, checked when made."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from typing_extensions import Doc

from tune_mnist.spec.errors import flag_of, require, require_distinct
from tune_mnist.spec.training import (
    FULLY_CONNECTED,
    Head,
    PlannedTraining,
    Protocol,
    Recipe,
    Strict,
    TrainingConfig,
    as_in_training,
    coerce_fields,
)

DatasetName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits"]
DATASETS: tuple[str, ...] = get_args(DatasetName)

# What grids, searches and other commands ask for alike: types that carry their text for --help.
ProtocolChoice = Annotated[Protocol, Doc(
    "holdout: select on held-out training pictures and test once. report: select on the test set, as it did."
)]
HeadChoice = Annotated[Literal["auto", "logits", "softmax"], Doc(
    "What models end in; auto: logits, but softmax for fully connected ones under the report's protocol."
)]
DatasetChoice = Annotated[DatasetName, Doc(
    "Data set; the others than mnist are torchvision's and need --download once."
)]
DataFolder = Annotated[Path | None, Doc(
    "Folder of four IDX files, named as MNIST's (plain or .gz), used instead of a data set by name."
)]
AUTO = "auto:"
FIRST_SEEDS, MOST_SEEDS = 3, 10
"""With seeds auto: how many every training has first, and how many at most, unless auto:N says so."""
Seeds = Annotated[int | str, Doc(
    "Repetitions of each training, with seeds 0, 1, …: a number, or auto[:N], which adds seeds, up to N (default "
    f"{MOST_SEEDS}), where they may still change the top three."
)]
Download = Annotated[bool, Doc("Let torchvision download the data set of --dataset if it is not there.")]


@dataclass(frozen=True, kw_only=True)
class StudySpec(Strict):
    """A grid study; the defaults are the report's 192 cells."""

    models: tuple[str, ...] = FULLY_CONNECTED
    """Models to train."""
    lr: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Learning rates of Adam."""
    batch_size: tuple[int, ...] = (16, 32, 64, 128)
    """Pictures per optimisation step."""
    epochs: tuple[int, ...] = (2, 5, 10, 15)
    """Epoch budgets; one training of the largest answers them all unless the schedule depends on the budget."""
    seeds: Seeds = 1
    protocol: ProtocolChoice = "holdout"
    head: HeadChoice = "auto"
    independent_epochs: bool = False
    """Train every epoch budget from scratch instead of reading it off the longest training."""
    dataset: DatasetChoice = "mnist"
    data: DataFolder = None
    recipe: Recipe = field(default_factory=Recipe)
    """How every training is done; a TOML file has these in its table [recipe]."""

    def __post_init__(self) -> None:
        coerce_fields(self)
        for name in ("models", "lr", "batch_size", "epochs"):
            values = getattr(self, name)
            require(len(values) > 0, f"{name} has at least one value", "none", f"give {flag_of(name)} a value")
            for value in values:
                if name == "epochs":
                    require(value >= 1, "epochs >= 1", value, "raise --epochs")
                else:
                    as_in_training(name, value)
            require_distinct(name, values)
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))

    @property
    def adds_seeds(self) -> bool:
        """Whether seeds are added to the cells in contention, as auto says."""
        return isinstance(self.seeds, str)

    @property
    def first_seeds(self) -> int:
        """The seeds that every training has, before any are added."""
        return FIRST_SEEDS if isinstance(self.seeds, str) else self.seeds

    @property
    def most_seeds(self) -> int:
        """The seeds that a training has at most."""
        return int(self.seeds.removeprefix(AUTO)) if isinstance(self.seeds, str) else self.seeds

    def trainings(self, seeds: int | None = None) -> list[PlannedTraining]:
        """The distinct trainings that answer every cell, in the order of models, lr, batch_size and seed.

        With `first_seeds` each, or so many `seeds`.
        """
        separate = self.independent_epochs or self.recipe.depends_on_budget
        groups = [(e,) for e in self.epochs] if separate else [self.epochs]
        recipe = dataclasses.asdict(self.recipe)
        return [
            PlannedTraining(
                TrainingConfig(
                    model=model, lr=lr, batch_size=batch_size, seed=seed, head=self._head(model),
                    budget=budgets[0] if separate else None, **recipe,
                ),
                budgets,
            )
            for model, lr, batch_size, seed, budgets in itertools.product(
                self.models, self.lr, self.batch_size, range(seeds or self.first_seeds), groups
            )
        ]

    def _head(self, model: str) -> Head:
        if self.head == "auto":
            return "softmax" if self.protocol == "report" and model in FULLY_CONNECTED else "logits"
        return self.head


def _checked_seeds(seeds: int | str) -> int | str:
    """A number of seeds, or auto with the N it stands for; `UserError` for anything else."""
    if not isinstance(seeds, str):
        require(seeds >= 1, "seeds >= 1", seeds, "raise --seeds")
        return seeds
    most = str(MOST_SEEDS) if seeds == "auto" else seeds.removeprefix(AUTO)
    rule = f"seeds is a whole number, auto or auto:N with N >= {FIRST_SEEDS}"
    holds = (AUTO + most == seeds or seeds == "auto") and re.fullmatch("[0-9]{1,4}", most) is not None
    require(holds and int(most) >= FIRST_SEEDS, rule, repr(seeds), "change --seeds")
    return f"{AUTO}{int(most)}"


def check_study_name(name: str) -> str:
    """Return `name` if it is a safe folder name, else raise `UserError`."""
    rule = "name matches [A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
    require(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) is not None, rule, repr(name), "change --name")
    return name
