"""What a search may be asked for: its space, budget, sampler, early stopping and objectives; checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tyro.constructors import PrimitiveConstructorSpec

from tune_mnist.spec.choices import DataFolder, DatasetChoice, HeadChoice, ProtocolChoice
from tune_mnist.spec.domains import values_of
from tune_mnist.spec.errors import did_you_mean, require
from tune_mnist.spec.settings import coerce_fields, number_or_text
from tune_mnist.spec.space import Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PREFIX, SETTINGS, PlannedTraining, Strict

Sampler = Literal["tpe", "random", "grid", "cmaes", "gp"]
Scheduler = Literal["asha", "median", "none"]
Direction = Literal["maximize", "minimize"]
EVALUATED = ("accuracy", "precision", "recall", "f1", "loss")
"""Metrics of the held-out pictures that may be an objective, each after val_ or test_."""
OF_TRAINING = ("train_seconds", "parameters")
"""Objectives that a whole training has, and no single epoch."""
MINIMIZED = ("train_loss", *OF_TRAINING)


def _most(words: list[str]) -> int:
    """The largest of some whole numbers in words, as a grid has its epochs."""
    numbers = [number_or_text(word) for word in words]
    whole = bool(numbers) and all(isinstance(number, int) for number in numbers)
    require(whole, "epochs is a whole number", " ".join(words) or "none", "change --epochs")
    return max(numbers)


Epochs = Annotated[int, PrimitiveConstructorSpec(
    nargs="*", metavar="INT...", instance_from_str=_most, str_from_instance=lambda epochs: [str(epochs)],
    is_instance=lambda value: isinstance(value, int),
)]


@dataclass(frozen=True, kw_only=True)
class SearchSettings(Strict):
    """How a search goes, apart from its space."""

    trials: int = 40
    """Trials in all, finished in whatever way; raised later, the search goes on. Warm-start trials come on top."""
    timeout: float | None = None
    """Seconds of this run after which no trial is begun; those running end their trainings."""
    epochs: Epochs = 15
    """Epochs of a training that is not stopped early; its last epoch's metrics are the trial's. Of several the most."""
    sampler: Sampler = "tpe"
    """Optuna's sampler. grid tries every combination of a space without ranges once."""
    scheduler: Scheduler | None = None
    """Early stopping by epochs: asha, median or none; if not given, asha for one objective and none for several."""
    objectives: tuple[str, ...] = ()
    """To optimise, by commas or blanks: val_accuracy (default), val_loss, …, train_loss, train_seconds, parameters.
    Under the report's protocol test_… instead of val_…."""
    seed: int = 0
    """Seed of the sampler; every training has seed 0."""
    protocol: ProtocolChoice = "holdout"
    head: HeadChoice = "auto"
    dataset: DatasetChoice = "mnist"
    data: DataFolder = None

    def __post_init__(self) -> None:
        coerce_fields(self)
        require(self.trials >= 1, "trials >= 1", self.trials, "raise --trials")
        require(self.epochs >= 1, "epochs >= 1", self.epochs, "raise --epochs")
        require(self.timeout is None or self.timeout > 0, "timeout > 0", self.timeout, "raise --timeout")
        require(0 <= self.seed < 2**32, "0 <= seed < 2**32", self.seed, "change --seed")
        names = tuple(name for words in self.objectives for name in words.split(",") if name)
        object.__setattr__(self, "objectives", names)
        self._check_objectives()

    def _check_objectives(self) -> None:
        known = [f"{PREFIX[self.protocol]}_{name}" for name in EVALUATED] + list(MINIMIZED)
        for name in self.goals:
            hint = did_you_mean(name, known, "change --objectives")
            require(name in known, f"an objective is one of {', '.join(known)}", repr(name), hint)
        repeated = {name for name in self.objectives if self.objectives.count(name) > 1}
        require(not repeated, "no objective is named twice", ", ".join(repeated), "change --objectives")
        if self.scheduler not in ("none", None):
            remedy = "take --scheduler none"
            require(len(self.goals) == 1, "several objectives are not stopped early", self.scheduler, remedy)
            require(self.by_epoch, f"{self.goals[0]} says nothing by epoch", self.scheduler, remedy)

    @property
    def accuracy(self) -> str:
        """The evaluation's accuracy by its name."""
        return f"{PREFIX[self.protocol]}_accuracy"

    @property
    def goals(self) -> tuple[str, ...]:
        """The objectives: those asked for, or the accuracy."""
        return self.objectives or (self.accuracy,)

    @property
    def directions(self) -> list[Direction]:
        """Which way each objective is better."""
        return ["minimize" if name in MINIMIZED or name.endswith("_loss") else "maximize" for name in self.goals]

    @property
    def by_epoch(self) -> bool:
        """Whether there is one objective, and every epoch has it."""
        return len(self.goals) == 1 and self.goals[0] not in OF_TRAINING

    @property
    def stopping(self) -> Scheduler:
        """The early stopping: what is asked for, or ASHA where epochs have the objective."""
        return self.scheduler or ("asha" if self.by_epoch else "none")


@dataclass(frozen=True, kw_only=True)
class SearchSpec(SearchSettings):
    """A search; the default is over the report's grid with lr continuous."""

    space: Space = field(default_factory=Space)
    """What to search: of each setting one value, a list of values or a range LOW:HIGH."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges = self.space.ranges()
        if self.sampler == "grid":
            require(not ranges, "the grid sampler has no ranges", ", ".join(ranges), "list their values instead")
        if self.sampler == "cmaes":
            goals = ", ".join(self.goals)
            require(len(self.goals) == 1, "the cmaes sampler has one objective", goals, "take --sampler tpe")
            remedy = "add one, or take --sampler tpe"
            require(len(ranges) > 1, "the cmaes sampler has two ranges or more", ", ".join(ranges) or "none", remedy)

    def training(self, settings: dict[str, Any]) -> StudySpec:
        """The study of the one training that has these settings, and this `model`, of the space."""
        shared = {name: value for name, value in settings.items() if name in SETTINGS}
        own = {name: value for name, value in settings.items() if name not in SETTINGS and name != "model"}
        model = settings["model"]
        return self._study(models=(model,), **shared, **({"own": {model: own}} if own else {}))

    def planned(self, settings: dict[str, Any]) -> PlannedTraining:
        """The training that has these settings of the space."""
        (plan,) = self.training(settings).trainings()
        return plan

    def data_spec(self) -> StudySpec:
        """A study on the same data with all of the space's batch sizes, to check these by."""
        sizes = {size for model in self.space.models for size in values_of(self.space.domains(model)["batch_size"])}
        return self._study(models=self.space.models, batch_size=tuple(sorted(sizes)))

    def _study(self, **values: Any) -> StudySpec:
        task = {name: getattr(self, name) for name in ("protocol", "head", "dataset", "data")}
        sources = {"sources": self.space.sources}
        return StudySpec(epochs=(self.epochs,), **task, **sources, **values)
