"""A search's trials in Optuna's storage, which the driver alone writes: opened, begun, answered, ended.

A trial's training is in the study's folder under its key; what Optuna is told is read from there. If a kill left a
trial running, the very same trial is queued again: it goes on from the epochs that the study has, counts once, and a
kill costs the search no trial.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from tune_mnist.searching.samplers import make_sampler
from tune_mnist.searching.storage import open_storage, quiet, storage_errors
from tune_mnist.searching.suggesting import changed_fixed, distributions, fixed, params_of, settings_of, size, suggest
from tune_mnist.spec.errors import require
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.files import Corrupt, read_json, write_json
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import STOPPED_EARLY, TrainingRecord
from tune_mnist.training.dataset import CLASSES

DATABASE = "optuna.db"
KEY, WARM, FROM = "training", "warm_start", "answered_from"
"""Names of a trial's user attributes: its training's key; the study of a warm-start trial; "store" if not trained."""

ENDED = {"complete": "complete", "pruned": STOPPED_EARLY, "fail": "failed"}
"""How Optuna's trials end, and what that is called here."""


@dataclass(frozen=True)
class BegunTrial:
    """A trial that is running, and the training that answers it."""

    trial: Trial
    plan: PlannedTraining
    key: str


class Trials:
    """The trials of one search. Use in the one process that holds the study's lock."""

    def __init__(
        self, study: Study, spec: SearchSpec, context: Context, url: str | None = None, *, classes: int = CLASSES
    ) -> None:
        """Open the search's Optuna study, or make it, and end what a kill left running.

        `url` is Optuna's storage, in the study's folder if None; `classes` how many the data have.

        Raises:
            UserError: the storage cannot be opened, or holds another search, or one with another purpose.
        """
        self.study, self.spec, self.context, self.classes = study, spec, context, classes
        self.deadline = math.inf if spec.timeout is None else time.monotonic() + spec.timeout
        self.storage = open_storage(url or f"sqlite:///{study.folder / DATABASE}")
        with quiet(), storage_errors():
            self.optuna = optuna.create_study(
                storage=self.storage, study_name=study.name, directions=spec.directions, load_if_exists=True
            )
            check_purpose(self.optuna, spec, context, owner_of(study))
            self.optuna.set_metric_names(list(spec.goals))
            self.optuna.sampler = make_sampler(spec, len(self.all()))
        self.running: dict[str, BegunTrial] = {}
        self.followers: list[BegunTrial] = []
        self.clear_running()

    def all(self) -> list[FrozenTrial]:
        """Every trial, in order."""
        return self.optuna.get_trials(deepcopy=False)

    def counts(self) -> Counter[str]:
        """How many of the search's own trials are complete, pruned, fail, running and waiting."""
        return Counter(trial.state.name.lower() for trial in self.all() if WARM not in trial.user_attrs)

    def progress(self) -> str:
        """How many trials there are to be and how the search's own ones so far ended, in words."""
        counts = self.counts()
        ended = ", ".join(f"{counts[name]} {word}" for name, word in ENDED.items())
        return f"{self.spec.trials} trials: {ended}, {counts['waiting']} to go on with"

    def over(self) -> bool:
        """Whether no further trial is to be begun."""
        counts = self.counts()
        begun_count = sum(counts.values()) - counts["waiting"]
        if begun_count >= self.spec.trials or time.monotonic() >= self.deadline:
            return True
        return self.spec.sampler == "grid" and not counts["waiting"] and self._tried() >= size(self.spec.space)

    def next(self) -> BegunTrial | None:
        """Begin the next trial whose training has to be run; those that the store can answer are ended on the way.

        None if there is none to begin, or none before one that is running has ended, as it answers another too.
        """
        while not self.followers and not self.over():
            begun = self._begin()
            record = self._record(begun)
            if begun.key in self.running:
                self.followers.append(begun)
            elif record.status in ("complete", "diverged"):
                begun.trial.set_user_attr(FROM, "store")
                self._tell(begun, record)
            else:
                self.running[begun.key] = begun
                return begun
        return None

    def report(self, begun: BegunTrial, epoch: int, row: Mapping[str, Any]) -> None:
        """Note a running trial's epoch, unless there are several objectives, of which Optuna keeps no course."""
        value = row.get(self.spec.goals[0])
        if self.spec.by_epoch and value is not None and math.isfinite(value):
            reported = self.storage.get_trial(begun.trial._trial_id).intermediate_values
            if epoch not in reported:
                begun.trial.report(value, epoch)

    def end(self, begun: BegunTrial, *, failed: bool = False) -> None:
        """End a running trial by what the store has: complete, diverged (told as failed), or stopped early (pruned)."""
        del self.running[begun.key]
        self._tell(begun, self._record(begun), failed=failed)
        first = self.storage.get_trial(begun.trial._trial_id)
        followers, self.followers = self.followers, []
        for follower in followers:
            if follower.key != begun.key:
                self.followers.append(follower)
                continue
            follower.trial.set_user_attr(FROM, "store")
            for epoch, value in first.intermediate_values.items():
                self.report(follower, epoch, {self.spec.goals[0]: value})
            self._tell(follower, self._record(follower), failed=failed)

    def clear_running(self) -> None:
        """Leave no trial running: each waits to be gone on with."""
        self.running, self.followers = {}, []
        for trial in self.all():
            if trial.state == TrialState.RUNNING:
                self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def courses(self) -> Iterator[tuple[str, dict[int, float]]]:
        """The values by epoch of every finished trial, for a scheduler that is to know them."""
        for trial in self.all():
            if trial.state.is_finished():
                yield f"optuna-{trial.number}", dict(sorted(trial.intermediate_values.items()))

    def has(self, config: TrainingConfig) -> bool:
        """Whether the search could suggest this very training."""
        space = self.spec.space
        return params_of(space, config) is not None and self.spec.planned(settings_of(space, config)).config == config

    def add_warm(self, record: TrainingRecord, source: str) -> bool:
        """Enter a training of another study as a finished trial; False if the space has it not, or it is here."""
        params_and_distributions = params_of(self.spec.space, record.config) if self.has(record.config) else None
        key = training_key(record.config, self.context)
        known = {trial.user_attrs.get(KEY) for trial in self.all()}
        if params_and_distributions is None or not record.epochs or key in known:
            return False
        params, distributions = params_and_distributions
        state, values = self._outcome(record)
        self.optuna.add_trial(optuna.trial.create_trial(
            state=state, values=values, params=params, distributions=distributions,
            user_attrs={KEY: key, WARM: source},
            intermediate_values=self._values_by_epoch(record) if self.spec.by_epoch else None,
        ))
        return True

    def _begin(self) -> BegunTrial:
        with quiet():
            trial = self.optuna.ask()
            settings = suggest(self.spec.space, trial)
        plan = self.spec.planned(settings)
        key = training_key(plan.config, self.context)
        trial.set_user_attr(KEY, key)
        self._keep()
        self.study.add(self.spec.training(settings), self.context)
        return BegunTrial(trial, plan, key)

    def _record(self, begun: BegunTrial) -> TrainingRecord:
        return self.study.training(begun.key).record(begun.plan.config, self.spec.epochs)

    def _tell(self, begun: BegunTrial, record: TrainingRecord, *, failed: bool = False) -> None:
        state, values = self._outcome(record)
        if state == TrialState.COMPLETE or record.status == "diverged":
            for epoch, value in self._values_by_epoch(record).items():
                self.report(begun, epoch, {self.spec.goals[0]: value})
        if failed and state != TrialState.COMPLETE:
            state = TrialState.FAIL
        # A pruned trial's value is its last epoch's, which Optuna takes itself.
        with quiet():
            self.optuna.tell(begun.trial, values if state == TrialState.COMPLETE else None, state=state)
        self._keep()

    def _keep(self) -> None:
        """Keep Optuna's database with the study, if it is a file there: no transaction is open now."""
        if (self.study.folder / DATABASE).exists():
            self.study.storage.keep([self.study.folder / DATABASE])

    def _outcome(self, record: TrainingRecord) -> tuple[TrialState, list[float] | None]:
        """How a training with this record ended, and its objectives: of a pruned one the last epoch's."""
        rows = record.epochs[: self.spec.epochs]
        if record.status == "diverged":
            return TrialState.FAIL, None
        if len(rows) < self.spec.epochs:
            last = self._values_by_epoch(record)
            return TrialState.PRUNED, [last[max(last)]] if last and self.spec.by_epoch else None
        values = [self._objective(name, record) for name in self.spec.goals]
        if all(value is not None and math.isfinite(value) for value in values):
            return TrialState.COMPLETE, values  # type: ignore[return-value]
        return TrialState.FAIL, None

    def _values_by_epoch(self, record: TrainingRecord) -> dict[int, float]:
        values = {row["epoch"]: row.get(self.spec.goals[0]) for row in record.epochs[: self.spec.epochs]}
        return {epoch: value for epoch, value in values.items() if value is not None and math.isfinite(value)}

    def _tried(self) -> int:
        tried = {tuple(sorted(trial.params.items())) for trial in self.all() if trial.state != TrialState.WAITING}
        return len(tried)

    def _objective(self, name: str, record: TrainingRecord) -> float | None:
        """An objective's value after the search's epochs: of a whole training, or of its last epoch."""
        epochs = self.spec.epochs
        if name == "parameters":
            from tune_mnist.training.models import build_model

            model = build_model(record.config, classes=self.classes)
            return float(sum(weights.numel() for weights in model.parameters()))
        if name == "train_seconds":
            times = [row["train_seconds"] for row in record.timings if row["epoch"] <= epochs]
            return math.fsum(times) / len(times) * epochs if times else None
        return record.epochs[epochs - 1].get(name)


