"""A study's curves as its live page shows them: what they can be filtered by, which are drawn, and what each has."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tune_mnist.spec.errors import require
from tune_mnist.spec.models import place_of
from tune_mnist.spec.training import PREFIX, PlannedTraining, TrainingConfig
from tune_mnist.study.training_folder import TrainingRecord

DRAWN = 200
RUNNING_DRAWN = 100
"""Of the drawn curves, how many may be there because their trainings run, and not for their accuracy."""
LISTED = 50
POINTS = 300
"""Of a curve: a longer one is thinned."""
CHOICES = 12
"""A setting with more values is filtered by limits."""
STATUSES = ("waiting", "begun", "running", "complete", "diverged", "failed")
COLUMNS = ("train_loss", "loss", "accuracy")
FIRST_SETTINGS = ("model", "lr", "batch_size")

Filters = Mapping[str, Any]
"""By setting, or `status`, what may pass: a list of values as text, or limits {"least": number, "most": number}."""


@dataclass
class Setting:
    """One setting of all trainings: a code each, and the value that it stands for, None where a model has it not."""

    codes: array[int]
    values: dict[Any, int] = field(default_factory=lambda: {None: 0})
    """The values and their codes, in the order of codes."""

    def add(self, value: Any) -> None:
        """Append the next training's value."""
        self.codes.append(self.values.setdefault(value, len(self.values)))

    @property
    def known(self) -> list[Any]:
        """The values that trainings have, by size."""
        lacking = 0 in np.frombuffer(self.codes, np.int32)
        return sorted((value for value in self.values if value is not None or lacking), key=_rank)

    @property
    def varies(self) -> bool:
        """Whether trainings that have the setting differ in it."""
        return len(self.values) > 2

    @property
    def has_limits(self) -> bool:
        """Whether it is filtered by limits, as it has too many values to choose from."""
        return len(self.values) > CHOICES + 1 and all(isinstance(value, int | float | None) for value in self.values)

    def passing(self, wanted: Any) -> np.ndarray:
        """Of each training, whether its value is wanted: bool (trainings,)."""
        if isinstance(wanted, Mapping):
            least, most = wanted.get("least", -math.inf), wanted.get("most", math.inf)
            passes = [isinstance(value, (int, float)) and least <= value <= most for value in self.values]
        else:
            passes = [text_of(value) in wanted for value in self.values]
        return np.array(passes, bool)[np.frombuffer(self.codes, np.int32)]

    def as_json(self, name: str) -> dict[str, Any]:
        """Its name and values, in order, as the page shows them."""
        if self.has_limits:
            numbers = [value for value in self.values if value is not None]
            return {"name": name, "least": min(numbers), "most": max(numbers)}
        return {"name": name, "values": [text_of(value) for value in self.known]}


@dataclass
class Curve:
    """One training's epochs, from 1 on; NaN where a loss is not finite."""

    config: TrainingConfig
    planned: int = 0
    change: int = 0
    """The version of the curves with which it changed last."""
    train_loss: array[float] = field(default_factory=lambda: array("d"))
    loss: array[float] = field(default_factory=lambda: array("d"))
    accuracy: array[float] = field(default_factory=lambda: array("d"))


