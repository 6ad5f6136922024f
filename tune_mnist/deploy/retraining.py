"""A training on all training pictures, checkpointed every so many steps and scored once on the test set."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tune_mnist.deploy.trained import load_metrics, load_trained, save_trained
from tune_mnist.shell.about import cpu_model
from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.training import Context, TrainingConfig, training_key
from tune_mnist.study.files import (
    Corrupt,
    digest,
    make_folder,
    read_json,
    remove,
    remove_leftovers,
    set_aside,
    warn_and_set_aside,
    write_atomic,
    write_json,
    writing,
)
from tune_mnist.study.states import SealedStates
from tune_mnist.training.batches import Pictures, make_pictures
from tune_mnist.training.dataset import DIGITS, Dataset, training_data
from tune_mnist.training.steps.base import CheckpointedSteps
from tune_mnist.training.steps.choose import make_checkpointed

KEPT_CHECKPOINTS = 10
CHECKPOINTS, ABOUT, TIMINGS = "checkpoints", "retrain.json", "timings.json"


@dataclass(frozen=True)
class Retraining:
    """What is trained, to which epoch, on what and where. Its numbers do not depend on `folder`."""

    config: TrainingConfig
    epochs: int
    train: Pictures
    test: Pictures
    context: Context
    folder: Path
    classes: tuple[str, ...] = DIGITS
    """What the classes are called."""

    @property
    def key(self) -> str:
        """The key of the training."""
        return training_key(self.config, self.context)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train) // self.config.batch_size)

    @property
    def steps(self) -> int:
        """Optimisation steps in all."""
        return self.epochs * self.steps_per_epoch

    @property
    def checkpoints(self) -> SealedStates:
        """The checkpoints in the folder, numbered by steps."""
        owner = f"{self.key}/{self.epochs}/".encode()
        return SealedStates(self.folder / CHECKPOINTS, "step", 8, owner, digest)

    def describe(self) -> dict[str, Any]:
        """What tells it from others, as plain JSON values."""
        return {"training": self.key, "epochs": self.epochs, "context": self.context.content}


@dataclass
class RetrainProgress:
    """How far a retraining is."""

    losses: list[float] = field(default_factory=list)
    """The mean training loss of each whole epoch."""
    step: int = 0
    """Optimisation steps done, over all epochs."""
    seconds: float = 0.0
    """What these steps took, in all runs together."""


OnStep = Callable[[RetrainProgress], None]
"""Called after each step."""


def prepare(
    config: TrainingConfig, epochs: int, dataset: Dataset, folder: Path, *, device: str = "cpu", threads: int = 1
) -> Retraining:
    """The retraining of `config` on all of the data set's training pictures.

    Raises:
        UserError: the batch is larger than the training set.
    """
    data = training_data(dataset, "report")
    pictures = len(data.train_labels)
    require(config.batch_size <= pictures, f"batch_size <= {pictures}", config.batch_size, "lower --batch-size")
    context = Context(protocol="report", data_sha256=data.sha256, device=device, threads=threads)
    sparse = device == "cpu"  # a GPU has no use for it
    train = make_pictures(data.train_images, data.train_labels, data.classes, sparse=sparse)
    test = make_pictures(data.eval_images, data.eval_labels, data.classes, sparse=sparse)
    return Retraining(config, epochs, train, test, context, folder, dataset.classes)


def finished_metrics(job: Retraining) -> dict[str, Any] | None:
    """The metrics in the job's folder if it holds the whole of this retraining, intact, else None."""
    try:
        metrics = load_metrics(job.folder)
        load_trained(job.folder)
    except UserError:
        return None
    return metrics if metrics.items() >= job.describe().items() else None


