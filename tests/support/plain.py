"""A study made by plain loops, one training after the other, without Ray."""

from __future__ import annotations

from pathlib import Path

import torch

from tune_mnist.about import about_run
from tune_mnist.analysis import write_tables
from tune_mnist.config import StudySpec, training_key
from tune_mnist.experiment import check_experiment, shared_pictures, test_pictures
from tune_mnist.files import write_atomic
from tune_mnist.resources import Resources
from tune_mnist.results import tables_of, winners_to_score
from tune_mnist.study import Study
from tune_mnist.trial import TrialData, run_training, score_training


def plain_study(spec: StudySpec, folder: Path) -> Study:
    """The study of `spec` in a new `folder`, without figures."""
    ready = check_experiment(spec, Resources())
    data, context, test = TrialData(*shared_pictures(ready.data)), ready.context, test_pictures(ready.dataset)
    folder.mkdir(parents=True)
    study = Study(folder)
    study.create()
    study.add(spec, context, about_run())
    torch.set_num_threads(1)
    for plan in spec.trainings():
        for _ in run_training(plan, data, context, study.training(training_key(plan.config, context))):
            pass
    for config, epochs in winners_to_score(study):
        score_training(config, epochs, data, test, context, str(study.folder / "trainings"))
    study.tidy()
    write_tables(tables_of(study), study.folder, write_atomic)
    return study
