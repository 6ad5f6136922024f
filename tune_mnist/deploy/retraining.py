"""A training on all training pictures, checkpointed every so many steps and scored once on the test set."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
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
    remove_leftovers,
    set_aside,
    write_atomic,
    write_json,
    writing,
)
from tune_mnist.study.training_folder import warn_and_set_aside
from tune_mnist.training.batches import Pictures, make_pictures
from tune_mnist.training.dataset import CLASSES, Dataset, training_data
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.base import CheckpointedSteps
from tune_mnist.training.steps.linear import LinearSteps

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

    def describe(self) -> dict[str, Any]:
        """What tells it from others, as plain JSON values."""
        return {"training": self.key, "epochs": self.epochs, "context": asdict(self.context)}


@dataclass
class Stand:
    """How far a retraining is: the mean loss of each whole epoch, the steps in all, and the seconds they took."""

    losses: list[float] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0


Watch = Callable[[Stand], None]


def prepare(
    config: TrainingConfig, epochs: int, dataset: Dataset, folder: Path, *, device: str = "cpu", threads: int = 1
) -> Retraining:
    """The retraining of `config` on all of the data set's training pictures.

    Raises:
        UserError: the batch is larger than the training set.
    """
    data = training_data(dataset, "report")
    most = len(data.train_labels)
    require(config.batch_size <= most, f"batch_size <= {most}", config.batch_size, "lower --batch-size")
    context = Context(protocol="report", data_sha256=data.sha256, device=device, threads=threads)
    train, test = make_pictures(data.train_images, data.train_labels), make_pictures(data.eval_images, data.eval_labels)
    return Retraining(config, epochs, train, test, context, folder)


def finished_metrics(job: Retraining) -> dict[str, Any] | None:
    """The metrics in the job's folder if it holds the whole of this retraining, intact, else None."""
    try:
        metrics = load_metrics(job.folder)
        load_trained(job.folder)
    except UserError:
        return None
    return metrics if metrics.items() >= job.describe().items() else None


def retrain(job: Retraining, every: int, watch: Watch = lambda stand: None) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint, score once on the test set and write the folder.

    The folder then holds model.pt, config.json, metrics.json, training_loss.png, confusion_matrix.png,
    timings.json and up to 10 checkpoints, one every `every` steps and one at the end. A folder that holds
    another training is set aside. Killed at any moment and called again, it gives the same bytes.

    Returns:
        The metrics, as in metrics.json.

    Raises:
        UserError: the training diverged, or the folder cannot be written to.
    """
    _claim(job)
    torch.set_num_threads(job.context.threads)
    steps, stand = _resumed(job)
    _train(job, steps, stand, every, watch)
    outputs = steps.outputs(job.test)
    metrics = {**job.describe(), "train_loss": stand.losses, "trained_on": len(job.train), "tested_on": len(job.test)}
    metrics |= test_metrics(outputs, job.test.labels)
    _draw(job, metrics)
    write_json(job.folder / TIMINGS, {"train_seconds": stand.seconds, "cpu": cpu_model(), **job.describe()})
    save_trained(job.folder, steps.module().state_dict(), job.config, metrics)
    return load_metrics(job.folder)


def test_metrics(outputs: Tensor, labels: np.ndarray) -> dict[str, Any]:
    """Loss, accuracy, macro and per-class precision, recall and F1, and the confusion matrix (true, predicted).

    `outputs` float32 (n, 10) as the model's head gives them, `labels` int64 (n,). A class that is never
    predicted has precision 0.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted, classes = outputs.argmax(1).numpy(), list(range(CLASSES))
    by_class = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    names = ("precision", "recall", "f1")
    return {
        "loss": float(F.cross_entropy(outputs, torch.from_numpy(labels))),
        "accuracy": float((predicted == labels).mean()),
        **{name: float(values.mean()) for name, values in zip(names, by_class[:3], strict=True)},
        "per_class": [
            {"digit": digit, **{name: float(by_class[i][digit]) for i, name in enumerate(names)},
             "pictures": int(by_class[3][digit])}
            for digit in classes
        ],
        "confusion": confusion_matrix(labels, predicted, labels=classes).tolist(),
    }


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


