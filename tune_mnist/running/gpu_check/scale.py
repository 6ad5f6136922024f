"""How much is checked of a GPU, what is found, and what the checks share."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tune_mnist.running.trial import run_members
from tune_mnist.running.trial_data import TrialData, trial_data
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.training_folder import TrainingFolder
from tune_mnist.training.batches import Pictures
from tune_mnist.training.dataset import TrainingData
from tune_mnist.training.steps.pack import SLOTS, PackSteps

SECONDS = 480.0
LRS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Scale:
    """How much is checked. The defaults are for a GPU; fewer pictures and models rehearse it on a CPU."""

    device: str = "cuda"
    pictures: int = 50_000
    """To train on in the timings and the job."""
    few_pictures: int = 5003
    """To train on where bits are compared; the last batch is smaller than the others."""
    epochs: int = 15
    cases: int = 4
    """Kinds of packs whose bits are compared."""
    models: tuple[str, ...] = StudySpec().models
    batch_size: tuple[int, ...] = StudySpec().batch_size
    ray: bool = True
    seconds: float = SECONDS


@dataclass(frozen=True)
class Finding:
    """What a section found: whether it is as it should be (None: not looked at), in words, and its figures."""

    name: str
    right: bool | None
    told: str
    figures: dict[str, Any] = field(default_factory=dict)


def configs_of(model: str, batch_size: int, seeds: Sequence[int] = (0, 0, 1, 2), **recipe: Any) -> list[TrainingConfig]:
    return [
        TrainingConfig(model=model, lr=lr, batch_size=batch_size, seed=seed, **recipe)
        for lr, seed in zip(LRS, seeds, strict=True)
    ]


def run_trial_of(members: Sequence[PlannedTraining], data: TrialData, device: str) -> list[dict[str, Any]]:
    """The rows of a trial of these members, with each one's label, trained in a folder that is then removed."""
    if not gc.get_freeze_count():
        gc.freeze()  # as a trial does
    context = Context(protocol="holdout", data_sha256="0" * 64, device=device)
    with tempfile.TemporaryDirectory() as folder:
        folders = [TrainingFolder(Path(folder) / training_key(plan.config, context)) for plan in members]
        with contextlib.closing(run_members(members, data, context, folders)) as rows:
            return [{**row, "label": members[k].config.label} for k, row in rows]


def part_of(data: TrainingData, count: int, device: str) -> Pictures:
    part = dataclasses.replace(data, train_images=data.train_images[:count], train_labels=data.train_labels[:count])
    return trial_data(part, device).train


def trained(pack: PackSteps) -> PackSteps:
    for epoch in (1, 2):
        pack.train_epoch(epoch)
    return pack


def digests(pack: PackSteps) -> list[str]:
    return [digest(pack.state(k)) for k in range(SLOTS)]


def digest(state: dict[str, Any]) -> str:
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
