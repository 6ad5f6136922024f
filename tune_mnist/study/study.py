"""The durable study folder: the single truth about what was asked for and what is done."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import from_mapping
from tune_mnist.spec.training import SETTINGS, Context, PlannedTraining, training_key
from tune_mnist.study.files import (
    Corrupt,
    make_folder,
    read_json,
    remove_leftovers,
    warn_and_set_aside,
    write_json,
)
from tune_mnist.study.layout import training_path
from tune_mnist.study.own_models import MODELS, models_in, save_model
from tune_mnist.study.rounds import Round
from tune_mnist.study.storage.base import Storage
from tune_mnist.study.storage.folder import FolderStorage
from tune_mnist.study.training_folder import TrainingFolder, TrainingRecord


class Study:
    """A study: the folder STORAGE/NAME, or what another `Storage` has of it in a folder of this process."""

    def __init__(self, kept: Path | Storage) -> None:
        self.storage = kept if isinstance(kept, Storage) else FolderStorage(kept.absolute())

    @property
    def folder(self) -> Path:
        """Where the study's files are read and written."""
        return self.storage.folder

    @property
    def path(self) -> Path:
        """What names the study to users."""
        return self.storage.path

    @property
    def name(self) -> str:
        return self.path.name

    def training(self, key: str) -> TrainingFolder:
        """The folder of the training with this key, existing or not."""
        return TrainingFolder(training_path(self.folder / "trainings", key), self.storage)

    def create(self) -> None:
        """Make the folder's inside, if need be, and clear what killed writers left.

        Raises:
            UserError: the folder cannot be written to.
        """
        make_folder(self.folder / "trainings")
        remove_leftovers(self.folder)
        self.storage.check_writable()

    def describe(self) -> dict[str, Any]:
        """study.json's content.

        Raises:
            UserError: there is none, or it is damaged.
        """
        try:
            return read_json(self.folder / "study.json")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{shown(self.path)} is not a study: name a folder that holds a study.json") from None
        except Corrupt as problem:
            raise UserError(f"{shown(self.path)}: {problem}: restore it, or run the study's command again") from None

    def add(self, spec: StudySpec | None, context: Context, about: dict[str, Any] | None = None) -> None:
        """Record that `spec` belongs to the study, and what is known of a run that begins (`about`); None adds nothing.

        Raises:
            UserError: the study was made under another protocol or on other data.
        """
        path = self.folder / "study.json"
        content: dict[str, Any] = {"specs": [], "runs": []}
        if path.exists():
            try:
                content = read_json(path)
            except Corrupt as problem:
                warn_and_set_aside(path, str(problem))
        for name in ("protocol", "data_sha256"):
            value = getattr(context, name)
            recorded = content.setdefault(name, value)
            if recorded != value:
                raise UserError(
                    f"study {self.name} has {name} {recorded}, but this run has {value}: choose another --name"
                )
        content["context"] = context.content
        for model in spec.sources if spec is not None else ():
            save_model(self.folder / MODELS / model.name, model)
        if spec is not None and spec.sources:
            self.storage.mirror(self.folder / MODELS)
        if spec is not None:
            as_json = _as_json(spec.content())
            if as_json not in map(_as_now, content["specs"]):
                content["specs"].append(as_json)
        if about is not None:
            content["runs"].append(about)
        self._write(content)

    def specs(self) -> list[StudySpec]:
        """Every spec that the study was asked for, the first one first."""
        described, models = self.describe()["specs"], models_in(self.folder)
        return [
            from_mapping(StudySpec, spec, f"{self.name}, spec {number}", sources=models)
            for number, spec in enumerate(described, 1)
        ]

    def rounds(self) -> list[tuple[StudySpec, list[Round]]]:
        """The specs whose seeds are added, each with the rounds done so far."""
        recorded = self.describe().get("rounds", {})
        return [
            (spec, [Round(**{**each, "added": tuple(each["added"])}) for each in recorded.get(str(number), [])])
            for number, spec in enumerate(self.specs()) if spec.adds_seeds
        ]

    def record_rounds(self, spec: StudySpec, rounds: Sequence[Round]) -> None:
        """Record the rounds of one of the study's specs; those that a run does again, resuming, stay as they are."""
        content = self.describe()
        number = str(list(map(_as_now, content["specs"])).index(_as_json(spec.content())))
        recorded = content.setdefault("rounds", {})
        as_json = [_as_json(dataclasses.asdict(each)) for each in rounds]
        if recorded.get(number, [])[: len(as_json)] != as_json:
            recorded[number] = as_json
            self._write(content)

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.folder / "study.json", content)
        self.storage.keep([self.folder / "study.json"])

    def search(self) -> dict[str, Any] | None:
        """What the study's search is, if it has one: see `record_search`."""
        found: dict[str, Any] | None = self.describe().get("search")
        return found

    def record_search(self, command: str, *, over: bool) -> None:
        """Record a search of the study: the command line that asks for it again, and whether all its trials are over.

        Then a training that is not at its end was stopped early.
        """
        content = self.describe()
        search = {"command": command, "over": over}
        if content.get("search") != search:
            self._write(content | {"search": search})

    def planned(self) -> list[PlannedTraining]:
        """Every training of every spec of the study once, with the union of its budgets, in a fixed order.

        Of specs whose seeds are added, those that were asked for so far.
        """
        added = [key for _, rounds in self.rounds() for each in rounds for key in each.added]
        return list(_planned(tuple(self.specs()), frozenset(added), self.context() if added else None))

    def context(self) -> Context:
        """The context of the study's trainings."""
        return Context(**self.describe()["context"])

    def tidy(self) -> None:
        """Drop the states that finished trainings kept for the scoring of cells with fewer epochs."""
        context = self.context()
        for plan in self.planned():
            self.training(training_key(plan.config, context)).tidy(plan.epochs)

    def records(self, planned: Iterable[PlannedTraining], context: Context) -> Iterator[TrainingRecord]:
        """The record of each planned training, in the same order, read when asked for: all are large."""
        for plan in planned:
            yield self.training(training_key(plan.config, context)).record(plan.config, plan.epochs)


def _as_json(recorded: Any) -> Any:
    """As it reads in study.json."""
    return json.loads(json.dumps(recorded, default=str))


def _as_now(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec of study.json as it is recorded now: before every setting could have several values they had a table."""
    recipe = spec.get("recipe", {})
    changed = {name: [value] for name, value in recipe.items() if value != SETTINGS[name].default}
    return {name: value for name, value in spec.items() if name != "recipe"} | changed


@functools.lru_cache(maxsize=2)  # a command asks again and again, and 10,000 take a second
def _planned(
    specs: tuple[StudySpec, ...], added: frozenset[str], context: Context | None
) -> tuple[PlannedTraining, ...]:
    """The specs' trainings as `Study.planned` has them; of seeds that are added, those of the keys `added`."""
    plans: dict[str, PlannedTraining] = {}
    for spec in specs:
        for plan in spec.trainings(spec.most_seeds):
            later = plan.config.seed >= spec.first_seeds
            if later and (context is None or training_key(plan.config, context) not in added):
                continue
            identity = plan.config.canonical
            known = plans.setdefault(identity, plan)
            plans[identity] = PlannedTraining(known.config, tuple(sorted({*known.budgets, *plan.budgets})))
    return tuple(sorted(plans.values(), key=lambda plan: repr(plan.config)))