def _new_steps(job: Retraining) -> CheckpointedSteps:
    model = build_model(job.config)
    if isinstance(model, FullyConnected) and job.context.device == "cpu":
        return LinearSteps(job.config, model, job.train)
    return AutogradSteps(job.config, model, job.train, job.context.device)


def _train(job: Retraining, steps: CheckpointedSteps, stand: Stand, every: int, watch: Watch) -> None:
    """Train on to the last epoch, saving on the way; `stand` and `steps` move on."""
    # As every training does: Adam's moments of dead units decay into denormals, which are slow.
    torch.set_flush_denormal(True)
    begun, before = time.perf_counter(), stand.seconds

    def after_step(done: int) -> None:
        stand.step = len(stand.losses) * job.steps_per_epoch + done
        stand.seconds = before + time.perf_counter() - begun
        if stand.step % every == 0 or stand.step == job.steps:
            _save(job, steps, stand)
        watch(stand)

    while len(stand.losses) < job.epochs:
        loss = steps.train_epoch(len(stand.losses) + 1, after_step)
        rule = f"the mean training loss of epoch {len(stand.losses) + 1} is finite"
        require(math.isfinite(loss), rule, loss, "the training diverged: lower the learning rate")
        stand.losses.append(loss)


def _save(job: Retraining, steps: CheckpointedSteps, stand: Stand) -> None:
    buffer = io.BytesIO()
    torch.save({**asdict(stand), "steps": steps.state()}, buffer)
    write_atomic(job.folder / CHECKPOINTS / _name(job, stand.step, buffer.getvalue()), buffer.getvalue())
    for old in _checkpoints(job)[KEPT_CHECKPOINTS:]:
        old.unlink(missing_ok=True)


def _resumed(job: Retraining) -> tuple[CheckpointedSteps, Stand]:
    """Steps and stand at the newest intact checkpoint, or at the start."""
    for data in _intact(job):
        steps = _new_steps(job)
        saved = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        steps.load(saved["steps"])
        return steps, Stand(list(saved["losses"]), saved["step"], saved["seconds"])
    return _new_steps(job), Stand()


def _intact(job: Retraining) -> Iterator[bytes]:
    for path in _checkpoints(job):
        data = path.read_bytes()
        if path.name == _name(job, int(path.name[5:13]), data):
            yield data
        else:
            warn_and_set_aside(path, f"{path.name} does not match its checksum")


def _checkpoints(job: Retraining) -> list[Path]:
    """The checkpoints, the newest first."""
    return sorted((job.folder / CHECKPOINTS).glob("step-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]-*.pt"), reverse=True)


def _name(job: Retraining, step: int, data: bytes) -> str:
    """A checkpoint's file name: it seals the content, and whose it is."""
    return f"step-{step:08}-{digest(f'{job.key}/{job.epochs}/'.encode() + data)}.pt"


def _draw(job: Retraining, metrics: dict[str, Any]) -> None:
    import pandas as pd

    from tune_mnist.figures.canvas import png
    from tune_mnist.figures.diagnostics import confusion_matrix, training_curves

    config, losses = job.config, metrics["train_loss"]
    curves = pd.DataFrame({"epoch": range(1, len(losses) + 1), "loss": losses}).assign(
        model=config.model, lr=config.lr, batch_size=config.batch_size, seed=config.seed, split="training"
    )
    name = f"{config.model}, seed {config.seed}"
    title = f"Training loss by epoch, on all {len(job.train):,} training pictures"
    write_atomic(job.folder / "training_loss.png", png(training_curves(curves, None, title)))
    confusion = confusion_matrix(np.array(metrics["confusion"]), f"Confusion matrix: {name}")
    write_atomic(job.folder / "confusion_matrix.png", png(confusion))
