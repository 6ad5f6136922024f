"""The conductor of a grid: check, lock, run what is missing, score the winners, write the results."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.experiment import DRAWING, Experiment, check_experiment, open_study, say, score, session, ways
from tune_mnist.reporting.outcome import Outcome, outcome_of
from tune_mnist.running.resources import Resources
from tune_mnist.running.surroundings import give_home
from tune_mnist.running.watching.tracking import Tracking
from tune_mnist.shell.about import about_run
from tune_mnist.shell.process_state import process_state_kept
from tune_mnist.spec.places import STORAGE, home_expanded
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, training_key
from tune_mnist.study.rounds import DECIDED, Round
from tune_mnist.study.storage.opening import storage_at
from tune_mnist.study.study import Study

if TYPE_CHECKING:
    from ray.tune import ResultGrid
    from rich.console import Console

    from tune_mnist.tables.analyse import Tables


@dataclass(frozen=True, repr=False)
class GridResult:
    """The outcome of a grid: its study's path and tables, and Ray's results of the trials that ran now."""

    folder: Path
    outcome: Outcome
    """To what the study came, in plain values."""
    result_grid: ResultGrid | None = None
    """None if the study already held every training."""
    made_tables: Tables | None = None

    @functools.cached_property
    def tables(self) -> Tables:
        """The study's tables: those just made, or read from its trainings when first asked for."""
        from tune_mnist.tables.of_study import load_study

        return load_study(self.folder) if self.made_tables is None else self.made_tables

    def __repr__(self) -> str:
        from tune_mnist.reporting.outcome import in_short

        return in_short(self.folder, self.tables)

    def _repr_html_(self) -> str:
        from tune_mnist.reporting.outcome import as_html

        return as_html(self.folder, self.tables)


@process_state_kept()
def run_grid(
    spec: StudySpec | None = None, *, name: str = "grid", storage: Path = STORAGE,
    resources: Resources | None = None, tracking: Tracking | None = None, fresh: bool = False, download: bool = False,
    keep_ray: bool = True, console: Console | None = None,
) -> GridResult:
    """Train what the study STORAGE/NAME lacks of a grid, score the winners, write tables, figures and page.

    The arguments are those of `python -m tune_mnist.grid`; progress goes to `console` (stderr). With `keep_ray` Ray,
    started here, lives on for the next run, until the program ends or calls `ray.shutdown()`.

    Raises:
        UserError: bad input, before anything is written and before Ray starts.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    path, spec, tracking = home_expanded(Path(storage)) / name, spec or StudySpec(), tracking or Tracking()
    storage_at(path).refuse()  # before the heavy imports: a refusal should be quick
    give_home()
    from rich.console import Console

    console = console or Console(stderr=True)
    tracking.check()
    experiment = check_experiment(spec, resources or Resources(), download=download)
    with open_study(path, fresh=fresh) as study:
        return run_experiment(experiment, study, console, tracking, keep_ray=keep_ray)


def run_experiment(
    experiment: Experiment, study: Study, console: Console, tracking: Tracking, *, keep_ray: bool = False
) -> GridResult:
    """Run in the opened `study` what it lacks, score its winners, and write its tables and figures."""
    context, resources = experiment.context, experiment.resources
    study.add(experiment.spec, context, about_run())
    rounds = missing_by_rounds(study, experiment.spec, context, console)
    missing = next(rounds, [])
    if missing:
        say(console, f"{study.name}: {ways(experiment, missing)}")
    else:
        from tune_mnist.reporting.standing_results import standing_outcome

        if (outcome := standing_outcome(study)) is not None:
            say(console, "nothing has changed: tables, figures and page stand")
            return GridResult(study.path, outcome)
        from tune_mnist.tables.of_study import tables_of, winners_to_score

        tables = tables_of(study)
        if not winners_to_score(study, tables):
            say(console, DRAWING)
            return GridResult(study.path, outcome_of(tables), None, finished(experiment, study, tables))
    results = None
    with ThreadPoolExecutor(1) as beside:
        with session(experiment, study, console, keep=keep_ray) as data:
            while missing:
                from tune_mnist.running.runner import run_trainings

                results = run_trainings(missing, data, context, study, resources, console, tracking)
                missing = next(rounds, [])
            from tune_mnist.reporting.publish import cell_figures
            from tune_mnist.tables.of_study import tables_of

            tables = tables_of(study)
            say(console, DRAWING)
            drawing = beside.submit(cell_figures, tables)  # while winners are scored
            score(experiment, study, data, console, tables)
            writing_results = beside.submit(finished, experiment, study, None, drawing)  # while Ray shuts down
        tables = writing_results.result()
        return GridResult(study.path, outcome_of(tables), results, tables)


def finished(
    experiment: Experiment, study: Study, tables: Tables | None = None,
    drawing: Future[dict[str, bytes]] | None = None,
) -> Tables:
    """Tidy the study up, write its tables, which may be at hand, and figures, of which some may be; return the tables.
    """
    from tune_mnist.reporting.publish import write_results
    from tune_mnist.tables.of_study import tables_of

    study.tidy()
    study.storage.mirror(study.folder / "tensorboard")
    tables = tables or tables_of(study)
    write_results(study, tables, drawn=drawing.result() if drawing else None, dataset=experiment.dataset)
    return tables


def missing_trainings(
    study: Study, plans: Sequence[PlannedTraining], context: Context, console: Console
) -> list[PlannedTraining]:
    """The planned trainings that are neither complete nor diverged; says how many there are of each kind."""
    study.storage.refresh()
    missing: list[PlannedTraining] = []
    begun = 0
    for plan in plans:
        folder = study.training(training_key(plan.config, context))
        folder.repair(plan.config, context)
        status, epochs = folder.standing(plan.epochs)
        if status in ("unfinished", "failed"):
            missing.append(plan)
            begun += epochs > 0
    line = f"{len(plans) - len(missing)} done, {begun} to go on with, {len(missing) - begun} to start"
    say(console, f"{study.name}: {len(plans)} trainings: {line}")
    return missing


def missing_by_rounds(
    study: Study, spec: StudySpec, context: Context, console: Console
) -> Iterator[list[PlannedTraining]]:
    """What the study lacks of the spec, each part to be trained before the next is asked for; never an empty one.

    All of it at once; but if seeds are added, the first ones, and then round by round those of the trainings still in
    contention. The rounds follow from the spec's own trainings alone: to resume is to go through them again.
    """
    plans = spec.trainings()
    if missing := missing_trainings(study, plans, context, console):
        yield missing
    if not spec.adds_seeds:
        return
    from tune_mnist.tables.contention import contention

    rounds: list[Round] = []
    for seeds in range(spec.first_seeds, spec.most_seeds + 1):
        seen = contention(spec, seeds, plans, study.records(plans, context))
        known = {plan.config for plan in plans}
        more = [] if seen.in_contention <= DECIDED or seeds == spec.most_seeds else [
            plan for plan in spec.trainings(seeds + 1)
            if plan.config not in known and dataclasses.replace(plan.config, seed=0) in seen.trainings
        ]
        added = tuple(training_key(plan.config, context) for plan in more)
        rounds.append(Round(seeds, seen.cells, seen.in_contention, added))
        study.record_rounds(spec, rounds)
        say(console, f"{study.name}: with {seeds} seeds {seen.in_contention} of {seen.cells} cells are in contention")
        if not more:
            return
        plans = [*plans, *more]
        if missing := missing_trainings(study, more, context, console):
            yield missing