def retrain(job: Retraining, checkpoint_every: int, on_step: OnStep = lambda progress: None) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint, score once on the test set and write the folder.

    The folder then holds model.pt, config.json, metrics.json, training_loss.png, confusion_matrix.png,
    timings.json and up to 10 checkpoints, one every `checkpoint_every` steps and one at the end. A folder that
    holds another training is set aside. Killed at any moment and called again, it gives the same bytes.

    Returns:
        The metrics, as in metrics.json.

    Raises:
        UserError: the training diverged, or the folder cannot be written to.
    """
    _claim(job)
    torch.set_num_threads(job.context.threads)
    steps, progress = _resumed(job)
    _train(job, steps, progress, checkpoint_every, on_step)
    metrics = {
        **job.describe(), "train_loss": progress.losses, "trained_on": len(job.train), "tested_on": len(job.test),
        **test_metrics(steps.outputs(job.test), job.test.labels, job.classes),
    }
    _draw(job, metrics)
    write_json(job.folder / TIMINGS, {"train_seconds": progress.seconds, "cpu": cpu_model(), **job.describe()})
    save_trained(job.folder, steps.module().state_dict(), job.config, metrics, job.classes)
    return load_metrics(job.folder)


def test_metrics(outputs: Tensor, labels: np.ndarray, names: tuple[str, ...] = DIGITS) -> dict[str, Any]:
    """Loss, accuracy, macro and per-class precision, recall and F1, and the confusion matrix (true, predicted).

    `outputs` float32 (n, classes) as the model's head gives them, `labels` int64 (n,). A class that is never
    predicted has precision 0; the macro averages are over the classes that occur, as a truth or as a prediction.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = outputs.argmax(1).numpy()
    classes = list(range(outputs.shape[1]))
    *scores, pictures = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    by_class = dict(zip(("precision", "recall", "f1"), scores, strict=True))  # each (classes,)
    occurring = np.isin(classes, np.concatenate([labels, predicted]))
    return {
        "loss": float(F.cross_entropy(outputs, torch.from_numpy(labels))),
        "accuracy": float((predicted == labels).mean()),
        **{name: float(values[occurring].mean()) for name, values in by_class.items()},
        "per_class": [
            {**_class(names, digit), **{name: float(values[digit]) for name, values in by_class.items()},
             "pictures": int(pictures[digit])}
            for digit in classes
        ],
        "confusion": confusion_matrix(labels, predicted, labels=classes).tolist(),
    }


def _class(names: tuple[str, ...], number: int) -> dict[str, Any]:
    return {"digit": number} if names == DIGITS else {"class": names[number]}


def _claim(job: Retraining) -> None:
    """Make the folder this retraining's; one that was begun for another is set aside."""
    if job.folder.exists():
        try:
            ours = read_json(job.folder / ABOUT) == job.describe()
        except (OSError, Corrupt):
            ours = False
        if not ours:
            with writing(job.folder):
                set_aside(job.folder)
    make_folder(job.folder / CHECKPOINTS, parents=True)
    remove_leftovers(job.folder)
    remove_leftovers(job.folder / CHECKPOINTS)
    write_json(job.folder / ABOUT, job.describe())


def _train(
    job: Retraining, steps: CheckpointedSteps, progress: RetrainProgress, checkpoint_every: int, on_step: OnStep
) -> None:
    """Train on to the last epoch, saving on the way; `progress` and `steps` move on."""
    # As every training does: Adam's moments of dead units decay into denormals, which are slow.
    torch.set_flush_denormal(True)
    start = time.perf_counter() - progress.seconds

    def after_step(step_of_epoch: int) -> None:
        progress.step = len(progress.losses) * job.steps_per_epoch + step_of_epoch
        progress.seconds = time.perf_counter() - start
        if progress.step % checkpoint_every == 0 or progress.step == job.steps:
            _save(job, steps, progress)
        on_step(progress)

    for epoch in range(len(progress.losses) + 1, job.epochs + 1):
        loss = steps.train_epoch(epoch, after_step)
        rule = f"the mean training loss of epoch {epoch} is finite"
        require(math.isfinite(loss), rule, loss, "the training diverged: lower the learning rate")
        progress.losses.append(loss)


def _save(job: Retraining, steps: CheckpointedSteps, progress: RetrainProgress) -> None:
    buffer = io.BytesIO()
    torch.save({**asdict(progress), "steps": steps.state()}, buffer)
    job.checkpoints.write(progress.step, buffer.getvalue())
    remove(job.checkpoints.paths()[KEPT_CHECKPOINTS:])


def _resumed(job: Retraining) -> tuple[CheckpointedSteps, RetrainProgress]:
    """Steps and progress at the newest intact checkpoint, or at the start."""
    steps = make_checkpointed(job.config, job.train, job.context.device)
    for _, checkpoint in job.checkpoints.intact(warn_and_set_aside):
        saved = torch.load(io.BytesIO(checkpoint), weights_only=True, map_location="cpu")
        steps.load(saved.pop("steps"))
        return steps, RetrainProgress(**saved)
    return steps, RetrainProgress()


def _draw(job: Retraining, metrics: dict[str, Any]) -> None:
    import pandas as pd

    from tune_mnist.figures.canvas import png
    from tune_mnist.figures.diagnostics import confusion_matrix, training_curves

    config = job.config
    losses = metrics["train_loss"]
    curves = pd.DataFrame({"epoch": range(1, len(losses) + 1), "loss": losses}).assign(
        model=config.model, lr=config.lr, batch_size=config.batch_size, seed=config.seed, split="training"
    )
    name = f"{config.model}, seed {config.seed}"
    title = f"Training loss by epoch, on all {len(job.train):,} training pictures"
    write_atomic(job.folder / "training_loss.png", png(training_curves(curves, None, title)))
    confusion = confusion_matrix(np.array(metrics["confusion"]), f"Confusion matrix: {name}", job.classes)
    write_atomic(job.folder / "confusion_matrix.png", png(confusion))
