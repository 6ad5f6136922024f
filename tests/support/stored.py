"""Made-up and real trainings in a study's folder, and what damages them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.slices import evaluation_slice, train_slice
from tune_mnist.running.trial import run_training
from tune_mnist.running.trial_data import TrialData
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.training_folder import Progress, TrainingFolder

CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=64)
CONTEXT = Context(protocol="holdout", data_sha256="ab" * 32)
KEY = training_key(CONFIG, CONTEXT)
SPEC = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(64,), epochs=(1, 3))
OTHER = StudySpec(models=("SimpleNN", "CNN"), lr=(1e-3,), batch_size=(64, 32), epochs=(2, 3))


def data() -> TrialData:
    return TrialData(train_slice(200), evaluation_slice(100))


def row(epoch: int, loss: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "train_loss": loss, "val_loss": loss, "val_accuracy": 0.9}


def timing(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "train_seconds": 1.0, "eval_seconds": 0.1}


def state_of(epoch: int) -> bytes:
    return f"state {epoch}".encode()


def advance(folder: TrainingFolder, progress: Progress, epochs: int) -> None:
    """Save made-up epochs up to number `epochs`."""
    for epoch in range(progress.state_epoch + 1, epochs + 1):
        progress.add(row(epoch), timing(epoch), state_of(epoch))
        folder.save(progress)


def begun(folder: TrainingFolder, epochs: int) -> TrainingFolder:
    advance(folder, folder.begin(CONFIG, CONTEXT), epochs)
    return folder


def states(folder: TrainingFolder) -> dict[int, Path]:
    return {int(path.name[6:11]): path for path in folder.folder.glob("state-*.pt")}


def train(folder: TrainingFolder, epochs: int = 3, config: TrainingConfig = CONFIG) -> list[dict[str, Any]]:
    return list(run_training(PlannedTraining(config, (epochs,)), data(), CONTEXT, folder))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
