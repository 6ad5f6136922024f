"""A study's trainings as they were planned, each with what is known of it, in the order that breaks ties."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tune_mnist.spec.models import place_of
from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.spec.words.naming import sort_key
from tune_mnist.study.training_folder import TrainingRecord
from tune_mnist.tables.courses import Course, budgets_of, courses_of

SWEPT = ("model", "lr", "batch_size", "seed")


class Training(NamedTuple):
    """A planned training."""

    config: TrainingConfig
    settings: dict[str, Any]
    """Its config's row."""
    budgets: list[int]
    """The epochs at which it is looked at, ascending."""
    course: Course | None

    @property
    def shown(self) -> int:
        """How many of its epochs are planned, and so shown."""
        return 0 if self.course is None else self.course.up_to(self.budgets[-1])


def trainings_of(
    planned: Sequence[PlannedTraining], records: Iterable[TrainingRecord], metrics: list[str], correct: str
) -> list[Training]:
    """Each planned config once, with all its budgets and its course, in the order that breaks ties.

    `metrics` and `correct` name the records' columns.
    """
    budgets = budgets_of(planned)
    courses = courses_of(budgets, records, metrics, correct)
    trainings = [Training(config, config.row(), each, courses.get(config)) for config, each in budgets.items()]
    further = _that_order([each.settings for each in trainings])
    return sorted(trainings, key=lambda training: _order(training.settings, further))


def _that_order(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of the further settings that have more than one value among the trainings of some model."""
    names = dict.fromkeys(itertools.chain(*settings))
    models = len({each["model"] for each in settings})
    values = {name: {(each["model"], each.get(name)) for each in settings} for name in names if name not in SWEPT}
    return [name for name, pairs in values.items() if len(pairs) > models]


def _order(settings: Mapping[str, Any], further: Sequence[str]) -> tuple[Any, ...]:
    """What sorts trainings: model, lr, batch size, seed, and `further` settings, of which those without come first."""
    values = [settings.get(name) for name in further]
    swept = [settings[name] for name in SWEPT[1:]]
    return place_of(settings["model"]), *swept, *(sort_key(0 if value is None else value) for value in values)
