"""A study made by plain loops, one training after the other, without Ray."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from tune_mnist.experiment import check_experiment
from tune_mnist.grid_experiment import missing_by_rounds
from tune_mnist.running.resources import Resources
from tune_mnist.running.scoring import score_training
from tune_mnist.running.trial import run_training
from tune_mnist.running.trial_data import test_pictures, trial_data
from tune_mnist.shell.about import about_run
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import training_key
from tune_mnist.study.files import write_atomic
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import write_tables
from tune_mnist.tables.of_study import tables_of, winners_to_score


def plain_study(spec: StudySpec, folder: Path) -> Study:
    """The study of `spec` in a new `folder`, without figures."""
    ready = check_experiment(spec, Resources())
    data, context, test = trial_data(ready.data), ready.context, test_pictures(ready.dataset)
    folder.mkdir(parents=True)
    study = Study(folder)
    study.create()
    study.add(spec, context, about_run())
    torch.set_num_threads(1)
    for plans in missing_by_rounds(study, spec, context, Console(quiet=True)):
        for plan in plans:
            for _ in run_training(plan, data, context, study.training(training_key(plan.config, context))):
                pass
    for config, epochs in winners_to_score(study):
        score_training(config, epochs, data, test, context, study)
    study.tidy()
    write_tables(tables_of(study), study.folder, write_atomic)
    return study
