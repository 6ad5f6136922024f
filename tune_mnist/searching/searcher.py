"""A search's trials run under Ray Tune: suggested by Optuna, stopped early by a scheduler, ended as the store says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ray import tune
from ray.tune.search import Searcher
from rich.console import Console

from tune_mnist.running.nodes import live_nodes, slots
from tune_mnist.running.resources import Resources
from tune_mnist.running.runner import OutOfMemory, fit_trials
from tune_mnist.running.scheduling import Asha, InOrder, MedianStopping
from tune_mnist.running.supervisor import Watch
from tune_mnist.running.trial import BROKEN, OUT_OF_MEMORY, run_trial
from tune_mnist.running.trial_data import TrialData
from tune_mnist.running.watching.display import Display
from tune_mnist.running.watching.tracking import Tracking
from tune_mnist.searching.suggesting import distributions
from tune_mnist.searching.trials import ENDED, BegunTrial, Trials
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.training import Context, TrainingConfig, trial_config
from tune_mnist.study.progress import RunState
from tune_mnist.study.training_folder import STOPPED_EARLY

REDUCTION = 2  # of the trainings that reach a rung (of 15 epochs: 3, 6, 12) ASHA lets about half go on
GRACE = 1 / 5  # of the epochs are trained before a training may be stopped: small learning rates start slowly


class StudySearch(Searcher):
    """Hands Optuna's suggestions to Tune and tells Optuna how each trial ended.

    Not Ray's OptunaSearch, of which nothing would be left: its `suggest` makes a Ray trial of every suggestion,
    so that none can be answered from the store; its `on_trial_complete` tells a stopped trial as complete, and
    leaves one whose metric is NaN running for ever; it cannot take up a trial that a kill left; and its `save`
    pickles a second copy of the search's state.
    """

    def __init__(self, trials: Trials, first: BegunTrial | None, watch: Watch) -> None:
        super().__init__()
        self.trials, self.first, self.watch = trials, first, watch
        self.begun: dict[str, BegunTrial] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that never happens here

    def suggest(self, trial_id: str) -> Any:
        begun, self.first = self.first or self.trials.next(), None
        if begun is None:
            return Searcher.FINISHED if self.trials.over() and not self.trials.followers else None
        self.begun[trial_id] = begun
        self.watch.display.state.plan(begun.plan)
        return trial_config([begun.plan])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "epoch" in result:
            self.trials.report(self.begun[trial_id], result["epoch"], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        begun, result = self.begun.pop(trial_id), result or {}
        if not error:
            self.on_trial_last(begun, result)
        self.trials.end(begun, failed=error or OUT_OF_MEMORY in result or BROKEN in result)

    def on_trial_last(self, begun: BegunTrial, result: dict[str, Any]) -> None:
        """Take note of the result with which a trial ended: a stopped one's is told with its end only."""
        if OUT_OF_MEMORY in result:
            self.watch.fail(begun.plan.config, result[OUT_OF_MEMORY])
        elif "epoch" in result:
            self.trials.report(begun, result["epoch"], result)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: it is all in Optuna's storage."""


class Past(NamedTuple):
    """What a scheduler needs of a trial that ended in an earlier run."""

    trial_id: str


def make_scheduler(
    spec: SearchSpec, courses: Iterable[tuple[str, Mapping[int, float]]] = ()
) -> InOrder | None:
    """The early stopping, told the values by epoch of every trial so far: a resumed search stops as it would have."""
    metric, mode = spec.goals[0], {"maximize": "max", "minimize": "min"}[spec.directions[0]]
    if spec.stopping == "none":
        return None
    grace = max(1, int(GRACE * spec.epochs))
    rule: dict[str, Any] = {"time_attr": "epoch", "metric": metric, "mode": mode, "grace_period": grace}
    scheduler: Any
    if spec.stopping == "asha":
        # At the last epoch a training ends by itself, with its folder tidied.
        scheduler = Asha(**rule, max_t=spec.epochs + 1, reduction_factor=REDUCTION)
    else:
        scheduler = MedianStopping(**rule, min_time_slice=float("inf"))  # type: ignore[arg-type] # none is ever paused
    for name, course in courses:
        past = Past(name)
        scheduler.on_trial_add(None, past)
        # The median rule does not bear a result of a trial that it would have stopped.
        feed = scheduler.on_trial_result if spec.stopping == "asha" else scheduler.on_trial_complete
        for epoch, value in course.items():
            feed(None, past, {"epoch": epoch, metric: value})
    return scheduler  # type: ignore[no-any-return]


@dataclass
class SearchState(RunState):
    """Where a search stands: `plans` are the trainings begun so far."""

    trials: Trials | None = None

    @property
    def total_epochs(self) -> int:
        """Model-epochs if every trial ran to its end."""
        return self.trials.spec.trials * self.trials.spec.epochs if self.trials else 0

    def end(self, config: TrainingConfig, status: str) -> None:
        """A training ended; one that its trial's scheduler stopped comes as complete, though it is not at its end."""
        last = self.epochs.get(config, self._planned.get(config, 0))
        stopped = status == "complete" and last < self._planned.get(config, 0)
        super().end(config, STOPPED_EARLY if stopped else status)

    def summary(self) -> str:
        """One line: trials by how they ended, model-epochs reported, best so far."""
        assert self.trials is not None
        counts = self.trials.counts()
        outcomes = ", ".join(f"{counts[name]} {word}" for name, word in ENDED.items() if counts[name])
        trials = f"{sum(counts[name] for name in ENDED)}/{self.trials.spec.trials} trials"
        parts = [f"{trials} ({outcomes or 'none ended'})", f"{len(self.running)} running"]
        parts.append(f"{self.reported} model-epochs")
        if self.best is not None:
            accuracy, config, epoch = self.best
            parts.append(f"best {self.accuracy} {accuracy:.2%} ({self.label(config)}, epoch {epoch})")
        return ", ".join(parts)


def run_search_trials(
    trials: Trials, first: BegunTrial | None, data: TrialData, context: Context, resources: Resources, console: Console,
    tracking: Tracking,
) -> None:
    """Run trials in an open `ray_session` until the search is over, `first` being the next; ends all it begins.

    When memory runs out, the trainings that were running go on later, one at a time.

    Raises:
        UserError: the study cannot be written to, or no node can hold a trial any more.
        KeyboardInterrupt: a signal came; every finished epoch is in the study, and no trial is left running.
    """
    spec, study = trials.spec, trials.study
    trainable = tune.with_parameters(run_trial, data=data, context=context, study=study)
    at_once = max(1, slots(resources, live_nodes()))  # Optuna is begun for no more, as it learns meanwhile
    try:
        varying = tuple(dict.fromkeys(name.rpartition(".")[2] for name in distributions(spec.space)))
        with Display(SearchState([], spec.accuracy, trials=trials, varying=varying), console) as display:
            while first is not None:
                watch = Watch(display, study, context, resources)
                searcher = StudySearch(trials, first, watch)
                try:
                    scheduler = make_scheduler(spec, trials.courses())
                    fit_trials(trainable, searcher, spec.trials, watch, tracking, at_once, scheduler)
                except OutOfMemory as error:
                    display.tell("OutOfMemoryError: Ray ended a worker because the machine ran out of memory")
                    if at_once == 1:  # nobody else's appetite
                        for begun in searcher.begun.values():
                            watch.fail(begun.plan.config, str(error))
                            trials.end(begun, failed=True)
                    at_once = 1
                    trials.clear_running()
                first = trials.next()
    finally:
        trials.clear_running()
