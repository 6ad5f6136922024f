"""A grid study's spec, and the names that a study may have, checked when made."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc

from tune_mnist.spec.choices import DataFolder, DatasetChoice, HeadChoice, ProtocolChoice
from tune_mnist.spec.domains import domain_of
from tune_mnist.spec.errors import require
from tune_mnist.spec.models import is_fully_connected
from tune_mnist.spec.settings import Setting, coerce_fields
from tune_mnist.spec.space import Space, flag_type
from tune_mnist.spec.training import SETTINGS, Head, PlannedTraining, TrainingConfig

TASK = ("seeds", "protocol", "head", "independent_epochs", "dataset", "data")
"""What a grid is told besides its space and epochs."""
AUTO = "auto:"
FIRST_SEEDS, MOST_SEEDS = 3, 10
"""With seeds auto: how many every training has first, and how many at most, unless auto:N says so."""
Seeds = Annotated[int | str, Doc(
    "Repetitions of each training, with seeds 0, 1, …: a number, or auto[:N], which adds seeds, up to N (default "
    f"{MOST_SEEDS}), where they may still change the top three."
)]


EPOCHS = Setting(
    "epochs", "whole number", (2, 5, 10, 15), least=1, ranges=False,
    doc="Epoch budgets; one training of the largest answers them all unless the schedule depends on the budget",
)


@dataclass(frozen=True, kw_only=True)
class StudySpec(Space):
    """A grid study: every combination of what its space lists; the defaults are the report's 192 cells."""

    lr: flag_type(SETTINGS["lr"]) = (1e-4, 1e-3, 1e-2, 1e-1)  # type: ignore[valid-type]
    epochs: flag_type(EPOCHS) = EPOCHS.default  # type: ignore[valid-type]
    seeds: Seeds = 1
    protocol: ProtocolChoice = "holdout"
    head: HeadChoice = "auto"
    independent_epochs: bool = False
    """Train every epoch budget from scratch instead of reading it off the longest training."""
    dataset: DatasetChoice = "mnist"
    data: DataFolder = None

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        coerce_fields(self)
        object.__setattr__(self, "epochs", domain_of(EPOCHS, self.epochs))
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))
        ranges = self.ranges()
        remedy = "list its values, or search it by python -m tune_mnist.search"
        require(not ranges, "a grid has values, no ranges", ", ".join(ranges), remedy)

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
        """The distinct trainings that answer every cell, in the order of models, lr, batch_size, … and seed.

        With `first_seeds` each, or so many `seeds`.
        """
        return list(_trainings(self, seeds or self.first_seeds))

    def planned(self, model: str, settings: Mapping[str, Any], seed: int = 0) -> list[PlannedTraining]:
        """The trainings of a model with these settings: one, or one for each epoch budget."""
        separate = self.independent_epochs or settings["schedule"] == "cosine"
        shared = {name: value for name, value in settings.items() if name in SETTINGS}
        own = {name: value for name, value in settings.items() if name not in SETTINGS}
        return [
            PlannedTraining(
                TrainingConfig(
                    model=model, seed=seed, head=self._head(model), budget=budgets[0] if separate else None,
                    model_settings=own, source=self.source_of(model), **shared,
                ),
                budgets,
            )
            for budgets in ([(e,) for e in self.epochs] if separate else [self.epochs])
        ]

    def content(self) -> dict[str, Any]:
        """All that it asks for, as plain JSON values, without what is not told anyway: settings at their default."""
        content = {name: getattr(self, name) for name in ("models", "epochs", *TASK)}
        content["data"] = None if self.data is None else str(self.data)
        content |= {
            name: getattr(self, name) for name, setting in SETTINGS.items()
            if getattr(self, name) != (setting.default,)
        }
        return content | ({"own": self.own} if self.own else {})

    def _head(self, model: str) -> Head:
        if self.head == "auto":
            return "softmax" if self.protocol == "report" and is_fully_connected(model) else "logits"
        return self.head


@functools.lru_cache(maxsize=4)  # a command asks again and again, and 10,000 take half a second
def _trainings(spec: StudySpec, seeds: int) -> tuple[PlannedTraining, ...]:
    plans: dict[str, PlannedTraining] = {}
    for model in spec.models:
        for settings, seed in itertools.product(spec.combinations(model), range(seeds)):
            for plan in spec.planned(model, settings, seed):
                plans.setdefault(plan.config.canonical, plan)
    return tuple(plans.values())


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
