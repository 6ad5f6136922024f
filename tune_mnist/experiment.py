"""What grid and search share: input checked, the study locked, Ray started, the winners scored."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.running.resources import Resources
from tune_mnist.running.trial_data import TrialData, test_pictures, trial_data
from tune_mnist.spec.errors import require
from tune_mnist.spec.models import is_fully_connected
from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig
from tune_mnist.study.own_models import remember
from tune_mnist.study.storage.opening import storage_at
from tune_mnist.study.study import Study
from tune_mnist.training.dataset import CLASSES, Dataset, TrainingData, load_dataset, training_data
from tune_mnist.training.steps.ways import way_of

# What is heavy, torch and pandas among it, is imported where it is used: while Ray starts, or after.
if TYPE_CHECKING:
    from rich.console import Console

    from tune_mnist.tables.analyse import Tables

DRAWING = "drawing figures"
STARTED_SECONDS, OWN_SECONDS = 10.0, 1.0
"""How long after Ray trials have started, too; a model of one's own is often tried in a trial or two, at once over."""


@dataclass(frozen=True)
class Experiment:
    """A spec with its data loaded and everything checked; nothing is written yet."""

    spec: StudySpec
    resources: Resources
    dataset: Dataset
    data: TrainingData
    context: Context
    epoch_seconds: Mapping[str, float] = field(default_factory=dict)
    """By model of one's own about how long an epoch takes on one CPU."""


def check_experiment(
    spec: StudySpec, resources: Resources, *, configs: Iterable[TrainingConfig] | None = None, download: bool = False
) -> Experiment:
    """Load the spec's data and check what can be checked before anything is written or Ray is started.

    Models of one's own are tried with the `configs`, by default those of the spec.

    Raises:
        UserError: bad data files, a batch larger than the training set, too few CPUs or GPUs, or a model that fails.
    """
    resources.check_this_machine()
    dataset = load_dataset(spec.dataset, spec.data, download=download)
    data = training_data(dataset, spec.protocol)
    most = len(data.train_labels)
    for size in spec.batch_size:
        require(size <= most, f"batch_size <= {most}", size, "lower --batch-size")
    context = Context(
        protocol=spec.protocol, data_sha256=data.sha256, device=resources.device, threads=resources.threads
    )
    seconds: dict[str, float] = {}
    if spec.sources:
        from tune_mnist.training.trying import try_models

        seconds = try_models((plan.config for plan in spec.trainings(1)) if configs is None else configs, data)
        remember(spec.sources)
    return Experiment(spec, resources, dataset, data, context, seconds)


def ways(experiment: Experiment, plans: Sequence[PlannedTraining]) -> str:
    """Which way how many trainings go, in words, and about how long an epoch takes of those that were tried."""
    classes, device = experiment.data.classes, experiment.context.device
    counts = Counter(way_of(plan.config, device, classes) for plan in plans)
    parts = [f"{count} by {way}" for way, count in counts.most_common()]
    models = {plan.config.model for plan in plans}
    parts += [
        f"an epoch of {model} takes about {seconds:.0f} s on a CPU"
        for model, seconds in experiment.epoch_seconds.items() if model in models and device == "cpu"
    ]
    return ", ".join(parts)


@contextlib.contextmanager
def open_study(path: Path, *, fresh: bool = False) -> Iterator[Study]:
    """The study at `path`, made if need be, locked for this process; `fresh` first moves an old one aside.

    Nothing is written before the lock is held.

    Raises:
        UserError: `path` cannot be written to, is no study's but not empty, or another run holds the study.
        KeyboardInterrupt: one of the block, with how to go on as its text.
    """
    storage = storage_at(path)
    command, old = "the same command", ""
    try:
        with storage.hold(fresh) as aside:
            if aside is not None:
                command, old = "the same command without --fresh", f"; the old study is in {shown(aside)}"
            study = Study(storage)
            study.create()
            yield study
    except KeyboardInterrupt:
        how = f"stopped; every finished epoch is in {shown(path)}: {command} goes on from there{old}"
        raise KeyboardInterrupt(how) from None


@contextlib.contextmanager
def session(experiment: Experiment, study: Study, console: Console, *, keep: bool = False) -> Iterator[TrialData]:
    """A `ray_session` with the pictures that every trial needs, which are made while Ray starts.

    So is the code of the steps, where this machine has none yet. What the end of a run needs is imported while trials
    run. With `keep` a session that is started here lives on.
    """
    ray, address = sys.modules.get("ray"), experiment.resources.address
    if ray is None or not ray.is_initialized():  # else a session of the program's own
        say(console, "starting Ray" if address is None else f"joining Ray at {address}")
    from tune_mnist.running.session import ray_session

    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        making = beside.submit(trial_data, experiment.data, experiment.context.device)
        compiling = beside.submit(_compile, experiment, console, over)
        try:
            with ray_session(experiment.resources, console, study.storage, keep=keep):
                compiling.result()
                beside.submit(_load_end, over, bool(experiment.spec.sources))
                yield making.result()
        finally:
            over.set()


def _compile(experiment: Experiment, console: Console, over: threading.Event) -> None:
    """Compile the steps if trials on this machine's processors will call them for the first time."""
    here = experiment.context.device == "cpu" and experiment.resources.address is None
    calls_them = experiment.data.classes == CLASSES and any(map(is_fully_connected, experiment.spec.models))
    if not here or not calls_them:
        return
    from tune_mnist.training.steps.compiling import compile_in_child, is_compiled

    if not is_compiled():
        say(console, "compiling, first time only")
        compile_in_child(over)


def _load_end(over: threading.Event, has_own: bool) -> None:
    """Import what scores, draws and writes once trials have started, unless the run is `over`: the end would wait."""
    if not over.wait(OWN_SECONDS if has_own else STARTED_SECONDS):
        import sklearn.calibration  # noqa: F401

        import tune_mnist.reporting.publish  # noqa: F401

        if has_own:
            import torch._dynamo  # noqa: F401  # which torch's optimisers do, too


def unscored(study: Study) -> bool:
    """Whether some of the study's winners have no test score yet."""
    from tune_mnist.tables.of_study import winners_to_score

    return bool(winners_to_score(study))


def score(
    experiment: Experiment, study: Study, data: TrialData, console: Console, tables: Tables | None = None
) -> None:
    """Score the study's winners that have no test score yet, by its `tables` if at hand, in an open session."""
    from tune_mnist.running.runner import score_winners
    from tune_mnist.tables.of_study import winners_to_score

    winners = winners_to_score(study, tables)
    if winners:
        say(console, f"scoring {len(winners)} winners on the test set")
        test = test_pictures(experiment.dataset, experiment.context.device)
        score_winners(winners, data, test, experiment.context, study, experiment.resources)


def say(console: Console, line: str) -> None:
    """Show a line that stays."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