def owner_of(study: Study) -> str:
    """A random word kept in the study's folder, by which its Optuna study is known as its own."""
    path = study.folder / "optuna.json"
    try:
        return str(read_json(path)["owner"])
    except (FileNotFoundError, Corrupt):
        word = secrets.token_hex(8)
        write_json(path, {"owner": word})
        study.storage.keep([path])
        return word


def check_purpose(study: optuna.Study, spec: SearchSpec, context: Context, owner: str) -> None:
    """Note what an Optuna study is for, or check that this is what it was made for.

    Raises:
        UserError: it belongs to another folder, or has other objectives, epochs, data or parameters.
    """
    purpose = {
        "objectives": list(spec.goals), "epochs": spec.epochs, "fixed": fixed(spec.space), "owner": owner,
        "protocol": context.protocol, "data_sha256": context.data_sha256, "head": spec.head,
    }
    stored = study.user_attrs.get("search")
    if stored is None:
        require(not study.trials, "the Optuna study is a search's", study.study_name, "choose another --name")
        study.set_user_attr("search", purpose)
        return
    changed = changed_fixed(spec.space, stored.get("fixed", {}))
    if not changed:  # settings that came later are at their default
        purpose["fixed"] = stored.get("fixed")
    for name, value in purpose.items():
        was = "the storage's study is another folder's" if name == "owner" else f"{name} was {stored.get(name)}"
        require(stored.get(name) == value, f"a search keeps its {name}", was, "choose another --name")
    for trial in study.trials:
        for name, old in trial.distributions.items():
            new = distributions(spec.space).get(name, old)
            try:
                optuna.distributions.check_distribution_compatibility(old, new)
            except ValueError:
                change = f"{name} was {old}, is {new}"
                require(False, "a search keeps its lists of values", change, "choose another --name, with --warm-start")