class Curves:
    """The curves of a study's trainings, numbered as they were met; `version` grows with every change."""

    def __init__(self) -> None:
        self.curves: list[Curve] = []
        self.numbers: dict[TrainingConfig, int] = {}
        self.settings: dict[str, Setting] = {}
        self.statuses = array("i")
        self.best = array("d")
        """Each training's highest accuracy so far, -1 before the first."""
        self.running: set[int] = set()
        self.version = 0

    def take(self, record: TrainingRecord) -> None:
        """Take in a training's record, new or changed."""
        number = self._number(record.config)
        curve = self.curves[number]
        row = record.epochs[0] if record.epochs else {}
        prefix = next((prefix for prefix in PREFIX.values() if f"{prefix}_accuracy" in row), "")
        columns = [_column(record, name) for name in ("train_loss", f"{prefix}_loss", f"{prefix}_accuracy")]
        status: str = record.status
        if status == "unfinished":
            status = "running" if number in self.running else "begun" if record.epochs else "waiting"
        if [curve.train_loss, curve.loss, curve.accuracy] != columns:
            curve.train_loss, curve.loss, curve.accuracy = columns
            self.best[number] = max((share for share in curve.accuracy if not math.isnan(share)), default=-1.0)
            self._changed(number)
        self._mark(number, status)

    def plan(self, plans: Iterable[PlannedTraining]) -> None:
        """Take in what is planned, which may have grown."""
        for plan in plans:
            number = self._number(plan.config)
            if self.curves[number].planned != plan.epochs:
                self.curves[number].planned = plan.epochs
                self._changed(number)

    def run(self, configs: Iterable[TrainingConfig]) -> None:
        """Take in which trainings run now."""
        running = {self._number(config) for config in configs}
        for number in running:
            self._mark(number, "running")
        for number in self.running - running:
            if self.statuses[number] == STATUSES.index("running"):
                self._mark(number, "begun" if self.curves[number].accuracy else "waiting")
        self.running = running

    @property
    def begun(self) -> int:
        """How many trainings have an epoch."""
        return int(np.count_nonzero(np.frombuffer(self.best) >= 0))

    def shown(self, filters: Filters) -> dict[str, Any]:
        """What the page shows of the trainings that have an epoch and pass `filters`, as plain JSON values.

        `settings` and `statuses` are what can be filtered by, `drawn` the numbers and changes of the curves to draw,
        best first: of trainings that run, and the best. `listed` has a row for each of the best.

        Raises:
            UserError: a filter is of no setting, or is neither a list of texts nor limits.
        """
        best = np.frombuffer(self.best)
        passes = self._passing(filters) & (best >= 0)
        ranked = _highest(np.flatnonzero(passes), best, DRAWN)
        running = sorted((n for n in self.running if passes[n]), key=lambda n: -self.curves[n].change)[:RUNNING_DRAWN]
        others = [number for number in ranked if number not in running]
        drawn = [*running, *others[: DRAWN - len(running)]]
        varied = self._varied()
        return {
            "settings": [self.settings[name].as_json(name) for name in varied],
            "statuses": [STATUSES[code] for code in np.unique(np.frombuffer(self.statuses, np.int32)[best >= 0])],
            "passing": int(passes.sum()),
            "drawn": [(number, self.curves[number].change) for number in sorted(drawn, key=lambda n: -best[n])],
            "listed": [self._row(number, varied) for number in ranked[:LISTED]],
        }

    def points(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """The curves with these numbers as plain JSON values, each of at most about POINTS points."""
        varied = self._varied()
        return [self._points(number, varied) for number in numbers if 0 <= number < len(self.curves)]

    def _points(self, number: int, varied: list[str]) -> dict[str, Any]:
        curve = self.curves[number]
        last = len(curve.accuracy)
        epochs = sorted({*range(1, last + 1, -(-last // POINTS) or 1), *([last] if last else [])})
        columns = {name: [_rounded(getattr(curve, name)[epoch - 1]) for epoch in epochs] for name in COLUMNS}
        values = _texts(curve.config, varied)
        return {"number": number, "change": curve.change, "values": values, "epochs": epochs, **columns}

    def _row(self, number: int, varied: list[str]) -> dict[str, Any]:
        curve = self.curves[number]
        return {
            "number": number, "values": _texts(curve.config, varied), "status": STATUSES[self.statuses[number]],
            "epochs": len(curve.accuracy), "planned": curve.planned, "best": _rounded(self.best[number]),
            "best_epoch": curve.accuracy.index(self.best[number]) + 1,
            "train_loss": _rounded(curve.train_loss[-1]), "loss": _rounded(curve.loss[-1]),
        }

    def _varied(self) -> list[str]:
        """The settings in which trainings differ; the model, learning rate and batch size if they differ in none."""
        names = sorted(self.settings, key=lambda name: (*FIRST_SETTINGS, name).index(name))  # else as they were met
        return [name for name in names if self.settings[name].varies] or names[: len(FIRST_SETTINGS)]

    def _passing(self, filters: Filters) -> np.ndarray:
        passing = np.ones(len(self.curves), bool)
        for name, wanted in filters.items():
            require(name == "status" or name in self.settings, "a filter is of a setting", repr(name), "mend it")
            _check(wanted)
            if name == "status":
                codes = [code for code, status in enumerate(STATUSES) if status in wanted]
                passing &= np.isin(np.frombuffer(self.statuses, np.int32), codes)
            else:
                passing &= self.settings[name].passing(wanted)
        return passing

    def _number(self, config: TrainingConfig) -> int:
        """The training's number, a new one if it was not met yet."""
        if config not in self.numbers:
            self.numbers[config] = len(self.curves)
            self.curves.append(Curve(config))
            self.statuses.append(STATUSES.index("waiting"))
            self.best.append(-1.0)
            row = config.row()
            for name in row:
                if name not in self.settings:  # those before are of models without it
                    self.settings[name] = Setting(array("i", bytes(4 * (len(self.curves) - 1))))
            for name, setting in self.settings.items():
                setting.add(row.get(name))
        return self.numbers[config]

    def _mark(self, number: int, status: str) -> None:
        code = STATUSES.index(status)
        if self.statuses[number] != code:
            self.statuses[number] = code
            self._changed(number)

    def _changed(self, number: int) -> None:
        self.version += 1
        self.curves[number].change = self.version


def text_of(value: Any) -> str:
    """A setting's value as the page shows it, and as a filter names it."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _rank(value: Any) -> tuple[Any, ...]:
    """By which values are ordered: numbers by their size, then models as they are told, words, and none at all."""
    if isinstance(value, (int, float)):
        return 0, value
    return (2,) if value is None else (1, *place_of(value))


def _texts(config: TrainingConfig, names: list[str]) -> list[str]:
    row = config.row()
    return [text_of(row.get(name)) for name in names]


def _column(record: TrainingRecord, name: str) -> array[float]:
    """A metric by epoch, NaN where there is none."""
    values = (row.get(name) for row in record.epochs)
    return array("d", (math.nan if value is None else value for value in values))


def _highest(numbers: np.ndarray, values: np.ndarray, count: int) -> list[int]:
    """Of `numbers` the `count` with the highest values, highest first."""
    if len(numbers) > count:
        numbers = numbers[np.argpartition(-values[numbers], count - 1)[:count]]
    return [int(number) for number in numbers[np.lexsort((numbers, -values[numbers]))]]


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _check(wanted: Any) -> None:
    if isinstance(wanted, Mapping):
        limits = set(wanted) <= {"least", "most"} and all(isinstance(value, (int, float)) for value in wanted.values())
        require(limits, "limits are numbers, least and most", repr(wanted), "mend the filter")
    else:
        texts = isinstance(wanted, list) and all(isinstance(value, str) for value in wanted)
        require(texts, "a filter is a list of texts, or limits", repr(wanted), "mend it")
